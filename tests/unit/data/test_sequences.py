"""Histories as padded rows."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsmith.data.sequences import PADDING, latest, pad, windows


def bounds(lengths):
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def test_rows_are_filled_from_the_left():
    starts, lengths = latest(bounds([3, 0, 5]), 4)
    rows = pad(np.arange(8, dtype=np.int32), starts, lengths)
    assert rows.tolist() == [[0, 1, 2, PADDING], [PADDING] * 4, [4, 5, 6, 7]]
    assert rows.dtype == np.int32
    assert pad(np.arange(8), starts[:2], lengths[:2], width=4).shape == (2, 4)
    assert pad(np.arange(8), starts[:0], lengths[:0]).shape == (0, 0)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=8), st.integers(2, 9))
def test_windows_cover_each_step_once(lengths, length):
    """Every pair of neighbours in a row is in just one window, and no window leaves its row."""
    offsets = bounds(lengths)
    starts, sizes = windows(offsets, length)
    pairs = [(s + k, s + k + 1) for s, n in zip(starts, sizes, strict=True) for k in range(n - 1)]
    wanted = [(k, k + 1) for low, high in pairwise(offsets) for k in range(low, high - 1)]
    assert sorted(pairs) == wanted
    assert (sizes <= length).all()


@pytest.mark.parametrize("n", [1, 4, 5, 9])
def test_the_latest_window_ends_where_the_row_does(n):
    starts, sizes = windows(bounds([n]), 5)
    assert starts[0] + sizes[0] == n
