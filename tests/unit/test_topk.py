"""Top-k in chunks against sorting."""

from __future__ import annotations

import numpy as np
import pytest

from recsmith.errors import ParameterError
from recsmith.topk import TopKBlock


def best_of(scores, k, hidden=(), widths=None):
    """Items and scores after feeding ``scores`` in chunks of ``widths``; ``hidden`` is a list per row."""
    scores = np.array(scores, dtype=np.float32)
    hidden = hidden or [[] for _ in scores]
    offsets = np.concatenate([[0], np.cumsum([len(h) for h in hidden], dtype=np.int64)])
    flat = np.array([c for h in hidden for c in sorted(h)], dtype=np.int32)
    block = TopKBlock(len(scores), k)
    first = 0
    for width in widths or [scores.shape[1]]:
        block.update(np.ascontiguousarray(scores[:, first : first + width]), first, offsets, flat)
        first += width
    assert first == scores.shape[1]
    return block.items.tolist(), block.scores.tolist()


def test_known_answer():
    items, scores = best_of([[1, 5, 3], [9, 8, 7]], 2)
    assert items == [[1, 2], [0, 1]]
    assert scores == [[5, 3], [9, 8]]


def test_equal_scores_go_to_the_smaller_index():
    assert best_of([[2, 7, 7, 2, 7, 2]], 4)[0] == [[1, 2, 4, 0]]
    assert best_of([[2, 7, 7, 2, 7, 2]], 4, widths=[2, 2, 2])[0] == [[1, 2, 4, 0]]


def test_nan_and_minus_infinity_never_enter():
    items, scores = best_of([[np.nan, -np.inf, 1, np.nan]], 3)
    assert items == [[2, -1, -1]]
    assert scores == [[1, -np.inf, -np.inf]]
    assert best_of([[np.nan] * 200], 2)[0] == [[-1, -1]]
    assert best_of([[1, np.inf]], 1)[0] == [[1]]


def test_hidden_columns_do_not_appear_wherever_the_chunks_end():
    scores = np.arange(12)[None, :]
    for widths in ([12], [1] * 12, [5, 7], [11, 1]):
        assert best_of(scores, 3, [[11, 10, 4]], widths)[0] == [[9, 8, 7]]
    assert best_of(scores, 2, [list(range(12))])[0] == [[-1, -1]]


def test_long_rows_cross_the_segments():
    scores = np.zeros((1, 1000))
    scores[0, [0, 63, 64, 65, 999]] = [1, 2, 3, 4, 5]
    assert best_of(scores, 6)[0] == [[999, 65, 64, 63, 0, 1]]


def test_more_wanted_than_there_are_and_no_rows():
    assert best_of([[3.0, 4.0]], 5)[0] == [[1, 0, -1, -1, -1]]
    assert best_of(np.zeros((0, 4)), 2)[0] == []
    assert best_of(np.zeros((2, 0)), 1)[0] == [[-1], [-1]]


def test_k_of_none_is_refused():
    with pytest.raises(ParameterError, match="'k' parameter of TopKBlock must be >= 1"):
        TopKBlock(3, 0)


@pytest.mark.parametrize("k", [600, 2000])
def test_long_lists_are_ordered_like_short_ones(k):
    rng = np.random.default_rng(3)
    scores = rng.integers(0, 50, size=(3, 1500)).astype(np.float32)  # many ties
    scores[1, ::7] = np.nan
    offsets, hidden = np.array([0, 2, 2, 3]), np.array([4, 900, 1499], dtype=np.int32)
    best = TopKBlock(3, k)
    for first in (0, 700):
        best.update(
            np.ascontiguousarray(scores[:, first : first + 800 if first else 700]), first, offsets, hidden
        )
    for row in range(3):
        allowed = [
            j
            for j in range(1500)
            if not np.isnan(scores[row, j]) and j not in hidden[offsets[row] : offsets[row + 1]]
        ]
        expected = sorted(allowed, key=lambda j: (-scores[row, j], j))[:k]
        assert best.items[row, : len(expected)].tolist() == expected
        assert (best.items[row, len(expected) :] == -1).all()
