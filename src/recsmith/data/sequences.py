"""Histories as padded rows, for models that read a user's events in their order."""

from __future__ import annotations

import numpy as np

from recsmith.kernels import njit
from recsmith.types import IntArray

PADDING = -1  #: stands where a row has ended


def pad(values: IntArray, starts: IntArray, lengths: IntArray, width: int | None = None) -> IntArray:
    """The runs ``values[starts[r] : starts[r] + lengths[r]]`` as rows, ``PADDING`` behind each.

    Parameters
    ----------
    values
        (m,) integers.
    starts, lengths
        (n,) bounds of the runs; a row is as long as it is, never cut.
    width
        Columns, >= the longest row; None: just as many.

    Returns
    -------
    (n, width) int32
    """
    longest = int(lengths.max()) if len(lengths) else 0
    out = np.full((len(starts), longest if width is None else width), PADDING, dtype=np.int32)
    _fill(values, starts, lengths, out)
    return out


def latest(offsets: IntArray, length: int) -> tuple[IntArray, IntArray]:
    """Starts and lengths (n,) of the last ``length`` events of each row of a ragged array with bounds ``offsets``."""
    stops = offsets[1:]
    starts = np.maximum(offsets[:-1], stops - length)
    return starts, stops - starts


def windows(offsets: IntArray, length: int) -> tuple[IntArray, IntArray]:
    """Starts and lengths of the windows of ``length`` >= 2 events that cover each row from its end to its start.

    Two windows of a row share one event: the first of the later one is the last of the earlier one.
    """
    step, counts = length - 1, np.diff(offsets)
    pieces = np.maximum(-(-(counts - 1) // step), 1)
    bounds, number = np.cumsum(pieces) - pieces, np.arange(pieces.sum())
    row = np.repeat(np.arange(len(counts)), pieces)
    stops = offsets[1:][row] - (number - bounds[row]) * step
    starts = np.maximum(offsets[:-1][row], stops - length)
    return starts, stops - starts


@njit(cache=True, nogil=True)
def _fill(values, starts, lengths, out):  # type: ignore[no-untyped-def]
    for r in range(len(starts)):
        for e in range(lengths[r]):
            out[r, e] = values[starts[r] + e]
