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


@njit(cache=True, nogil=True)
def _fill(values, starts, lengths, out):  # type: ignore[no-untyped-def]
    for r in range(len(starts)):
        for e in range(lengths[r]):
            out[r, e] = values[starts[r] + e]
