"""Maximal marginal relevance against its definition, by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsmith.errors import ParameterError
from recsmith.serving.diversity import MarginalRelevance, mmr


def by_definition(scores, similarity, k, weight):
    """The paper's greedy choice, one pair at a time."""

    def scaled(values, among):
        low, high = min(among), max(among)
        return [[0.0 if low == high else (v - low) / (high - low) for v in row] for row in values]

    c = len(scores)
    pairs = [similarity[i][j] for i in range(c) for j in range(c) if i != j] or [0.0]
    relevance = scaled([scores], scores)[0]
    alike = scaled(similarity, pairs)
    taken: list[int] = []
    while len(taken) < min(k, c):
        left = [i for i in range(c) if i not in taken]
        value = {
            i: weight * relevance[i] - (1 - weight) * max((alike[i][j] for j in taken), default=0)
            for i in left
        }
        taken.append(max(left, key=lambda i: (value[i], -i)))
    return taken


@st.composite
def candidates(draw):
    c = draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.normal(size=c) * 100, rng.normal(size=(c, c))


@given(candidates(), st.integers(1, 15), st.floats(0, 1))
def test_it_is_the_papers_choice(given_, k, weight):
    scores, similarity = given_
    assert mmr(scores, similarity, k, weight).tolist() == by_definition(
        scores.tolist(), similarity.tolist(), k, weight
    )


@given(candidates())
def test_weight_1_is_the_order_of_the_scores(given_):
    scores, similarity = given_
    assert mmr(scores, similarity, len(scores), 1).tolist() == np.argsort(-scores, kind="stable").tolist()


def test_the_twin_of_the_best_item_waits():
    scores = np.array([3.0, 2.9, 1.0])
    similarity = np.array([[9, 1, 0], [1, 9, 0], [0, 0, 9]])  # what an item is to itself plays no part
    assert mmr(scores, similarity, 3, 1).tolist() == [0, 1, 2]
    assert mmr(scores, similarity, 3, 0.4).tolist() == [0, 2, 1]
    assert mmr(scores, similarity, 2, 0).tolist() == [0, 2]


def test_what_is_not_known_counts_as_least_alike():
    similarity = np.full((3, 3), np.nan)
    similarity[[0, 1], [1, 0]] = 0.9, 0.1
    assert mmr(np.array([3.0, 2.9, 2.8]), similarity.T, 3, 0.2).tolist() == [0, 2, 1]
    assert mmr(np.array([3.0, 2.0]), np.full((2, 2), np.nan), 2, 0.5).tolist() == [0, 1]


def test_equal_scores_go_by_place():
    assert mmr(np.ones(4), np.ones((4, 4)), 4, 0.5).tolist() == [0, 1, 2, 3]


def test_nothing_left_is_minus_one():
    ranking = MarginalRelevance(np.array([1.0, 2.0, 0.0]))
    ranking.drop(1)
    assert ranking.best() == 0
    ranking.take(0)
    ranking.take(2)
    assert ranking.best() == -1
    assert MarginalRelevance(np.ones(0)).best() == -1


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_a_weight_out_of_range(weight):
    with pytest.raises(ParameterError, match=r"'weight' parameter of MarginalRelevance must be in 0 .. 1"):
        MarginalRelevance(np.ones(2), np.ones((2, 2)), weight)


def test_inputs_are_left_alone():
    scores, similarity = np.array([1.0, 2.0]), np.array([[1.0, 0.5], [0.5, 1.0]])
    before = scores.copy(), similarity.copy()
    mmr(scores, similarity, 2, 0.3)
    np.testing.assert_array_equal(scores, before[0])
    np.testing.assert_array_equal(similarity, before[1])
