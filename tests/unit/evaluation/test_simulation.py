"""Worlds with a known best item."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from rich.console import Console

from recsmith.errors import ParameterError
from recsmith.evaluation.simulation import BernoulliWorld, LinearWorld, simulate
from recsmith.models.bandits.registry import create_policy


class Always:
    """Chooses one item."""

    def __init__(self, item):
        self.item = item

    def choose(self, queries, candidates, k, *, rng):
        return np.full((len(queries), k), self.item)

    def update(self, queries, items, rewards):
        pass


def test_regret_by_hand():
    worlds = [BernoulliWorld(np.array([0.2, 0.9])), BernoulliWorld(np.array([0.5, 0.6]))]
    found = simulate({"bad": lambda: Always(0), "good": lambda: Always(1)}, worlds, 10, reference="bad")
    np.testing.assert_allclose(found.curves["bad"][:, -1], [7, 1])
    np.testing.assert_allclose(found.curves["bad"][0, :3], [0.7, 1.4, 2.1])
    assert found.means == pytest.approx({"bad": 4, "good": 0})
    assert found.differences["good"].high <= 0
    assert found.differences["bad"] == (0, 0)


def test_contexts_decide_in_a_linear_world():
    worlds = [LinearWorld.random(5, 4, np.random.default_rng(seed)) for seed in range(4)]
    policies = {n: (lambda n=n: create_policy(n)) for n in ("epsilon-greedy", "linucb")}
    found = simulate(policies, worlds, 800, reference="epsilon-greedy", together=4)
    assert found.differences["linucb"].high < 0
    assert found.p["linucb"] < 0.05
    again = simulate(policies, worlds, 800, reference="epsilon-greedy", together=4)
    np.testing.assert_array_equal(found.curves["linucb"], again.curves["linucb"])


def test_the_chance_of_a_linear_world():
    world = LinearWorld(np.array([[1.0, 0.0], [0.0, -0.5]]))
    np.testing.assert_allclose(world.means(np.array([[1, 0], [0, 1]])), [[1, 0.5], [0.5, 0.25]])
    contexts = world.contexts(50, np.random.default_rng(0))
    np.testing.assert_allclose(np.linalg.norm(contexts, axis=1), 1, rtol=1e-5)


def test_it_is_written_and_shown():
    worlds = [BernoulliWorld(np.array([0.2, 0.9]))] * 2
    found = simulate({"a": lambda: Always(0), "b": lambda: Always(1)}, worlds, 5, reference="a")
    values = json.loads(json.dumps(found.as_dict()))
    assert values["policies"]["b"]["difference"] == pytest.approx(-3.5)
    assert values["policies"]["a"]["p"] is None
    Console(file=(page := io.StringIO()), width=100).print(found)
    assert "Regret after 5 rounds in 2 worlds" in page.getvalue()


def test_bad_worlds():
    with pytest.raises(ParameterError, match="chances"):
        BernoulliWorld(np.array([0.2, 1.2]))
    with pytest.raises(ParameterError, match="weights"):
        LinearWorld(np.array([[2.0, 0.0]]))
    worlds = [BernoulliWorld(np.array([0.2, 0.9]))] * 2
    policies = {"a": lambda: Always(0)}
    with pytest.raises(ParameterError, match="'worlds'"):
        simulate(policies, worlds[:1], 5, reference="a")
    with pytest.raises(ParameterError, match="'rounds'"):
        simulate(policies, worlds, 0, reference="a")
    with pytest.raises(ParameterError, match="named 'b'"):
        simulate(policies, worlds, 5, reference="b")
