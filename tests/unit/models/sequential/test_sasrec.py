"""SASRec: what it must learn, what it must not look at, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from tests.conftest import build

from recsmith.errors import DataError, ParameterError
from recsmith.models.sequential.sasrec import SASRec


@pytest.fixture(scope="module")
def cycle():
    """12 items in a ring; 60 users begin anywhere and go on to the next one."""
    rng = np.random.default_rng(1)
    users, items, times = [], [], []
    for u in range(60):
        start, n = int(rng.integers(12)), int(rng.integers(3, 9))
        for k in range(n):
            users.append(u)
            items.append((start + k) % 12)
            times.append(k)
    return build(users, items, times=times)


@pytest.mark.parametrize("loss", ["softmax", "sampled", "gbce"])
def test_the_next_of_a_ring_is_learned(cycle, loss):
    """Scores are asked without hiding what was seen: the answer is one item, whatever came before the last one."""
    model = SASRec(embedding_size=16, epochs=120, batch_size=16, learning_rate=5e-3, loss=loss, dropout=0.0)
    scores = model.fit(cycle).score(cycle.queries())
    last = cycle.item[cycle.offsets[1:] - 1]
    assert (scores.argmax(1) == (last + 1) % 12).mean() > 0.95


def test_only_the_latest_events_are_read(cycle):
    model = SASRec(embedding_size=16, epochs=2, max_length=3).fit(cycle)
    some = cycle.queries(np.flatnonzero(np.diff(cycle.offsets) > 4).astype(np.int32))
    cut = np.concatenate([some.items[b - 3 : b] for b in some.offsets[1:]])
    short = some.replace(items=cut, offsets=np.arange(len(some) + 1) * 3, times=None)
    np.testing.assert_array_equal(model.score(some), model.score(short))


def test_order_matters_and_later_events_do_not_reach_back(cycle):
    model = SASRec(embedding_size=16, epochs=5).fit(cycle)
    one = cycle.queries(np.array([0], dtype=np.int32))
    turned = one.replace(items=one.items[::-1].copy())
    assert not np.allclose(model.score(one), model.score(turned))
    import torch

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


def test_bad_input(cycle):
    lonely = build([1, 2, 3], ["a", "b", "a"], times=[1, 2, 3])
    with pytest.raises(DataError, match="no user has two events"):
        SASRec().fit(lonely)
    with pytest.raises(
        ParameterError, match="'heads' parameter of SASRec must be a divisor of embedding_size"
    ):
        SASRec(heads=3)
    model = SASRec(epochs=1).fit(cycle)
    asked = cycle.queries(np.array([0], dtype=np.int32))
    with pytest.raises(ParameterError, match=r"queries\.items"):
        model.score(asked.replace(items=np.full(len(asked.items), 12, dtype=np.int32)))
