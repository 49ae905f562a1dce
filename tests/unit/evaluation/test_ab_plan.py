"""Plans agree with statsmodels, their three questions with one another, and sample ratios with hand values."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import TTestIndPower
from statsmodels.stats.proportion import power_proportions_2indep

from recsmith.errors import ParameterError
from recsmith.evaluation.experiments import Baseline, plan, sample_ratio
from recsmith.evaluation.experiments.contrast import Contrast

SPEND = Baseline.of_mean(10.0, 30.0)
RATE = Baseline.of_proportion(0.1)


@pytest.mark.parametrize("ratio", [1.0, 0.25, 3.0])
def test_users_for_a_mean_are_those_of_statsmodels(ratio):
    theirs = TTestIndPower().solve_power(effect_size=0.5 / 30, alpha=0.05, power=0.8, ratio=ratio)
    users = plan(SPEND, effect=0.5, shares=[1, ratio]).users
    assert users["control"] == pytest.approx(theirs, abs=2)
    assert users["treatment"] == pytest.approx(theirs * ratio, abs=2)


def test_power_and_effect_for_a_mean_are_those_of_statsmodels():
    power = TTestIndPower().power(effect_size=1 / 30, nobs1=9000, ratio=1, alpha=0.01)
    assert plan(SPEND, effect=1, users=18_000, alpha=0.01).power == pytest.approx(power, rel=1e-9)
    effect = TTestIndPower().solve_power(nobs1=20, alpha=0.05, power=0.9)
    assert plan(SPEND, users=40, power=0.9).effect == pytest.approx(30 * effect, rel=1e-6)


@pytest.mark.parametrize("effect", [0.01, -0.02])
def test_power_for_a_proportion_is_that_of_statsmodels(effect):
    theirs = power_proportions_2indep(effect, 0.1, nobs1=3000, ratio=1, alpha=0.05, return_results=False)
    assert plan(RATE, effect=effect, users=6000).power == pytest.approx(theirs, rel=1e-6)


def test_a_ratio_is_planned_by_its_influence():
    rng = np.random.default_rng(0)
    slots = 1 + rng.poisson(9, 100_000)
    clicks = rng.binomial(slots, rng.beta(2, 18, 100_000))
    told = {"mean": clicks.mean(), "sd": clicks.std(), "count_mean": slots.mean(), "count_sd": slots.std()}
    ratio = Baseline.of_ratio(**told, correlation=np.corrcoef(clicks, slots)[0, 1])
    influence = (clicks - ratio.value * slots) / slots.mean()
    assert ratio.value == pytest.approx(clicks.sum() / slots.sum())
    assert ratio.sd == pytest.approx(influence.std(), rel=1e-9)


def test_a_covariate_saves_users():
    plain = plan(SPEND, effect=1).total
    assert plan(Baseline.of_mean(10, 30, correlation=0.6), effect=1).total / plain == pytest.approx(
        0.64, abs=0.001
    )


@settings(max_examples=30)
@given(
    st.floats(0.02, 0.9), st.floats(0.03, 0.3), st.floats(0.3, 0.99), st.floats(0.001, 0.2), st.floats(0.2, 5)
)
def test_the_three_questions_have_one_answer(p, effect, power, alpha, share):
    for baseline, size in ((Baseline.of_proportion(p), effect * (1 - p)), (Baseline.of_mean(p, 1), effect)):
        made = plan(baseline, effect=size, power=power, alpha=alpha, shares=[1, share])
        assert made.power >= power - 1e-9
        asked = plan(baseline, users=made.total, power=made.power, alpha=alpha, shares=made.users)
        assert asked.effect == pytest.approx(size, rel=1e-3)
        fewer = {name: math.floor(n * 0.98) - 1 for name, n in made.users.items()}
        if min(fewer.values()) > 2:
            less = plan(baseline, effect=size, users=sum(fewer.values()), shares=fewer, alpha=alpha)
            assert less.power < power + 1e-6


def test_many_comparisons_share_alpha_and_the_smallest_group_decides():
    shares = {"old": 2, "new": 1, "newer": 2}
    made = plan(RATE, effect=0.02, shares=shares, comparisons=4)
    assert list(made.users) == ["old", "new", "newer"]
    assert made.users["newer"] == pytest.approx(2 * made.users["new"], abs=1)
    pair = plan(RATE, effect=0.02, shares=[2, 1], alpha=0.05 / 4)
    assert made.users["new"] == pytest.approx(pair.users["treatment"], abs=1)
    assert plan(RATE, effect=0.02, shares=shares).comparisons == 2


@pytest.mark.parametrize("baseline", [SPEND, RATE])
def test_a_plan_for_any_number_of_looks(baseline):
    """The power of the always-valid interval at the planned users; about twice as many as for one look."""
    effect = 0.05 * baseline.sd
    made = plan(baseline, effect=effect, sequential=True)
    n, m = made.users.values()
    treated = baseline.value + effect
    variance = baseline.sd**2 / n + (treated * (1 - treated) if baseline is RATE else baseline.sd**2) / m
    looked = Contrast(effect, variance, n + m - 2, n + m, 1.0, 0.0, 0.0)
    bound = looked.quantile_of_mixture(n + m, 0.05)
    assert stats.norm.sf(bound - effect / looked.error) == pytest.approx(0.8, abs=2e-3)
    assert 1.8 < made.total / plan(baseline, effect=effect).total < 2
    assert made.as_dict()["sequential"] is True


def test_relative_effects_days_and_json():
    made = plan(SPEND, effect=0.05, relative=True, users_per_day=1000)
    assert made.effect == 0.5
    assert made.days == math.ceil(made.total / 1000)
    told = json.loads(json.dumps(made.as_dict()))
    assert (told["relative_effect"], told["days"], told["total"]) == (0.05, made.days, made.total)
    assert "users of control" in "".join(str(row[0]) for row in made.__rich__().rows)
    assert plan(Baseline.of_mean(0, 1), effect=0.1).as_dict()["relative_effect"] is None


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({}, "solves for one of"),
        ({"power": 0.8}, "solves for one of"),
        ({"effect": 0.1, "users": 100, "power": 0.8}, "solves for one of"),
        ({"effect": 0}, "'effect' parameter of plan must be a finite number other than 0"),
        ({"effect": 0.95}, r"'effect' parameter of plan must be such that 0.1 \+ effect is in \[0, 1\]"),
        ({"effect": 0.1, "power": 1.0}, "'power' parameter of plan must be above 0.05 and below 1"),
        ({"effect": 0.1, "alpha": 0}, "'alpha' parameter"),
        ({"effect": 0.1, "shares": [1]}, "'shares' parameter of plan must be of two variants or more"),
        ({"effect": 0.1, "shares": [1, 0]}, "'shares' parameter of plan must be > 0"),
        ({"effect": 0.1, "comparisons": 0}, "'comparisons' parameter"),
        ({"effect": 0.1, "users_per_day": 0}, "'users_per_day' parameter"),
        ({"users": 3}, "'users' parameter of plan must be >= 4"),
        ({"users": 4}, "'users' parameter of plan must be large enough"),
        ({"effect": 1e-15}, "'effect' parameter of plan must be large enough"),
    ],
)
def test_bad_plans(bad, words):
    with pytest.raises(ParameterError, match=words):
        plan(RATE, **bad)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Baseline.of_mean(1, 0), "'sd' parameter of plan must be > 0"),
        (lambda: Baseline.of_mean(float("nan"), 1), "'mean' parameter"),
        (lambda: Baseline.of_mean(1, 1, correlation=1), "'correlation' parameter"),
        (lambda: Baseline.of_proportion(1.0), "'proportion' parameter"),
        (lambda: Baseline.of_ratio(mean=1, sd=1, count_mean=0, count_sd=1, correlation=0), "'count_mean'"),
        (lambda: Baseline.of_ratio(mean=1, sd=0, count_mean=1, count_sd=0, correlation=0), "ratio varies"),
    ],
)
def test_bad_baselines(make, words):
    with pytest.raises(ParameterError, match=words):
        make()


def test_sample_ratio_by_hand():
    found = sample_ratio({"a": 5000, "b": 5200})
    assert found.p == pytest.approx(stats.chi2.sf(2 * 100**2 / 5100, 1))
    assert not found.broken
    told = sample_ratio({"a": 821_588, "b": 815_482})  # Kohavi, Tang, Xu, "Trustworthy Online Controlled
    assert told.broken and told.p == pytest.approx(1.8e-6, rel=0.02)  # Experiments", 2020, chapter 21
    assert not sample_ratio({"a": 9000, "b": 1010}, {"a": 9, "b": 1}).broken
    few = sample_ratio({"a": 4, "b": 0})
    assert np.isnan(few.p) and not few.broken
    assert json.loads(json.dumps(few.as_dict()))["p"] is None


@pytest.mark.parametrize(
    ("counts", "shares", "words"),
    [
        ({"a": 5}, None, "of two variants or more"),
        ({"a": 5, "b": -1}, None, "'counts' parameter of sample_ratio must be >= 0"),
        ({"a": 5, "b": 5}, {"a": 1}, "above 0 for each of a, b"),
        ({"a": 5, "b": 5}, {"a": 1, "b": 0}, "above 0 for each of a, b"),
    ],
)
def test_bad_sample_ratios(counts, shares, words):
    with pytest.raises(ParameterError, match=words):
        sample_ratio(counts, shares)
