"""Team draft gives both rankings the same chances; the test over users is the sign test."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from recsmith.errors import ParameterError
from recsmith.evaluation.experiments import compare_clicks, credit, team_draft


def drafted(first, second, k, seed=0, n=1):
    rows = np.tile(first, (n, 1)), np.tile(second, (n, 1))
    return team_draft(*rows, k, np.random.default_rng(seed))


def test_a_draft_by_hand():
    """Of a b c and b c d: if a's team begins, it is a b ...; if the other does, b a c ..."""
    items, teams = drafted([0, 1, 2], [1, 2, 3], 2, n=200)
    found = {(tuple(row), tuple(team)) for row, team in zip(items.tolist(), teams.tolist(), strict=True)}
    assert found == {((0, 1), (0, 1)), ((1, 0), (1, 0))}


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 8), st.integers(1, 8))
def test_what_a_draft_is(seed, k, m, other):
    rng = np.random.default_rng(seed)
    n = 5
    first = np.argsort(rng.random((n, 12)), axis=1)[:, :m]
    second = np.argsort(rng.random((n, 12)), axis=1)[:, :other]
    items, teams = team_draft(first, second, k, rng)
    for row in range(n):
        shown = items[row][items[row] >= 0]
        union = np.union1d(first[row], second[row])
        assert len(set(shown)) == len(shown) == min(k, len(union))
        assert set(shown) <= set(union)
        assert (items[row][len(shown) :] == -1).all() and (teams[row][len(shown) :] == -1).all()
        assert abs((teams[row] == 0).sum() - (teams[row] == 1).sum()) <= 1
        for team, ranking in ((0, first[row]), (1, second[row])):
            for place in np.flatnonzero(teams[row] == team):
                free = [item for item in ranking if item not in items[row][:place]]
                assert items[row][place] == free[0]


def test_equal_rankings_share_all_places():
    _, teams = drafted([0, 1, 2, 3], [0, 1, 2, 3], 4, n=20_000)
    for place in range(4):
        assert stats.binomtest(int((teams[:, place] == 1).sum()), 20_000).pvalue > 1e-4


def test_places_without_a_rival_belong_to_nobody():
    items, teams = drafted([6, -1, -1], [5, 7, 8], 4, seed=1)
    assert sorted(items[0].tolist()) == [5, 6, 7, 8]
    assert sorted(teams[0, :2].tolist()) == [0, 1]
    assert teams[0, 2:].tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("first", "second", "credited"),
    [
        (range(10), [0], 0),  # whoever begins takes the item of both, and the other may have none
        (range(10), [20], 2),
        (range(10), [0, 1], 2),
        (range(10), [20, 21, 0], 4),
        ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], 5),
    ],
)
def test_rounds_are_credited_by_the_rankings_alone(first, second, credited):
    """As many in every draft, whatever the coins say, and as many for each team but in a last half round."""
    k = 5
    second = np.pad(second, (0, 10 - len(second)), constant_values=-1)
    _, teams = drafted(list(first), second, k, n=400)
    assert ((teams >= 0).sum(axis=1) == credited).all()
    assert (abs((teams == 0).sum(axis=1) - (teams == 1).sum(axis=1)) == credited % 2).all()


@pytest.mark.parametrize("length", [1, 2, 3, 6])
@pytest.mark.parametrize("shift", [0, 1, 4, 20])
@pytest.mark.parametrize("k", [5, 10])
def test_clicks_at_random_favour_neither_a_long_nor_a_short_ranking(length, shift, k):
    """Positions are clicked by their rank alone; the first ranking has ten items, the second a few."""
    rng = np.random.default_rng(length)
    n = 20_000
    first = np.tile(np.arange(10), (n, 1))
    second = np.where(np.arange(10) < length, first[:, ::-1] + shift - 10 + length, -1)
    items, teams = team_draft(first, second, k, rng)
    clicks = (items >= 0) & (rng.random(items.shape) < 0.6 / (1 + np.arange(k)))
    shares = (teams == 0).sum(), (teams == 1).sum()
    assert shares[0] == pytest.approx(shares[1], abs=4 * np.sqrt(n))
    found = compare_clicks(np.arange(n), credit(teams, clicks))
    assert np.isnan(found.p) or found.p > 1e-3


def test_a_seed_gives_the_same_lists_and_inputs_stay():
    first, second = np.arange(6).reshape(2, 3), np.arange(6).reshape(2, 3)[:, ::-1]
    before = first.copy(), second.copy()
    one = team_draft(first, second, 3, np.random.default_rng(4))
    two = team_draft(first, second, 3, np.random.default_rng(4))
    np.testing.assert_array_equal(one.items, two.items)
    np.testing.assert_array_equal(one.teams, two.teams)
    np.testing.assert_array_equal((first, second), before)


def test_credit_counts_clicks_of_teams_only():
    teams = np.array([[0, 1, -1], [1, 0, 1]])
    clicks = np.array([[True, True, True], [True, False, True]])
    assert credit(teams, clicks).tolist() == [[1, 1], [0, 2]]


def test_the_users_are_the_units():
    users = np.array([7, 7, 3, 9, 9, 1])
    credits = np.array([[0, 2], [1, 0], [0, 1], [1, 0], [0, 1], [3, 0]])
    found = compare_clicks(users, credits)
    assert (found.first, found.second, found.ties) == (1, 2, 1)
    assert found.p == pytest.approx(stats.binomtest(2, 3).pvalue)
    assert found.share == pytest.approx(2 / 3)
    assert found.preference == pytest.approx(2.5 / 4 - 0.5)
    assert found.interval == pytest.approx(stats.binomtest(2, 3).proportion_ci(method="wilson"))
    assert json.loads(json.dumps(found.as_dict()))["second"] == 2


def test_a_better_ranking_is_found():
    """Users click what they like: the second ranking puts it first."""
    rng = np.random.default_rng(5)
    liked = rng.integers(0, 10, 400)
    first = np.argsort(rng.random((400, 10)), axis=1)
    second = first.copy()
    place = np.argmax(second == liked[:, None], axis=1)
    second[np.arange(400), place] = second[:, 0]
    second[:, 0] = liked
    items, teams = team_draft(first, second, 4, rng)
    clicks = (items == liked[:, None]) & (rng.random(items.shape) < 0.6)
    found = compare_clicks(np.arange(400), credit(teams, clicks))
    assert found.p < 1e-3 and found.interval.low > 0.5


def test_nobody_clicked():
    found = compare_clicks(np.arange(3), np.zeros((3, 2), dtype=int))
    assert (found.ties, found.as_dict()["p"]) == (3, None)
    assert compare_clicks(np.zeros(0, dtype=int), np.zeros((0, 2), dtype=int)).ties == 0


def test_bad_input():
    rng = np.random.default_rng(0)
    with pytest.raises(ParameterError, match="'k' parameter of team_draft must be >= 1"):
        drafted([0], [1], 0)
    with pytest.raises(ParameterError, match="'second' parameter of team_draft must be of 2 users"):
        team_draft(np.zeros((2, 1)), np.zeros((3, 1)), 1, rng)
    with pytest.raises(ParameterError, match="'clicks' parameter of credit"):
        credit(np.zeros((2, 2)), np.zeros((2, 3), dtype=bool))
    with pytest.raises(ParameterError, match="'credits' parameter of compare_clicks must be of the shape"):
        compare_clicks(np.arange(3), np.zeros((2, 2)))
    with pytest.raises(ParameterError, match="'credits' parameter of compare_clicks must be >= 0"):
        compare_clicks(np.arange(1), np.array([[-1, 0]]))
    with pytest.raises(ParameterError, match="'alpha' parameter"):
        compare_clicks(np.arange(1), np.array([[1, 0]]), alpha=1)
