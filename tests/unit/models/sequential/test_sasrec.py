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
    """Item 0 goes to item 1 at the start of every history only."""
    users = np.repeat(np.arange(30), 12)
    items = np.tile([0, 1, *[2, 3] * 5], 30)
    log = build(users.tolist(), items.tolist(), times=np.tile(np.arange(12), 30))
    asked = log.queries(np.array([0], dtype=np.int32)).replace(
        items=np.array([0], dtype=np.int32), offsets=np.array([0, 1]), times=None
    )
    best = {}
    for windows in ("latest", "all"):
        model = SASRec(
            max_length=4, windows=windows, embedding_size=8, epochs=60, learning_rate=1e-2, dropout=0.0
        )
        best[windows] = int(model.fit(log).score(asked).argmax())
    assert best["all"] == 1
    assert best["latest"] != 1


def test_heads_that_do_not_fit():
    with pytest.raises(
        ParameterError, match="'heads' parameter of SASRec must be a divisor of embedding_size"
    ):
        SASRec(heads=3)
