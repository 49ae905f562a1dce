"""The conversation with a runner: a process that answers a JSON line per job (see ``peers/README.md``)."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.environments import PeerError, last_line

# Work-arounds for old BLAS builds that slow a current one down: no worker runs under them.
_BLAS_OVERRIDES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


class Worker:
    """A running runner; ``with Worker(command) as worker`` ends it."""

    def __init__(self, command: Sequence[str]) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the worker
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={k: v for k, v in os.environ.items() if k not in _BLAS_OVERRIDES},
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(
        self, job: str, source: Path, target: Path, settings: Mapping[str, Any], *, seconds: float
    ) -> dict[str, Any]:
        """One job.

        Raises
        ------
        PeerError
            Where the runner answers with an error, dies, or takes longer than ``seconds``.
        """
        request = {"job": job, "input": str(source), "output": str(target), "settings": dict(settings)}
        expired = threading.Event()

        def give_up() -> None:
            expired.set()
            self._process.kill()

        late = threading.Timer(seconds, give_up)
        late.start()
        try:
            line = self._say(json.dumps(request))
        finally:
            late.cancel()
        if not line:
            raise PeerError(f"took more than {seconds:.0f} s" if expired.is_set() else self._last_words())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PeerError(last_line(answer["error"]))
        return answer

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()

    def _say(self, line: str) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return ""
        return self._process.stdout.readline()

    def _last_words(self) -> str:
        status = self._process.wait()
        self._errors.seek(0)
        return last_line(self._errors.read()) or f"the process ended with status {status}"
