"""One look for every table: of reports and comparisons in a notebook, and of the command line."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

_FOLDED = 10  # narrowest that a column of text may become
_GAP = 2  # characters between columns


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table whose cells are shown as they are; where it is too wide for the page, a block for each row."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    numbers: Collection[str] = ()  #: columns that are aligned to the right and never broken
    whole: Collection[str] = ()  #: other columns that are never broken, however narrow the page
    styles: Sequence[str] = ()  #: a style for each row; none where left out
    caption: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        cells = [[text_of(cell) for cell in row] for row in self.rows]
        yield Text(self.title, style="bold")
        if self._least_width(cells) > options.max_width:
            yield from (pairs(dict(zip(self.columns, row, strict=True))) for row in cells)
        else:
            yield self._grid(cells)
        if self.caption:
            yield Text(self.caption, style="dim")

    def _least_width(self, cells: Sequence[Sequence[str]]) -> int:
        fixed = {*self.numbers, *self.whole}
        widths = [max(map(len, column)) for column in zip(self.columns, *cells, strict=True)]
        least = sum(w if c in fixed else min(w, _FOLDED) for c, w in zip(self.columns, widths, strict=True))
        return least + _GAP * len(self.columns)

    def _grid(self, cells: Sequence[Sequence[str]]) -> RenderableType:
        from rich import box
        from rich.table import Table as Grid
        from rich.text import Text

        grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for column in self.columns:
            side: Literal["left", "right"] = "right" if column in self.numbers else "left"
            grid.add_column(
                column, justify=side, overflow="fold", no_wrap=column in (*self.numbers, *self.whole)
            )
        for row, style in zip(cells, self.styles or [""] * len(cells), strict=True):
            grid.add_row(*map(Text, row), style=style)
        return grid


def pairs(values: dict[str, str]) -> RenderableType:
    """Names and values, one a line, with room below them."""
    from rich.console import Group
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=None, show_header=False, padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in values.items():
        grid.add_row(Text(name), Text(value))
    return Group(grid, Text())


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
