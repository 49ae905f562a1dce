"""What a test finds where there is nothing: skewed users, unequal groups, rare conversions, many looks."""

from __future__ import annotations

import itertools
import math

import numpy as np
import polars as pl
import pytest
from scipy import integrate

from recsmith.evaluation.experiments import Metric, analyze
from recsmith.evaluation.experiments.contrast import Contrast, best_mixture
from recsmith.evaluation.experiments.nulls import Nulls
from recsmith.evaluation.experiments.permutation import permuted
from recsmith.evaluation.experiments.sequential import always_valid_p
from recsmith.evaluation.experiments.units import Group

MEAN = Metric.mean("y")


def revenue(rng, n):
    """One user in twenty buys, and some of them much."""
    return (rng.random(n) < 0.05) * rng.lognormal(3, 1.2, n)


def conversions(rng, n):
    return (rng.random(n) < 0.01).astype(float)


def frame(y, treated):
    return pl.DataFrame({"y": y, "variant": np.where(treated, "new", "old")})


def row(y, treated, metric=MEAN, **options):
    shares = {"old": float((~treated).mean()), "new": float(treated.mean())}
    return analyze(frame(y, treated), [metric], control="old", unit=None, shares=shares, **options).rows[0]


def group(values):
    return Group(np.asarray(values, dtype=float), None, None, None)


def test_a_small_group_without_a_conversion_shows_nothing():
    """27 of 2,700 against 0 of 300: Fisher's p is .10, and a variance of 0 of the new would make it .0001."""
    treated = np.arange(3000) >= 2700
    y = (np.arange(3000) < 27).astype(float)
    for metric in (Metric.proportion("y"), MEAN):
        found = row(y, treated, metric, method="sequential")
        assert found.p > 0.05 and found.verdict == "no difference shown"
        assert math.isnan(found.interval.low)
        assert "a group has 0 users with another value than the most frequent one, expected 5" in found.note


@pytest.mark.parametrize("draw", [conversions, revenue])
def test_looks_at_unequal_groups_find_nothing_where_nothing_is(draw):
    """98 to 2: a few looks at 50 experiments; with the variance of the small group alone, most of them find a loss."""
    rng, found = np.random.default_rng(0), 0
    for _ in range(50):
        y, treated = draw(rng, 2000), np.arange(2000) % 50 == 0
        looks = (
            row(y[:n], treated[:n], method="sequential", planned_users=2000) for n in (250, 500, 1000, 2000)
        )
        found += any(look.p < 0.05 for look in looks)
    assert found <= 4


def test_early_looks_find_nothing_where_nothing_is():
    """20 users planned, a look at each pair."""
    rng, found = np.random.default_rng(1), 0
    for _ in range(60):
        y, treated = rng.standard_normal(20), np.arange(20) % 2 == 0
        looks = (row(y[:n], treated[:n], method="sequential", planned_users=20) for n in range(4, 21, 2))
        found += any(look.p < 0.05 for look in looks)
    assert found <= 3


def test_groups_with_one_mean_and_two_variances_are_no_difference():
    """The small group varies three times as much: the randomization test alone takes that for a difference."""
    rng, found = np.random.default_rng(2), 0
    treated = np.arange(1000) % 10 == 0
    for _ in range(50):
        y = rng.standard_normal(1000) * np.where(treated, 3, 1)
        looks = (row(y[:n], treated[:n], method="sequential", planned_users=1000) for n in (200, 500, 1000))
        found += any(look.p < 0.05 for look in looks)
    assert found <= 4


@pytest.mark.parametrize("method", ["auto", "permutation"])
def test_one_look_at_skewed_users_in_unequal_groups(method):
    """90 to 10: Welch's t finds something in one of four."""
    rng, found = np.random.default_rng(3), 0
    treated = np.arange(200) % 10 == 0
    for seed in range(100):
        one = row(revenue(rng, 200), treated, method=method, resamples=200, seed=seed)
        found += one.p < 0.05
        assert one.method == "permutation"
    assert found <= 9


def test_which_rows_are_permuted():
    rng = np.random.default_rng(4)
    treated = np.arange(2000) % 10 == 0
    skewed = row(revenue(rng, 2000), treated)
    assert skewed.method == "permutation" and "the difference is skewed: " in skewed.note
    assert "tested by permutation; P(better) and loss are rough" in skewed.note
    assert row(rng.standard_normal(2000), treated).method == "t"
    assert row(revenue(rng, 2000), np.arange(2000) % 2 == 0).method == "t"
    rare = row((np.arange(2000) < 6).astype(float), np.arange(2000) % 2 == 0, Metric.proportion("y"))
    assert rare.method == "permutation" and "fewer than 5 users of the rarer outcome" in rare.note
    for method in ("t", "bootstrap"):
        chosen = row(revenue(rng, 2000), treated, method=method, resamples=200)
        assert chosen.method == method and "p and intervals are rough; the method auto" in chosen.note


@pytest.mark.parametrize("method", ["permutation", "sequential"])
@pytest.mark.parametrize("scale", [0.4, 1.0, 2.5])
def test_p_and_intervals_are_one_test(method, scale):
    """Both the difference and the lift are bounded by what the test does not reject."""
    rng = np.random.default_rng(5)
    treated = np.arange(1500) % 6 == 0
    seen = set()
    for _ in range(8):
        y = rng.gamma(0.7, 1, 1500) * np.where(treated, scale, 1)
        found = row(y, treated, method=method, planned_users=1500, resamples=400)
        outside = not found.interval.low <= 0 <= found.interval.high
        assert (found.p < 0.05) == outside
        assert outside == (not found.lift_interval.low <= 0 <= found.lift_interval.high)
        assert found.interval.low < found.difference < found.interval.high
        seen.add(outside)
    assert seen == ({False} if scale == 1 else {True})


@pytest.mark.parametrize("method", ["permutation", "sequential"])
@pytest.mark.parametrize(
    "metric",
    [
        Metric.mean("y", before="x"),
        Metric.ratio("y", "d"),
        Metric.ratio("y", "d", before="x", before_per="d"),
    ],
)
def test_covariates_and_ratios_are_shifted_too(method, metric):
    """Many users in equal groups: the intervals of difference and lift are about those of t, by their own width."""
    rng = np.random.default_rng(6)
    n = 4000
    treated, taste = np.arange(n) % 2 == 0, rng.gamma(2, 1, n)
    columns = {
        "y": taste * np.where(treated, 1.1, 1) + rng.gamma(1, 1, n),
        "x": taste,
        "d": 1.0 + rng.poisson(6, n),
    }
    users = frame(columns.pop("y"), treated).with_columns(**columns)
    options = {"control": "old", "unit": None, "planned_users": n, "resamples": 1000}
    t, other = (analyze(users, [metric], method=m, **options).rows[0] for m in ("t", method))
    wider = 1 if method == "permutation" else 1.55
    for name in ("interval", "lift_interval"):
        ours, theirs = np.array(getattr(other, name)), np.array(getattr(t, name))
        assert np.diff(ours) / np.diff(theirs) == pytest.approx(wider, rel=0.08)
        assert ours.mean() == pytest.approx(theirs.mean(), abs=0.1 * np.diff(theirs)[0])


def test_the_randomization_test_costs_nothing_in_equal_groups():
    """As wide as the normal mixture with Welch's variance, which holds for such users by itself."""
    rng = np.random.default_rng(7)
    treated = np.arange(4000) % 2 == 0
    y = rng.standard_normal(4000) + 0.05 * treated
    found = row(y, treated, method="sequential", planned_users=4000)
    contrast = Contrast.of(group(y[~treated]).arm(), group(y[treated]).arm())
    low, high = contrast.interval(contrast.quantile_of_mixture(4000, 0.05))
    assert np.diff(found.interval) == pytest.approx(high - low, rel=0.01)
    assert found.p == pytest.approx(contrast.mixture_p(4000, 0.05), rel=0.05)


def test_the_always_valid_p_by_its_definition():
    """One over a mixture of exponential martingales, integrated by SciPy."""
    control, treatment = (np.arange(180) < 72).astype(float), np.zeros(20)
    line, _ = Nulls.of((group(control), group(treatment)), 0.0)
    share, drawn, c = 0.1, 200 / 199, np.concatenate([control, treatment])
    c = c - c.mean()
    deviation = math.sqrt(best_mixture(0.05) * 200 / 300 / (drawn * share * (1 - share) * (c @ c)))

    def height(tilt):
        cumulants = np.log(1 - share + share * np.exp(tilt * c)) - share * tilt * c
        return math.exp(tilt * c[180:].sum() - drawn * cumulants.sum() - (tilt / deviation) ** 2 / 2)

    mixed, _ = integrate.quad(height, -8 * deviation, 8 * deviation, limit=400)
    mixed /= deviation * math.sqrt(2 * math.pi)
    arms = group(control).arm(), group(treatment).arm()
    found = always_valid_p(line, Contrast.of(*arms), 300, 0.05)
    assert mixed > 1 and found == pytest.approx(1 / mixed, rel=1e-3)


@pytest.mark.parametrize("flipped", [False, True])
def test_permutations_by_all_groups_there_are(flipped):
    values, m = np.array([0.0, 0.3, 1.1, 2.0, 2.2, 5.0, 9.0]), 2
    treated = np.isin(np.arange(7), [5, 6]) != flipped

    def statistic(mask):
        a, b = values[~mask], values[mask]
        return (b.mean() - a.mean()) / math.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))

    masks = [np.isin(np.arange(7), some) != flipped for some in itertools.combinations(range(7), m)]
    every = np.array([statistic(mask) for mask in masks])
    seen = statistic(treated)
    exact = min(1.0, 2 * min((every >= seen - 1e-9).mean(), (every <= seen + 1e-9).mean()))
    line = Nulls.of((group(values[~treated]), group(values[treated])), 0.0)
    found, _ = permuted(line, draws=20_000, seed=0)
    assert found.p() == pytest.approx(exact, abs=0.01)


def test_too_few_users_for_an_interval():
    y, treated = np.arange(12.0), np.arange(12) % 2 == 0
    found = row(y, treated, method="sequential", planned_users=10_000)
    assert math.isnan(found.interval.low) and found.p == 1
    assert "no difference, however large, can be excluded with so few users" in found.note
