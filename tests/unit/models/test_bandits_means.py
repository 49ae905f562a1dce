"""Epsilon-greedy, UCB1 and Beta-Thompson by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta
from tests.contract.test_policies import asked, offered

from recsmith.models.bandits.registry import create_policy


def taught(policy, rewards):
    """Rewards of each item, one after the other."""
    for item, brought in rewards.items():
        policy.update(asked(len(brought)), np.full(len(brought), item), np.array(brought, dtype=float))
    return policy


def told(policy, *items, n=400, k=1):
    slate = policy.act(asked(n), offered(n, *items), k, rng=np.random.default_rng(0))
    return dict(zip(slate.items[:, 0].tolist(), slate.propensities[:, 0].tolist(), strict=True))


def test_epsilon_greedy_by_hand():
    policy = taught(create_policy("epsilon-greedy", epsilon=0.4), {0: [1, 0], 1: [1, 1], 2: [0]})
    assert told(policy, 0, 1, 2, 9) == pytest.approx({0: 0.1, 1: 0.7, 2: 0.1, 9: 0.1})


def test_equal_means_share_the_greedy_part():
    policy = taught(create_policy("epsilon-greedy", epsilon=0.2), {0: [1], 1: [1], 2: [0]})
    assert told(policy, 0, 1, 2, 3) == pytest.approx({0: 0.45, 1: 0.45, 2: 0.05, 3: 0.05})
    greedy = taught(create_policy("epsilon-greedy", epsilon=0), {0: [1], 1: [1], 2: [0]})
    assert told(greedy, 0, 1, 2) == pytest.approx({0: 0.5, 1: 0.5})


def test_an_item_without_rewards_counts_as_told():
    policy = taught(create_policy("epsilon-greedy", epsilon=0, initial=0.6), {0: [1, 0], 1: [1, 1, 0]})
    assert told(policy, 0, 7) == {7: 1}
    assert told(policy, 1, 7) == {1: 1}


def test_rewards_of_any_size_are_learned_by_means():
    policy = taught(create_policy("epsilon-greedy", epsilon=0), {0: [-5.0], 1: [12.5, 20.0]})
    assert told(policy, 0, 1, 2) == {1: 1}


def test_ucb1_by_hand():
    policy = taught(create_policy("ucb1"), {0: [1] * 9 + [0], 1: [1, 0], 2: [0, 0, 0]})
    index = {
        0: 0.9 + np.sqrt(2 * np.log(15) / 10),
        1: 0.5 + np.sqrt(2 * np.log(15) / 2),
        2: np.sqrt(2 * np.log(15) / 3),
    }
    order = sorted(index, key=index.get, reverse=True)
    slate = policy.act(asked(1), offered(1, 0, 1, 2), 3, rng=np.random.default_rng(0))
    assert slate.items[0].tolist() == order
    assert (slate.propensities == 1).all()


def test_ucb1_takes_new_items_first_in_the_order_of_the_candidates():
    policy = taught(create_policy("ucb1"), {0: [1] * 5})
    slate = policy.act(asked(1), offered(1, 0, 8, 3), 3, rng=np.random.default_rng(0))
    assert slate.items[0].tolist() == [8, 3, 0]


def test_thompson_with_two_items_is_a_comparison_of_beta_distributions():
    policy = taught(create_policy("thompson"), {0: [1, 1, 0], 1: [1, 0, 0, 0.5]})
    grid = np.linspace(0, 1, 200_001)
    chance = np.trapezoid(beta.pdf(grid, 3, 2) * beta.cdf(grid, 2.5, 3.5), grid)
    assert told(policy, 0, 1)[0] == pytest.approx(chance, rel=1e-4)


def test_thompson_with_a_prior_that_expects_little():
    policy = create_policy("thompson", successes=1, failures=99)
    taught(policy, {0: [1]})
    assert told(policy, 0, 1)[0] > 0.7
