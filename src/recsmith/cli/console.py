"""What the command line shows: results on standard output, progress and notes on standard error."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recsmith.redaction import redacted
from recsmith.tables import pairs, text_of

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress, TaskID


@dataclass(frozen=True, slots=True)
class Output:
    """Where a verb says things."""

    as_json: bool = False  #: one JSON document on standard output, and nothing else there
    quiet: bool = False  #: no notes and no progress

    def show(self, payload: Mapping[str, Any], *parts: RenderableType) -> None:
        """The result: ``payload`` as JSON, or ``parts`` for people."""
        if self.as_json:
            print(json_text(payload))
            return
        console = _console()
        for part in parts:
            console.print(part)

    def note(self, text: str) -> None:
        """A remark on standard error."""
        if not self.quiet:
            from rich.text import Text

            _console(stderr=True).print(Text(redacted(text)), soft_wrap=True)  # a path stays whole

    @property
    def listened_to(self) -> bool:
        """Whether progress bars are shown: a terminal listens, and nothing forbids it."""
        return not (self.as_json or self.quiet) and _console(stderr=True).is_terminal

    @contextmanager
    def bars(self, *, keep: bool = False) -> Iterator[Bars]:
        """Progress bars on standard error; none with ``--json`` or ``--quiet``, or where no terminal listens.

        ``keep`` leaves the finished bars on the screen.
        """
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        console = _console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[figures]}", style="dim"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(
            *columns, console=console, transient=not keep, disable=not self.listened_to
        ) as progress:
            yield Bars(progress)


@dataclass(frozen=True, slots=True)
class Bars:
    """The bars of one verb."""

    progress: Progress

    @contextmanager
    def bar(self, description: str) -> Iterator[Bar]:
        """One bar; full when the block ends, whether or not the work told how far it was."""
        task = self.progress.add_task(description, total=None, figures="")
        yield Bar(self.progress, task)
        total = self.progress.tasks[self.progress.task_ids.index(task)].total or 1
        self.progress.update(task, total=total, completed=total)


@dataclass(frozen=True, slots=True)
class Bar:
    """A ``Monitor``, and the ``progress`` of ``Pipeline.recommend``."""

    bars: Progress
    task: TaskID

    def progress(self, done: int, total: int, **figures: float) -> bool:
        """Show that ``done`` of ``total`` steps are done; never stops the fit."""
        shown = " ".join(f"{name} {value:.4g}" for name, value in figures.items())
        self.bars.update(self.task, completed=done, total=total, figures=shown)
        return False

    def __call__(self, done: int, total: int) -> None:
        """``progress`` without figures."""
        self.progress(done, total)


def _console(*, stderr: bool = False) -> Console:
    """A console for the streams as they are now; text is never parsed for markup or numbers."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def facts(title: str, values: Mapping[str, Any]) -> RenderableType:
    """Names and values, one a line."""
    from rich.console import Group
    from rich.text import Text

    return Group(Text(title, style="bold"), pairs({name: text_of(value) for name, value in values.items()}))


def heading(text: str) -> RenderableType:
    """A line in bold with room above it."""
    from rich.text import Text

    return Text(f"\n{text}", style="bold")


def line(text: str) -> RenderableType:
    """A line as it is."""
    from rich.text import Text

    return Text(text)


def duration(seconds: float) -> str:
    """Seconds in words that suit their size: ``0.25 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 120:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min"


def megabytes(value: float | None) -> str:
    """Megabytes, or gigabytes from 10 of them on."""
    if value is None:
        return "not known"
    return f"{value:,.0f} MB" if value < 10_240 else f"{value / 1024:,.1f} GB"


def json_text(payload: Any) -> str:
    """JSON text; a number that JSON cannot hold becomes null, a letter that standard output cannot an escape."""
    plain = "utf" not in (sys.stdout.encoding or "").lower()
    return json.dumps(_plain(payload), ensure_ascii=plain, allow_nan=False)


def _plain(value: Any) -> Any:
    """``value`` in the types that JSON knows."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return _plain(value.tolist())
    if isinstance(value, Iterable):
        return [_plain(part) for part in value]
    return str(value)
