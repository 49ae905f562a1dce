"""WARP: weighs by the rank that the draws say, stops where a pair is in order, and never races."""

from __future__ import annotations

import numpy as np
from tests.conftest import build
from tests.unit.models.test_bpr import large, planted, share_of_own_group, strangers

from recsmith import parallel
from recsmith.models.factorization.pairwise import Factors, Pairs
from recsmith.models.factorization.warp import WARP, rank_losses

SETTINGS = {"embedding_size": 16, "epochs": 30, "learning_rate": 0.05, "reg": 0.1}


def test_planted_groups_are_recovered_by_known_and_new_users():
    data, groups = planted()
    assert share_of_own_group(WARP(**SETTINGS), data, groups, data.queries()) > 0.95
    assert share_of_own_group(WARP(**SETTINGS), data, groups, strangers(data.queries())) > 0.95


def test_losses_are_partial_harmonic_sums_of_the_rank():
    losses = rank_losses(11, 12)
    whole = sum(1 / k for k in range(1, 11))
    np.testing.assert_allclose(losses[0], 1)
    np.testing.assert_allclose(losses[1], sum(1 / k for k in range(1, 6)) / whole, rtol=1e-6)
    np.testing.assert_allclose(losses[4:], [1.5 / whole, *[1 / whole] * 7], rtol=1e-6)
    np.testing.assert_array_equal(rank_losses(1, 2), [1, 1])


def one_step(other_score: float) -> tuple[Factors, Factors]:
    """A user with the vector 1, an item that scores 1 and another that scores ``other_score``; before and after."""
    before = Factors(
        np.ones((1, 1), np.float32), np.array([[1], [other_score]], np.float32), np.zeros(2, np.float32)
    )
    after = Factors(before.p.copy(), before.q.copy(), before.bias.copy())
    item = np.zeros(1, dtype=np.int32)
    pairs = Pairs(np.array([0]), item, np.ones(1, np.float32), np.array([0, 1]), np.array([0, 1]), item)
    model = WARP(embedding_size=1, reg=0)
    other, steps = np.array([1], dtype=np.int32), np.array([0.1], dtype=np.float32)
    model.descend(pairs, (0, 1), other, after, steps, np.uint64(1), teach_items=True)
    return before, after


def test_a_pair_with_a_margin_of_one_is_left_alone():
    before, after = one_step(-0.1)
    np.testing.assert_array_equal(before.p, after.p)
    np.testing.assert_array_equal(before.q, after.q)


def test_a_violation_is_corrected_by_the_gradient_of_the_hinge():
    """d/dx of 1 - p (q_i - q_j), times the loss of the first draw, which is 1."""
    _, after = one_step(0.5)
    np.testing.assert_allclose(after.p, [[1 + 0.1 * 0.5]], rtol=1e-6)
    np.testing.assert_allclose(after.q, [[1.1], [0.4]], rtol=1e-6)


def test_threads_do_not_change_a_digit():
    states = []
    for threads in (1, 2, 3):
        parallel.set_threads(threads)
        try:
            states.append(WARP(epochs=2, embedding_size=8).fit(large(), rng=4).state())
        finally:
            parallel.set_threads(None)
    for other in states[1:]:
        for name, array in states[0].arrays.items():
            np.testing.assert_array_equal(array, other.arrays[name])


def test_hard_logs_do_no_harm():
    everything = build(["all"] * 6 + ["some"] * 2, ["a", "b", "c", "d", "e", "f", "a", "b"])
    one_item = build(["u", "v"], ["a", "a"])
    for data in (everything, one_item):
        assert np.isfinite(WARP(epochs=5).fit(data).score(data.queries())).all()
