"""Intervals cover what they promise, tests agree with scipy, and corrections are Holm's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from recsmith import parallel
from recsmith.errors import ParameterError
from recsmith.evaluation.metrics import rating
from recsmith.evaluation.significance import (
    Sample,
    holm,
    intervals,
    paired_p,
    replicates,
)


def test_figures_by_hand():
    assert Sample.of_users(np.array([1.0, np.nan, 0.0])).estimate() == 0.5
    pairs = np.array([1, 3, 0])
    assert Sample.of_pairs(np.array([2.0, 1.0, np.nan]), pairs).estimate() == pytest.approx(5 / 4)
    assert Sample.of_pairs(np.array([2.0, 1.0, np.nan]), pairs, root=True).estimate() == pytest.approx(
        np.sqrt(7 / 4)
    )
    assert np.isnan(Sample.of_users(np.array([np.nan])).estimate())


def test_intervals_of_a_mean_cover_it():
    """Of 400 skewed samples of 150 users, about 95 % of the intervals hold the true mean."""
    rng = np.random.default_rng(5)
    covered = 0
    for trial in range(400):
        interval = intervals({"m": Sample.of_users(rng.gamma(2.0, 1.0, 150))}, resamples=400, seed=trial)["m"]
        covered += interval.low <= 2.0 <= interval.high
    assert 0.91 <= covered / 400 <= 0.98


def test_intervals_of_rmse_cover_it():
    """The same for RMSE, where users have 1 to 60 pairs and an error level of their own."""
    rng = np.random.default_rng(6)
    counts = np.clip(rng.geometric(0.06, 120), 1, 60)
    covered = 0
    for trial in range(300):
        pairs = rng.permutation(counts)
        level = rng.uniform(0.5, 1.5, 120)  # E[error ** 2] = E[level ** 2] = 13 / 12
        rows = np.repeat(np.arange(120), pairs)
        error = rng.normal(0, level[rows])
        values, pairs = rating.user_errors(error, np.zeros_like(error), rows, 120)
        sample = Sample.of_pairs(values["rmse"], pairs, root=True)
        interval = intervals({"rmse": sample}, resamples=400, seed=trial)["rmse"]
        covered += interval.low <= np.sqrt(13 / 12) <= interval.high
    assert 0.89 <= covered / 300 <= 0.98


def test_interval_agrees_with_scipy():
    values = np.random.default_rng(7).exponential(1.0, 300)
    ours = intervals({"m": Sample.of_users(values)}, resamples=4000)["m"]
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", random_state=1
    ).confidence_interval
    np.testing.assert_allclose(ours, theirs, atol=0.01)


def test_a_seed_gives_the_same_digits_for_any_number_of_threads():
    values = {"a": Sample.of_users(np.random.default_rng(8).random(5000))}
    found = []
    for threads in (1, 2, 3):
        parallel.set_threads(threads)
        found.append(intervals(values, seed=3)["a"])
    parallel.set_threads(None)
    assert found[0] == found[1] == found[2]
    assert intervals(values, seed=4)["a"] != found[0]


def test_one_draw_serves_all_figures():
    values = np.random.default_rng(9).random(50)
    drawn = replicates([Sample.of_users(values), Sample.of_users(values + 1)], resamples=20)
    np.testing.assert_allclose(drawn[:, 1] - drawn[:, 0], 1.0)
    samples = {"low": Sample.of_users(values), "high": Sample.of_users(values + 1)}
    gaps = intervals(samples, against="low")
    assert gaps["low"] == (0, 0)
    np.testing.assert_allclose(gaps["high"], [1.0, 1.0])


def test_users_that_are_not_judged_do_not_count():
    values = np.random.default_rng(10).random(100)
    padded = np.concatenate([values, np.full(100, np.nan)])
    alone, among = (
        intervals({"m": Sample.of_users(values)})["m"],
        intervals({"m": Sample.of_users(padded)})["m"],
    )
    np.testing.assert_allclose(alone, among, atol=0.02)


def test_empty_and_single():
    nothing = intervals({"m": Sample.of_users(np.zeros(0))})["m"]
    assert np.isnan(nothing.low) and np.isnan(nothing.high)
    assert intervals({"m": Sample.of_users(np.array([0.3]))})["m"] == (0.3, 0.3)
    assert intervals({}) == {}


def test_bad_parameters():
    one, two = Sample.of_users(np.zeros(3)), Sample.of_users(np.zeros(4))
    with pytest.raises(ParameterError, match="over the same users"):
        replicates([one, two])
    with pytest.raises(ParameterError, match="over the same users"):
        paired_p(one, two)
    with pytest.raises(ParameterError, match="'level' parameter"):
        intervals({"m": one}, level=1.5)


def test_paired_tests_agree_with_scipy():
    rng = np.random.default_rng(11)
    first = rng.random(80)
    second = first + rng.normal(0.02, 0.1, 80)
    samples = Sample.of_users(first), Sample.of_users(second)
    theirs = stats.ttest_rel(first, second).pvalue
    assert paired_p(*samples, test="t") == pytest.approx(theirs)
    assert paired_p(*samples) == pytest.approx(theirs, abs=0.02)


def test_randomization_of_few_users_is_exact():
    """Five users, all better: 2 of the 32 sign patterns are as extreme."""
    better = Sample.of_users(np.array([0.1, 0.2, 0.3, 0.4, 0.5]))
    assert paired_p(better, Sample.of_users(np.zeros(5)), flips=20_000) == pytest.approx(2 / 32, abs=0.005)


def test_paired_p_edges():
    same = Sample.of_users(np.array([0.5, 0.5, 0.2]))
    assert paired_p(same, same) == 1.0
    assert paired_p(same, same, test="t") == 1.0
    one, other = Sample.of_users(np.array([0.5])), Sample.of_users(np.array([0.4]))
    assert paired_p(one, other, test="t") == 1.0


def test_p_values_are_uniform_where_nothing_differs():
    rng = np.random.default_rng(12)
    p = [
        paired_p(Sample.of_users(rng.random(60)), Sample.of_users(rng.random(60)), flips=500, seed=trial)
        for trial in range(300)
    ]
    assert 0.02 <= np.mean(np.array(p) < 0.05) <= 0.09


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.6, 0.9]), [1.0, 1.0])
    assert holm([]) == []
