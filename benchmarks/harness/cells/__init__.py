"""Every cell by name, by the kind of work: lists, ratings, neural models, and parts of the way (products, metrics)."""

from __future__ import annotations

from harness.cell import Cell
from harness.cells import lists, neural, parts, ratings

CELLS: dict[str, Cell] = {
    cell.name: cell for cell in (*lists.cells(), *ratings.cells(), *neural.cells(), *parts.cells())
}
