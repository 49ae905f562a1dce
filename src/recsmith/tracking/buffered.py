"""A tracker that may fail without breaking the run: what could not be sent is kept on disk and sent later."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from recsmith.protocols import Tracker
from recsmith.tracking.jsonl import read_lines

RETRY_SECONDS = 60.0  #: least time between two attempts to reach a tracker that has failed


class Buffered:
    """Sends every call on in order; after a failure keeps them in a file and tries again now and then, and at the end.

    Parameters
    ----------
    name
        How the tracker is called in what is said.
    make
        Opens the tracker. It may fail, too, and is tried again then.
    outbox
        The file that keeps what could not be sent; calls that stand there from an earlier run go first.
    say
        Is told, once, that the tracker does not answer, and in the end where its calls are.
    """

    def __init__(
        self, name: str, make: Callable[[], Tracker], outbox: Path, say: Callable[[str], None]
    ) -> None:
        self.name, self.make, self.outbox, self.say = name, make, outbox, say
        self.waiting: list[dict[str, Any]] = read_lines(outbox)
        self._tracker: Tracker | None = None
        self._failed_at: float | None = None
        self._told = False

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Send or keep."""
        self._send("parameters", values=dict(values))

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Send or keep."""
        self._send("metrics", values=dict(values), step=step)

    def table(self, name: str, rows: Sequence[Mapping[str, Any]], step: int | None = None) -> None:
        """Send or keep."""
        self._send("table", name=name, rows=list(rows), step=step)

    def artifact(self, path: str) -> None:
        """Send or keep the path."""
        self._send("artifact", path=path)

    def model(self, path: str) -> None:
        """Send or keep the path."""
        self._send("model", path=path)

    def close(self, *, failed: bool = False) -> None:
        """Try a last time, and say what is left; a run that had nothing to tell is not told of."""
        if self._tracker is None and not self.waiting:
            return
        self.waiting.append({"call": "close", "failed": failed})
        self.send_rest()

    def send_rest(self) -> None:
        """Send what waits, passing over a call that fails where the next does not, and say what is left."""
        self._flush(most_failures=2)
        if self.waiting:
            self.say(
                f"{self.name} did not answer: {len(self.waiting)} calls wait in {self.outbox}. The same command with "
                "--resume sends them once it does."
            )
        elif self._told:
            self.say(f"{self.name} answers again and has got everything.")

    def _send(self, call: str, **arguments: Any) -> None:
        self.waiting.append({"call": call, **arguments})
        if self._failed_at is None or time.monotonic() - self._failed_at > RETRY_SECONDS:
            self._flush()
        else:
            self._keep(self.waiting[-1:], "a")

    def _flush(self, most_failures: int = 1) -> None:
        """Send what waits, in order, until so many calls have failed one after the other."""
        left: list[dict[str, Any]] = []
        failures = 0
        while self.waiting and failures < most_failures:
            call = self.waiting.pop(0)
            try:
                self._call(**call)
                failures = 0
            except Exception as error:  # whatever a tracker's library raises: the run goes on
                failures += 1
                left.append(call)
                self._tell(error)
        self.waiting = left + self.waiting
        self._failed_at = time.monotonic() if self.waiting else None
        if self.waiting:
            self._keep(self.waiting, "w")
        else:
            self.outbox.unlink(missing_ok=True)

    def _call(self, call: str, **arguments: Any) -> None:
        """Open the tracker where it is not, and call it; what its library prints is heard by nobody."""
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            if self._tracker is None:
                self._tracker = self.make()
            getattr(self._tracker, call)(**arguments)

    def _tell(self, error: Exception) -> None:
        if not self._told:
            self._told = True
            self.say(
                f"{self.name} cannot be told of this run, which goes on: {_first_line(error)} What it should get is "
                f"kept in {self.outbox}."
            )

    def _keep(self, calls: Sequence[Mapping[str, Any]], mode: str) -> None:
        with self.outbox.open(mode, encoding="utf-8") as file:
            file.writelines(json.dumps(call, ensure_ascii=False) + "\n" for call in calls)


def _first_line(error: Exception) -> str:
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return text if len(text) <= 200 else f"{text[:200]} ..."
