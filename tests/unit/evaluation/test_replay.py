"""Replay: the rounds of an even log in which a policy agrees."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from rich.console import Console
from tests.contract.test_policies import asked

from recsmith.errors import DataError, ParameterError
from recsmith.evaluation.replay import replay
from recsmith.models.bandits.registry import create_policy

CHANCES = np.array([0.1, 0.3, 0.2, 0.7])
EVERY = np.arange(4)


def log(n, seed=0):
    rng = np.random.default_rng(seed)
    actions = rng.integers(0, 4, n)
    return asked(n), actions, (rng.random(n) < CHANCES[actions]).astype(np.float64)


class Always:
    """Chooses one item and remembers what it was told."""

    def __init__(self, item):
        self.item, self.told = item, []

    def choose(self, queries, candidates, k, *, rng):
        return np.full((len(queries), k), self.item)

    def update(self, queries, items, rewards):
        self.told += zip(items.tolist(), rewards.tolist(), strict=True)


def test_a_policy_that_does_not_learn_gets_the_mean_of_its_item():
    queries, actions, rewards = log(2000)
    policy = Always(3)
    found = replay(policy, queries, actions, rewards, EVERY)
    np.testing.assert_array_equal(found.rows, np.flatnonzero(actions == 3))
    assert found.reward == rewards[actions == 3].mean()
    assert found.logged == rewards.mean()
    assert policy.told == [(3, reward) for reward in rewards[actions == 3]]
    assert found.interval.low < found.reward < found.interval.high


@pytest.mark.parametrize("name", ["thompson", "linucb", "epsilon-greedy", "ucb1"])
def test_a_policy_that_learns_earns_more_than_the_log(name):
    queries, actions, rewards = log(4000)
    found = replay(create_policy(name), queries, actions, rewards, EVERY)
    assert len(found.rows) == pytest.approx(1000, abs=130)
    assert found.reward > found.logged + 0.1
    again = replay(create_policy(name), queries, actions, rewards, EVERY)
    np.testing.assert_array_equal(found.rows, again.rows)


def test_it_is_the_same_as_asking_round_by_round():
    """For a policy without chance; UCB1 changes with every reward."""
    queries, actions, rewards = log(500, seed=3)
    found = replay(create_policy("ucb1"), queries, actions, rewards, EVERY)
    policy, rows, rng = create_policy("ucb1"), [], np.random.default_rng(0)
    for row in range(500):
        one = slice(row, row + 1)
        if policy.choose(queries.take(one), EVERY[None], 1, rng=rng)[0, 0] == actions[row]:
            policy.update(queries.take(one), actions[one], rewards[one])
            rows.append(row)
    assert found.rows.tolist() == rows


def test_it_is_written_and_shown():
    queries, actions, rewards = log(300)
    found = replay(Always(1), queries, actions, rewards, EVERY, name="always", level=0.9)
    values = json.loads(json.dumps(found.as_dict()))
    assert values["policy"] == "always"
    assert values["matches"] == len(found.rows)
    assert values["level"] == 0.9
    Console(file=(page := io.StringIO()), width=100).print(found)
    assert "always" in page.getvalue()
    assert "90 %" in page.getvalue()


def test_a_policy_that_never_agrees_has_no_figure():
    queries, _, rewards = log(10)
    found = replay(Always(2), queries, np.zeros(10, dtype=int), rewards, EVERY)
    assert np.isnan(found.reward)
    assert found.as_dict()["reward"] is None


def test_bad_logs():
    queries, actions, rewards = log(5)
    policy = Always(0)
    with pytest.raises(DataError, match="action 9 of round 0"):
        replay(policy, queries, np.full(5, 9), rewards, EVERY)
    with pytest.raises(DataError, match="reward of round 1"):
        replay(policy, queries, actions, np.array([0, np.nan, 0, 0, 0]), EVERY)
    with pytest.raises(DataError, match=r"drawn evenly.*0\.5 in round 2"):
        replay(policy, queries, actions, rewards, EVERY, propensities=np.array([0.25, 0.25, 0.5, 0.25, 0.25]))
    with pytest.raises(ParameterError, match="actions"):
        replay(policy, queries, actions[:4], rewards, EVERY)
    with pytest.raises(ParameterError, match="at least one round"):
        replay(policy, asked(0), actions[:0], rewards[:0], EVERY)
    with pytest.raises(ParameterError, match="level"):
        replay(policy, queries, actions, rewards, EVERY, level=1)
