"""The k best, whatever the scores, the hidden columns and the chunks."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recsmith.topk import TopKBlock

VALUES = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 2.0, np.nan, -np.inf, np.inf]), st.floats(-10, 10, width=32)
)


@st.composite
def cases(draw):
    n, width = draw(st.integers(1, 3)), draw(st.integers(1, 150))
    scores = draw(arrays(np.float32, (n, width), elements=VALUES))
    hidden = [sorted(draw(st.sets(st.integers(0, width - 1), max_size=6))) for _ in range(n)]
    cuts = sorted(draw(st.sets(st.integers(1, width), max_size=4)) | {width})
    return scores, hidden, cuts, draw(st.integers(1, 12))


def oracle(row: np.ndarray, hidden: list[int], k: int) -> list[int]:
    allowed = [j for j in range(len(row)) if j not in hidden and row[j] > -np.inf]
    return sorted(allowed, key=lambda j: (-row[j], j))[:k]


@given(cases())
def test_chunks_give_what_sorting_gives(case):
    scores, hidden, cuts, k = case
    offsets = np.concatenate([[0], np.cumsum([len(h) for h in hidden])])
    flat = np.array([c for h in hidden for c in h], dtype=np.int32)
    block, first = TopKBlock(len(scores), k), 0
    for end in cuts:
        block.update(scores[:, first:end].copy(), first, offsets, flat)
        first = end
    for r, row in enumerate(scores):
        wanted = oracle(row, hidden[r], k)
        assert block.items[r, : len(wanted)].tolist() == wanted
        assert (block.items[r, len(wanted) :] == -1).all()
        np.testing.assert_array_equal(block.scores[r, : len(wanted)], row[wanted])
