"""SASRec: what it must not look at, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.conftest import build

from recsmith.errors import ParameterError
from recsmith.models.sequential.sasrec import SASRec


def test_later_events_do_not_reach_back(cycle):
    model = SASRec(embedding_size=16, epochs=5).fit(cycle)
    items = torch.arange(5)[None]
    other = torch.tensor([[0, 1, 2, 9, 10]])
    length = torch.tensor([5])
    with torch.no_grad():
        first, second = (model.module_(rows, length)[0] for rows in (items, other))
    torch.testing.assert_close(first[:3], second[:3])
    assert not torch.allclose(first[3], second[3])


def test_windows_all_learns_from_the_start_of_a_long_history():
    """At the start of every history alone an item of 0 to 4 is followed by that of 5 to 9 which belongs to it."""
    first, tail = np.arange(40) % 5, np.tile([10, 11], 5)
    items = np.concatenate([np.stack([first, first + 5], axis=1), np.tile(tail, (40, 1))], axis=1)
    log = build(np.repeat(np.arange(40), 12), items.ravel(), times=np.tile(np.arange(12), 40))
    queries = log.queries(np.arange(5, dtype=np.int32)).replace(
        items=np.arange(5, dtype=np.int32), offsets=np.arange(6), times=None
    )
    right = {}
    for windows in ("latest", "all"):
        model = SASRec(
            max_length=4, windows=windows, embedding_size=16, epochs=30, learning_rate=1e-2, dropout=0.0,
            batch_size=16,
        )  # fmt: skip
        right[windows] = (model.fit(log).score(queries).argmax(axis=1) == np.arange(5, 10)).mean()
    assert right["latest"] < 0.5 < right["all"]


def test_heads_that_do_not_fit():
    with pytest.raises(
        ParameterError, match="'heads' parameter of SASRec must be a divisor of embedding_size"
    ):
        SASRec(heads=3)
