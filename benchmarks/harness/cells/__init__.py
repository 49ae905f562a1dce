"""Every cell by name, by the kind of work: lists, ratings, and parts of the way (products, metrics)."""

from __future__ import annotations

from harness.cell import Cell
from harness.cells import lists, parts, ratings

CELLS: dict[str, Cell] = {cell.name: cell for cell in (*lists.cells(), *ratings.cells(), *parts.cells())}
