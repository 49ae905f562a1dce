"""What the command line shows: results on standard output, progress and notes on standard error."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress, TaskID

_FOLDED = 10  # narrowest that a column of text may become
_GAP = 2  # characters between columns


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

            _console(stderr=True).print(Text(text))

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
        silent = self.as_json or self.quiet or not console.is_terminal
        with Progress(*columns, console=console, transient=not keep, disable=silent) as progress:
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


def table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    numbers: Collection[str] = (),
    whole: Collection[str] = (),
) -> RenderableType:
    """A titled table whose cells are shown as they are; on a terminal too narrow for it, a block for each row.

    Parameters
    ----------
    numbers
        Columns that are aligned to the right and never broken.
    whole
        Other columns that are never broken, however narrow the terminal.
    """
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    cells = [[text_of(cell) for cell in row] for row in rows]
    fixed = {*numbers, *whole}
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    least = sum(w if c in fixed else min(w, _FOLDED) for c, w in zip(columns, widths, strict=True))
    if least + _GAP * len(columns) > _console().width:
        blocks = [_pairs(dict(zip(columns, row, strict=True))) for row in cells]
        return Group(Text(title, style="bold"), *blocks)
    made = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in columns:
        side: Literal["left", "right"] = "right" if column in numbers else "left"
        made.add_column(column, justify=side, overflow="fold", no_wrap=column in fixed)
    for row in cells:
        made.add_row(*map(Text, row))
    return Group(Text(title, style="bold"), made)


def facts(title: str, values: Mapping[str, Any]) -> RenderableType:
    """Names and values, one a line."""
    from rich.console import Group
    from rich.text import Text

    return Group(Text(title, style="bold"), _pairs({name: text_of(value) for name, value in values.items()}))


def _pairs(values: Mapping[str, str]) -> RenderableType:
    """Names and values with room below them."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    made.add_column(no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in values.items():
        made.add_row(Text(name), Text(value))
    return Group(made, Text())


def heading(text: str) -> RenderableType:
    """A line in bold with room above it."""
    from rich.text import Text

    return Text(f"\n{text}", style="bold")


def line(text: str) -> RenderableType:
    """A line as it is."""
    from rich.text import Text

    return Text(text)


def text_of(value: Any) -> str:
    """A cell: thousands separated, four digits of a fraction, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4f}"
    if isinstance(value, list | tuple):
        return ", ".join(text_of(v) for v in value)
    return str(value)


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
    """JSON text; a number that JSON cannot hold becomes null."""
    return json.dumps(_plain(payload), ensure_ascii=False, allow_nan=False)


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
