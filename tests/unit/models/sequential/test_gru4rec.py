"""GRU4Rec: what it must learn, its losses beside plain loops, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.conftest import build

from recsmith.errors import DataError, ParameterError
from recsmith.models.sequential.gru4rec import GRU4Rec, bpr_max


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


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("loss", ["softmax", "cross-entropy", "bpr-max"])
def test_the_next_of_a_ring_is_learned(cycle, loss, shared):
    """Scores are asked without hiding what was seen: the answer is one item, whatever came before the last one."""
    model = GRU4Rec(
        embedding_size=16, epochs=60, batch_size=16, learning_rate=1e-2, dropout=0.0, loss=loss, shared=shared,
        in_batch=8, negatives=8, score_reg=0.01,
    )  # fmt: skip
    scores = model.fit(cycle).score(cycle.queries())
    last = cycle.item[cycle.offsets[1:] - 1]
    assert (scores.argmax(1) == (last + 1) % 12).mean() > 0.95


def test_order_matters_and_only_the_latest_events_are_read(cycle):
    model = GRU4Rec(embedding_size=16, epochs=2, max_length=3).fit(cycle)
    some = cycle.queries(np.flatnonzero(np.diff(cycle.offsets) > 4).astype(np.int32))
    cut = np.concatenate([some.items[b - 3 : b] for b in some.offsets[1:]])
    short = some.replace(items=cut, offsets=np.arange(len(some) + 1) * 3, times=None)
    np.testing.assert_array_equal(model.score(some), model.score(short))
    turned = short.replace(items=cut.reshape(-1, 3)[:, ::-1].ravel().copy())
    assert not np.allclose(model.score(short), model.score(turned))


def test_training_reads_the_latest_events_only(cycle):
    """What stands before the last ``max_length + 1`` events changes no weight."""
    rows = np.concatenate(
        [np.arange(max(a, b - 4), b) for a, b in zip(cycle.offsets, cycle.offsets[1:], strict=False)]
    )
    whole, cut = (
        GRU4Rec(embedding_size=8, epochs=2, max_length=3).fit(data, rng=4).state().arrays
        for data in (cycle, cycle.take(rows))
    )
    assert max(np.diff(cycle.offsets)) > 4
    for name, array in whole.items():
        np.testing.assert_array_equal(array, cut[name])


def test_what_stands_behind_a_history_does_not_count(cycle):
    model = GRU4Rec(embedding_size=8, epochs=1, layers=2).fit(cycle)
    items, length = torch.tensor([[3, 4, 0, 0]]), torch.tensor([2])
    with torch.no_grad():
        one = model.history_vectors(items, length)
        other = model.history_vectors(torch.tensor([[3, 4, 7, 9]]), length)
        bare = model.history_vectors(items[:, :2], length)
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(one, bare)


@pytest.mark.parametrize("log_q", [0.0, 1.0])
def test_cross_entropy_is_that_of_a_plain_loop(cycle, log_q):
    """Logits less ``log_q`` times the logarithm of the frequency; a drawn item that is right does not count."""
    model = GRU4Rec(
        embedding_size=8, epochs=1, dropout=0.0, loss="cross-entropy", in_batch=5, negatives=7, log_q=log_q
    )
    objective, rows = model.fit(cycle).objective(cycle), np.arange(10)
    objective.begin(0, np.random.default_rng(9))
    with torch.no_grad():
        total, terms = objective.loss(rows)
        items, lengths = objective.rows(rows)
        vectors = model.module_(items[:, :-1].clamp_min(0), lengths - 1)
        table = model.item_table().detach()
    pairs = [(r, t) for r in range(10) for t in range(int(lengths[r]) - 1)]
    rng = np.random.default_rng(9)
    counts = cycle.item_counts().astype(float)
    often, root = np.log(counts / counts.sum()), np.log(np.sqrt(counts) / np.sqrt(counts).sum())
    within = [int(items[pairs[k][0], pairs[k][1] + 1]) for k in rng.integers(len(pairs), size=5)]
    drawn = np.searchsorted(np.cumsum(np.exp(root)), rng.random(7), side="right").tolist()
    others = [(i, often[i]) for i in within] + [(i, root[i]) for i in drawn]
    wanted = 0.0
    for r, t in pairs:
        right = int(items[r, t + 1])
        mine = float(vectors[r, t] @ table[right]) - log_q * often[right]
        theirs = [float(vectors[r, t] @ table[i]) - log_q * q for i, q in others if i != right]
        wanted += np.log(np.exp([mine, *theirs]).sum()) - mine
    assert terms == len(pairs)
    assert total.item() == pytest.approx(wanted, rel=1e-4)


def test_bpr_max_is_the_sum_of_equation_11():
    generator = torch.Generator().manual_seed(2)
    positive, negatives = torch.randn(5, generator=generator), torch.randn(5, 4, generator=generator)
    negatives[1, 2] = float("-inf")
    wanted = 0.0
    for r in range(5):
        counted = [float(x) for x in negatives[r] if x > float("-inf")]
        whole = sum(np.exp(x) for x in counted)
        share = [np.exp(x) / whole for x in counted]
        won = sum(s / (1 + np.exp(x - float(positive[r]))) for s, x in zip(share, counted, strict=True))
        wanted += -np.log(won) + 0.3 * sum(s * x**2 for s, x in zip(share, counted, strict=True))
    assert bpr_max(positive, negatives, 0.3).item() == pytest.approx(wanted, rel=1e-5)


def test_bpr_max_has_a_gradient_where_a_negative_does_not_count():
    positive = torch.zeros(1, requires_grad=True)
    negatives = torch.tensor([[0.5, float("-inf"), -1.0]], requires_grad=True)
    bpr_max(positive, negatives, 1.0).backward()
    assert torch.isfinite(negatives.grad).all()
    assert negatives.grad[0, 1] == 0
    assert positive.grad.item() < 0


class _Stops:
    """A coach that keeps the state of a training and stops it after an epoch."""

    def __init__(self, checkpoint, last):
        self.checkpoint, self.last = checkpoint, last

    def judge(self, model, epoch):
        return None

    def progress(self, done, total, **figures):
        return done == self.last


@pytest.mark.parametrize("shared", [True, False])
def test_a_training_that_was_stopped_goes_on(cycle, tmp_path, shared):
    model = GRU4Rec(embedding_size=8, epochs=4, shared=shared, layers=2, loss="cross-entropy")
    straight = model.fit(cycle, rng=3).state().arrays
    model.fit(cycle, rng=3, monitor=_Stops(tmp_path / "c", 2))
    again = model.fit(cycle, rng=3, monitor=_Stops(tmp_path / "c", None)).state().arrays
    for name, array in straight.items():
        np.testing.assert_array_equal(array, again[name])


def test_shared_vectors_are_stored_once(cycle):
    states = [
        GRU4Rec(embedding_size=8, epochs=1, shared=shared).fit(cycle).state() for shared in (True, False)
    ]
    sizes = [sum(array.size for array in state.arrays.values()) for state in states]
    assert sizes[1] - sizes[0] == 12 * 8


def test_bad_input(cycle):
    lonely = build([1, 2, 3], ["a", "b", "a"], times=[1, 2, 3])
    with pytest.raises(DataError, match="no user has two events"):
        GRU4Rec().fit(lonely)
    with pytest.raises(ParameterError, match="'loss' parameter of GRU4Rec"):
        GRU4Rec(loss="top1")
    model = GRU4Rec(epochs=1).fit(cycle)
    asked = cycle.queries(np.array([0], dtype=np.int32))
    with pytest.raises(ParameterError, match=r"queries\.items"):
        model.score(asked.replace(items=np.full(len(asked.items), 12, dtype=np.int32)))


def test_a_user_with_one_event_is_asked_and_not_learned_from(cycle):
    lonely = np.append(cycle.offsets[1], np.arange(cycle.offsets[1], len(cycle)))[1:]
    first = np.concatenate([[0], lonely])
    with_one, without = (
        GRU4Rec(embedding_size=8, epochs=1).fit(cycle.take(rows)) for rows in (first, lonely)
    )
    np.testing.assert_array_equal(with_one.items_, without.items_)
    asked = cycle.take(first).queries(np.array([0], dtype=np.int32))
    assert len(asked.items) == 1
    assert np.isfinite(with_one.score(asked)).all()
