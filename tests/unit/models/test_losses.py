"""Losses beside PyTorch's own, and beside each other where they must agree."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from recsmith.models import losses
from recsmith.models.layers import Dropout


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(1)
    vectors = torch.randn(3000, 8, generator=generator, requires_grad=True)
    table = torch.randn(1700, 8, generator=generator, requires_grad=True)
    targets = torch.randint(1700, (3000,), generator=generator)
    return vectors, table, targets


def test_softmax_over_items_is_cross_entropy_with_its_gradient(case):
    """3,000 rows of 1,700 items are several chunks."""
    vectors, table, targets = case
    wanted = functional.cross_entropy(vectors @ table.T, targets, reduction="sum")
    theirs = torch.autograd.grad(2 * wanted, (vectors, table))
    found = losses.softmax_over_items(vectors, table, targets)
    ours = torch.autograd.grad(2 * found, (vectors, table))
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        assert losses.softmax_over_items(vectors, table, targets).item() == pytest.approx(
            wanted.item(), rel=1e-5
        )


def test_sampled_softmax_over_all_others_is_the_softmax(case):
    vectors, table, targets = (t.detach()[:50] for t in case)
    logits = vectors @ table.T
    right = targets % 50
    positive = logits[torch.arange(50), right]
    negatives = logits.scatter(1, right[:, None], float("-inf"))
    wanted = functional.cross_entropy(logits, right, reduction="sum")
    assert losses.sampled_softmax(positive, negatives).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_log_q_undoes_what_is_drawn_too_often():
    """An item drawn twice, each with twice the expected count, weighs as much as one drawn once."""
    positive = torch.tensor([1.0])
    once = losses.sampled_softmax(positive, torch.tensor([[0.5]]))
    twice = losses.sampled_softmax(
        positive, torch.tensor([[0.5, 0.5]]), torch.zeros(1), torch.full((1, 2), 2.0).log()
    )
    assert once.item() == pytest.approx(twice.item(), rel=1e-6)


def test_gbce_without_calibration_is_bce():
    positive, negatives = torch.randn(20), torch.randn(20, 7)
    plain = losses.bce(positive, negatives).item()
    wanted = functional.binary_cross_entropy_with_logits(positive, torch.ones(20), reduction="sum")
    wanted += functional.binary_cross_entropy_with_logits(negatives, torch.zeros(20, 7), reduction="sum")
    assert plain == pytest.approx(wanted.item(), rel=1e-5)
    assert losses.gbce(positive, negatives, 1000, 0.0).item() == pytest.approx(plain, rel=1e-5)
    calibrated = losses.gbce(positive, negatives, 1000, 1.0).item()  # beta = alpha = 7 / 999
    drop = (1 - 7 / 999) * functional.softplus(-positive).sum().item()
    assert calibrated == pytest.approx(plain - drop, rel=1e-4)


def test_bpr_is_zero_for_a_perfect_order():
    assert losses.bpr(torch.tensor([50.0]), torch.tensor([-50.0])).item() < 1e-30
    assert losses.bpr(torch.zeros(3), torch.zeros(3)).item() == pytest.approx(3 * 0.6931472)


def test_dropout_keeps_the_mean_and_repeats():
    layer, x = Dropout(0.3), torch.ones(1000, 301)
    torch.manual_seed(5)
    first = layer(x)
    torch.manual_seed(5)
    assert (layer(x) == first).all()
    assert (first == 0).float().mean().item() == pytest.approx(0.3, abs=0.003)
    assert first.mean().item() == pytest.approx(1, abs=0.005)
    assert (layer.eval()(x) == x).all()
