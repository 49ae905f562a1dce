"""Against the best of the same data: equal models stay equal, and a worse one is still found."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import polars as pl
import pytest

from recsmith import parallel
from recsmith.errors import ParameterError
from recsmith.evaluation.all_pairs import all_pairs_p, simultaneous_intervals
from recsmith.evaluation.comparison import compare
from recsmith.evaluation.report import Report, summarize
from recsmith.evaluation.significance import Sample, holm, paired_p, replicates


def hits(seed, users=200, models=20, worse=()):
    """(users, models) hit or not: users differ in how easy they are, models do not, but for the ``worse``."""
    rng = np.random.default_rng(seed)
    easy = rng.beta(1, 2, (users, 1))
    found = rng.random((users, models)) < easy
    for model in worse:
        found[:, model] &= rng.random(users) < 0.4
    return found.astype(np.float64)


def reports_of(values):
    """A report for each column: its hit rate."""
    reports = []
    for model, column in enumerate(values.T):
        one = {"hit_rate@10": column}
        report = Report(
            model=f"m{model}", config={}, protocol={"split_fingerprint": "s", "filter_seen": True}, split="s",
            notes=(), user_ids=pl.Series("user_id", range(len(column))), known=np.ones(len(column), dtype=bool),
            values=one, means={}, intervals={},
        )  # fmt: skip
        means, bounds = summarize({"hit_rate@10": report.sample("hit_rate@10")}, resamples=10, seed=0)
        reports.append(replace(report, means=means, intervals=bounds))
    return reports


def test_equal_models_are_rarely_called_worse_than_the_best_of_them():
    """Of 100 comparisons of 20 equal models up to a quarter would show one that is worse."""
    found = outside = 0
    for seed in range(100):
        values = hits(seed)
        samples, means = [Sample.of_users(column) for column in values.T], values.mean(axis=0)
        best = int(means.argmax())
        found += bool((all_pairs_p(samples, flips=199, seed=seed)[best] < 0.05).any())
        drawn = replicates(samples, resamples=200, seed=seed)
        outside += any(gap.high < 0 for gap in simultaneous_intervals(drawn, means, best, 0.95))
    assert found <= 12 and outside <= 12


def test_the_best_is_compared_by_all_pairs():
    """On these figures Holm's correction calls an equal model worse."""
    seed = next(s for s in range(100) if _holm_finds_a_worse(hits(s)))
    compared = compare(reports_of(hits(seed)), "hit_rate@10", resamples=200)
    assert compared.rows[0].verdict == "best" and compared.correction == "all pairs"
    assert {row.verdict for row in compared.rows[1:]} == {"no difference shown"}
    assert all(row.difference_interval.high >= 0 for row in compared.rows[1:])


def _holm_finds_a_worse(values):
    best = int(values.mean(axis=0).argmax())
    gaps = [values[:, [best]] - values[:, [m]] for m in range(values.shape[1]) if m != best]
    p = [paired_p(*(Sample.of_users(v) for v in (gap[:, 0], 0 * gap[:, 0])), test="t") for gap in gaps]
    return min(holm(p)) < 0.04


def test_a_worse_model_is_found_among_many():
    compared = compare(reports_of(hits(3, worse=(4, 7))), "hit_rate@10")
    assert {row.model for row in compared.rows if row.verdict == "worse"} == {"m4", "m7"}
    worst = compared.rows[-1]
    assert worst.difference_interval.high < 0 and worst.p <= worst.p_corrected


def test_a_baseline_has_holms_correction():
    compared = compare(reports_of(hits(5, models=4, worse=(1,))), "hit_rate@10", baseline="m0")
    assert compared.correction == "holm"
    rows = [row for row in compared.rows if row.p is not None]
    assert [row.p_corrected for row in rows] == holm([row.p for row in rows])


def test_two_models_are_one_test():
    values = hits(6, models=2)
    samples = [Sample.of_users(column) for column in values.T]
    assert all_pairs_p(samples)[0, 1] == paired_p(*samples)
    (row,) = compare(reports_of(values), "hit_rate@10").rows[1:]
    assert row.p == row.p_corrected


def test_the_largest_statistic_of_all_pairs():
    """Every sign of six users: the share in which some pair's statistic is as large as that of a pair."""
    rng = np.random.default_rng(7)
    values = rng.random((6, 3))
    found = all_pairs_p([Sample.of_users(column) for column in values.T], flips=20_000)
    signs = np.array(np.meshgrid(*[[-1, 1]] * 6)).reshape(6, -1).T
    pairs = list(combinations(range(3), 2))
    gaps = np.column_stack([values[:, i] - values[:, j] for i, j in pairs])
    scale = np.sqrt((gaps**2).sum(axis=0))
    largest = (np.abs(signs @ gaps) / scale).max(axis=1)
    for (i, j), own in zip(pairs, np.abs(gaps.sum(axis=0)) / scale, strict=True):
        assert found[i, j] == found[j, i] == pytest.approx((largest >= own - 1e-9).mean(), abs=0.02)
    assert (np.diag(found) == 1).all()


def test_t_tests_of_all_pairs():
    samples = [Sample.of_users(column) for column in hits(8, models=4, worse=(0,)).T]
    pairs = list(combinations(range(4), 2))
    wanted = holm([paired_p(samples[i], samples[j], test="t") for i, j in pairs])
    found = all_pairs_p(samples, test="t")
    assert [found[pair] for pair in pairs] == wanted


def test_models_that_never_differ_and_other_users():
    same = [Sample.of_users(np.array([0.5, 0.0, 1.0]))] * 3
    assert (all_pairs_p(same) == 1).all()
    drawn = replicates(same, resamples=50)
    assert simultaneous_intervals(drawn, np.full(3, 0.5), 0, 0.95) == [(0.0, 0.0)] * 3
    with pytest.raises(ParameterError, match="over the same users"):
        all_pairs_p([*same, Sample.of_users(np.zeros(4))])


def test_the_same_digits_for_any_number_of_threads():
    samples = [Sample.of_users(column) for column in hits(9, users=3000, models=5).T]
    found = []
    for threads in (1, 3):
        parallel.set_threads(threads)
        try:
            found.append(all_pairs_p(samples, seed=2))
        finally:
            parallel.set_threads(None)
    assert np.array_equal(*found)


def test_few_users_that_differ_are_told():
    values = np.zeros((40, 3))
    values[:5, 1] = 1
    compared = compare(reports_of(values), "hit_rate@10")
    assert compared.rows[0].model == "m1"
    assert compared.notes[0].startswith("Warning: too few users differ from m1")
    assert compared.as_dict()["notes"] == list(compared.notes)
    assert compare(reports_of(hits(11, models=3)), "hit_rate@10").notes == ()
