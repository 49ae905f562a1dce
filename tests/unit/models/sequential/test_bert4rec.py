"""BERT4Rec: what it must learn, what its mask hides, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.conftest import build

from recsmith.errors import DataError, ParameterError
from recsmith.models.sequential.bert4rec import BERT4Rec


@pytest.fixture(scope="module")
def cycle():
    """12 items in a ring; 60 users begin anywhere and go on to the next one."""
    rng = np.random.default_rng(1)
    users, items, times = [], [], []
    for u in range(60):
        start, n = int(rng.integers(12)), int(rng.integers(3, 9))
        users += [u] * n
        items += [(start + k) % 12 for k in range(n)]
        times += list(range(n))
    return build(users, items, times=times)


def test_the_next_of_a_ring_is_learned(cycle):
    """Scores are asked without hiding what was seen: the answer is one item, whatever came before the last one."""
    model = BERT4Rec(
        embedding_size=16, epochs=150, batch_size=16, learning_rate=5e-3, dropout=0.0, max_length=10
    )
    scores = model.fit(cycle).score(cycle.queries())
    last = cycle.item[cycle.offsets[1:] - 1]
    assert (scores.argmax(1) == (last + 1) % 12).mean() > 0.95


def test_order_matters_and_only_the_latest_events_are_read(cycle):
    """One of the places is for the mask."""
    model = BERT4Rec(embedding_size=16, epochs=2, max_length=4).fit(cycle)
    some = cycle.queries(np.flatnonzero(np.diff(cycle.offsets) > 4).astype(np.int32))
    cut = np.concatenate([some.items[b - 3 : b] for b in some.offsets[1:]])
    short = some.replace(items=cut, offsets=np.arange(len(some) + 1) * 3, times=None)
    np.testing.assert_array_equal(model.score(some), model.score(short))
    turned = short.replace(items=cut.reshape(-1, 3)[:, ::-1].ravel().copy())
    assert not np.allclose(model.score(short), model.score(turned))


def test_training_reads_the_latest_events_only(cycle):
    """What stands before the last ``max_length`` events changes no weight."""
    rows = np.concatenate(
        [np.arange(max(a, b - 4), b) for a, b in zip(cycle.offsets, cycle.offsets[1:], strict=False)]
    )
    whole, cut = (
        BERT4Rec(embedding_size=8, epochs=2, max_length=4).fit(data, rng=4).state().arrays
        for data in (cycle, cycle.take(rows))
    )
    assert max(np.diff(cycle.offsets)) > 4
    for name, array in whole.items():
        np.testing.assert_array_equal(array, cut[name])


def test_it_looks_both_ways_and_not_behind_the_end(cycle):
    model = BERT4Rec(embedding_size=8, epochs=1).fit(cycle)
    length = torch.tensor([4])
    with torch.no_grad():
        one = model.module_(torch.tensor([[3, 4, 5, 6, 0]]), length)[0, :4]
        later = model.module_(torch.tensor([[3, 4, 5, 9, 0]]), length)[0, :4]
        behind = model.module_(torch.tensor([[3, 4, 5, 6, 11]]), length)[0, :4]
    assert not torch.allclose(one[0], later[0])
    torch.testing.assert_close(one, behind)


def test_the_loss_is_the_cross_entropy_of_the_masked_events(cycle):
    """No event of a gap is seen: the loss is that of a plain reference that reads the mask there."""
    model = BERT4Rec(embedding_size=8, epochs=1, dropout=0.0, mask_share=0.4).fit(cycle)
    objective = model.objective(cycle)
    rows = np.arange(20)
    objective.begin(0, np.random.default_rng(9))
    with torch.no_grad():
        total, terms = objective.loss(rows)
    objective.begin(0, np.random.default_rng(9))
    items, lengths = objective.rows(rows)
    gaps = objective._gaps(objective.lengths[rows], items.shape[1])
    assert gaps.any(1).all()
    assert not gaps[items < 0].any()
    wanted = 0.0
    for r in range(20):
        n = int(lengths[r])
        seen = torch.where(gaps[r, :n], 12, items[r, :n])
        with torch.no_grad():
            logits = model.module_(seen[None], lengths[r : r + 1])[0] @ model.item_table().T
        for t in np.flatnonzero(gaps[r, :n].numpy()):
            wanted -= float(torch.log_softmax(logits[t], 0)[items[r, t]])
    assert terms == int(gaps.sum())
    assert total.item() == pytest.approx(wanted, rel=1e-4)


def test_bad_input(cycle):
    lonely = build([1, 2, 3], ["a", "b", "a"], times=[1, 2, 3])
    with pytest.raises(DataError, match="no user has two events"):
        BERT4Rec().fit(lonely)
    with pytest.raises(
        ParameterError, match="'heads' parameter of BERT4Rec must be a divisor of embedding_size"
    ):
        BERT4Rec(heads=3)
    with pytest.raises(ParameterError, match="'max_length' parameter of BERT4Rec must be >= 2"):
        BERT4Rec(max_length=1)
    model = BERT4Rec(epochs=1).fit(cycle)
    asked = cycle.queries(np.array([0], dtype=np.int32))
    with pytest.raises(ParameterError, match=r"queries\.items"):
        model.score(asked.replace(items=np.full(len(asked.items), 12, dtype=np.int32)))
