"""GRU4Rec: its losses beside plain loops, and what is stored."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recsmith.errors import ParameterError
from recsmith.models.sequential.gru4rec import GRU4Rec, bpr_max


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


def test_an_unknown_loss():
    with pytest.raises(ParameterError, match="'loss' parameter of GRU4Rec"):
        GRU4Rec(loss="top1")
