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
    differences,
    holm,
    intervals,
    paired_p,
    replicates,
    skewed,
    stringer,
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


def test_intervals_of_rare_hits_cover_the_rate():
    """30 users of whom 2 % have a hit: the percentiles of a bootstrap, often (0, 0), cover the rate in 43 %."""
    rng, covered = np.random.default_rng(13), 0
    for trial in range(200):
        hits = Sample.of_users((rng.random(30) < 0.02).astype(float), bounded=True)
        low, high = intervals({"hit_rate@10": hits}, resamples=100, seed=trial)["hit_rate@10"]
        covered += low <= 0.02 <= high
    assert covered / 200 > 0.93


def test_bounds_of_hits_are_cloppers_and_pearsons():
    for hits, n in ((0, 30), (3, 30), (29, 30), (1, 1), (9, 5000)):
        found = stringer(np.repeat([1.0, 0.0], [hits, n - hits]), 0.9)
        assert found == pytest.approx(tuple(stats.binomtest(hits, n).proportion_ci(0.9)), abs=1e-9)


def test_bounds_of_rare_values_cover_their_mean():
    """NDCG of 60 users of whom 5 % have a hit, and the mirror image."""
    rng = np.random.default_rng(14)
    covered = 0
    for trial in range(200):
        values = np.where(rng.random(60) < 0.05, rng.beta(2, 1, 60), 0.0)
        plain = intervals({"m": Sample.of_users(values, bounded=True)}, resamples=100, seed=trial)["m"]
        mirror = intervals({"m": Sample.of_users(1 - values, bounded=True)}, resamples=100, seed=trial)["m"]
        assert mirror == pytest.approx((1 - plain.high, 1 - plain.low))
        covered += plain.low <= 0.05 * 2 / 3 <= plain.high
    assert covered / 200 > 0.93


def test_many_hits_keep_the_bootstrap():
    values = np.random.default_rng(15).random(300)
    samples = {"yes": Sample.of_users(values, bounded=True), "no": Sample.of_users(values)}
    found = intervals(samples)
    assert found["yes"] == found["no"]


def test_few_skewed_differences_are_told():
    """Log-normal differences around 0 are called different in a third of the tests of 30 users; not unsaid."""
    rng = np.random.default_rng(16)
    unsaid = 0
    for trial in range(200):
        first = Sample.of_users(rng.lognormal(0, 2, 30) - np.exp(2))
        other = Sample.of_users(np.zeros(30))
        found = paired_p(first, other, flips=199, seed=trial) < 0.05
        unsaid += found and not skewed(differences(first, other))
    assert unsaid / 200 <= 0.05
    even = rng.normal(0, 1, (100, 40))
    assert np.mean([skewed(row) for row in even]) < 0.1
    assert skewed(np.r_[np.full(6, 0.1), np.zeros(500)])  # six users differ
    assert not skewed(np.zeros(30))
