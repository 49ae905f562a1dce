"""A policy behind a recommender."""

from __future__ import annotations

import numpy as np
import pytest
from tests.contract.test_policies import asked, offered

from recsmith.errors import ParameterError
from recsmith.models.bandits.explore import Exploration
from recsmith.models.bandits.registry import create_policy
from recsmith.models.registry import create
from recsmith.recommend import Pipeline


def explored(places, candidates, k, n=1, policy="thompson"):
    exploration = Exploration(create_policy(policy), places)
    return exploration.lists(asked(n), candidates, k, rng=np.random.default_rng(0))


def test_the_other_places_stay_as_they_are():
    found = explored((2, 4), offered(200, *range(20, 30)), 5, n=200)
    assert (found.items[:, [0, 2, 4]] == [20, 22, 24]).all()
    assert (found.propensities[:, [0, 2, 4]] == 1).all()
    assert found.explored[0].tolist() == [False, True, False, True, False]
    tried = found.items[:, [1, 3]]
    assert set(tried.ravel().tolist()) == {21, 23, *range(25, 30)}
    assert (tried[:, 0] != tried[:, 1]).all()
    np.testing.assert_allclose(found.propensities[:, 1], 1 / 7, rtol=1e-4)
    np.testing.assert_allclose(found.propensities[:, 3], 1 / 6, rtol=1e-4)
    np.testing.assert_array_equal(found.chosen[0], np.where(found.explored[0], found.items[0], -1))


def test_a_number_is_the_end_of_the_list():
    assert explored(2, offered(1, *range(9)), 4).explored[0].tolist() == [False, False, True, True]
    assert explored(9, offered(1, *range(9)), 4).explored.all()


def test_places_behind_the_list_are_none():
    found = explored((3, 7), offered(1, *range(9)), 3)
    assert found.explored[0].tolist() == [False, False, True]


def test_lists_with_few_candidates_have_no_holes():
    candidates = np.array([[4, 5, 6, 7], [4, 5, -1, -1], [-1, -1, -1, -1]], dtype=np.int32)
    found = explored((1, 3), candidates, 4, n=3)
    assert sorted(found.items[0]) == [4, 5, 6, 7]
    assert found.items[:, 1].tolist() == [5, 5, -1]
    assert found.items[1].tolist() == [4, 5, -1, -1]
    assert found.items[2].tolist() == [-1] * 4
    assert found.explored.tolist() == [[True, False, True, False], [True, *[False] * 3], [False] * 4]
    np.testing.assert_array_equal(np.isnan(found.propensities), found.items < 0)
    short = explored((1,), offered(1, 3), 5)
    assert short.items[0].tolist() == [3, -1, -1, -1, -1]


def test_behind_a_pipeline_a_policy_finds_what_is_liked(ml_like):
    """The recommender's candidates are as they are; of the explored ones one item is always taken."""
    pipeline = Pipeline(model=create("ease"), fallback=create("popular")).fit(ml_like)
    queries = ml_like.queries()
    candidates = pipeline.recommend(queries, 30).items
    exploration = Exploration(create_policy("thompson"), 1)
    liked = int(np.bincount(candidates[:, 9:].ravel()).argmax())
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(15):
        found = exploration.lists(queries, candidates, 10, rng=rng)
        np.testing.assert_array_equal(found.items[:, :9], candidates[:, :9])
        exploration.policy.update(queries, found.chosen, (found.items == liked).astype(np.float64))
        possible = (candidates[:, 9:] == liked).any(axis=1)
        shares.append((found.chosen[possible] == liked).any(axis=1).mean())
    assert shares[-1] > 0.9 > 0.5 > shares[0]


@pytest.mark.parametrize("places", [0, (), (0,), (2, 2)])
def test_places_that_are_none(places):
    with pytest.raises(ParameterError, match="places"):
        Exploration(create_policy("thompson"), places)


def test_a_list_without_places():
    with pytest.raises(ParameterError, match="'k'"):
        explored(1, offered(1, 3), 0)
