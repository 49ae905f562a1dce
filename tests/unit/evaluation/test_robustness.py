"""Seeds, splits and shares of train; what the numbers do not say."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from tests.conftest import build
from tests.unit.evaluation.conftest import make_split

from recsmith.data.splitters import global_time, k_fold, leave_last_out, user_time
from recsmith.errors import ParameterError
from recsmith.evaluation import compare, evaluate, judge
from recsmith.evaluation.limits import limits
from recsmith.evaluation.robustness import learning_curve, stability
from recsmith.evaluation.significance import holm
from recsmith.models.baselines.popular import Popular
from recsmith.models.baselines.random import Random
from recsmith.models.baselines.rating_baseline import RatingBaseline
from recsmith.models.factorization.ials import ImplicitALS
from recsmith.models.linear.ease import EASE
from recsmith.recommend import Pipeline


def models():
    return {
        "random": lambda: Pipeline(model=Random()),
        "popular": lambda: Pipeline(model=Popular()),
        "ease": lambda: Pipeline(model=EASE(reg=10.0), fallback=Popular()),
    }


# Stability


@pytest.fixture(scope="module")
def folds(ml_like):
    return list(k_fold(ml_like, k=4))


def test_means_and_spreads_over_seeds_and_splits(folds):
    found = stability(models(), folds, (0, 1, 2), metric="ndcg@5")
    rows = {row.model: row for row in found.rows}
    assert [row.model for row in found.rows][-1] == "random" and found.rows[0].verdict == "best"
    assert rows["ease"].sd_seeds == 0 and rows["random"].sd_seeds > 0  # the luck of the fit
    values = np.array(rows["random"].values)
    assert values.shape == (4, 3)
    assert rows["random"].mean == pytest.approx(values.mean()) and rows["random"].sd == pytest.approx(
        values.std(ddof=1)
    )
    assert rows["random"].sd_splits == pytest.approx(values.mean(axis=1).std(ddof=1))
    assert rows["random"].sd_seeds == pytest.approx(np.sqrt(values.var(axis=1, ddof=1).mean()))
    report = evaluate(models()["ease"](), folds[1], ks=(5,), seed=1)
    assert rows["ease"].values[1][1] == pytest.approx(report.means["ndcg@5"])


def test_against_the_best_all_pairs_are_corrected_for(folds):
    """Three models are three pairs: over splits Holm's correction of all of them, over users the largest statistic."""
    splits = stability(models(), folds, (0,), metric="ndcg@5")
    p = {frozenset((row.model, splits.reference)): row.p for row in splits.rows[1:]}
    other = stability(models(), folds, (0,), metric="ndcg@5", baseline=splits.rows[1].model)
    p |= {frozenset((row.model, other.reference)): row.p for row in other.rows if row.p is not None}
    corrected = dict(zip(p, holm(list(p.values())), strict=True))
    for row in splits.rows[1:]:
        assert row.p_corrected == pytest.approx(corrected[frozenset((row.model, splits.reference))])
    assert (splits.correction, other.correction) == ("all pairs", "holm")
    users = stability(models(), folds[:1], (0,), metric="ndcg@5")
    reports = [evaluate(make(), folds[0], ks=(5,), name=name) for name, make in models().items()]
    rows = {row.model: row for row in compare(reports, "ndcg@5").rows}
    for row in users.rows[1:]:
        assert row.p_corrected == rows[row.model].p_corrected
    assert "p (all pairs)" in [str(column) for column in users.__rich__().columns]


def test_the_test_over_splits_is_nadeau_and_bengio(folds):
    found = stability(models(), folds, (0,), metric="ndcg@5", baseline="popular")
    rows = {row.model: row for row in found.rows}
    d = np.array(rows["random"].values)[:, 0] - np.array(rows["popular"].values)[:, 0]
    ratio = np.mean([len(f.truth.items) / len(f.train) for f in folds])
    t = d.mean() / np.sqrt((1 / 4 + ratio) * d.var(ddof=1))
    assert rows["random"].p == pytest.approx(2 * stats.t.sf(abs(t), 3))
    plain = stats.ttest_1samp(d, 0).pvalue
    assert rows["random"].p > plain  # splits share their train part: the plain test finds too much
    assert rows["popular"].verdict == "baseline" and rows["popular"].p is None
    assert np.isnan(rows["random"].sd_seeds)
    assert found.test == "corrected resampled t"


def test_one_split_is_tested_user_by_user(folds):
    found = stability(models(), folds[:1], (0,), metric="ndcg@5", baseline="popular")
    reports = [evaluate(make(), folds[0], name=name, ks=(5,)) for name, make in models().items()]
    expected = {row.model: row for row in compare(reports, "ndcg@5", baseline="popular").rows}
    for row in found.rows:
        assert row.p == expected[row.model].p and row.verdict == expected[row.model].verdict
    assert np.isnan(found.rows[0].sd) and found.test == "randomization over users"


def test_equal_models_are_equal(folds):
    same = {name: models()["popular"] for name in ("one", "two")}
    found = stability(same, folds, (0,), metric="ndcg@5")
    assert found.rows[1].p == 1.0 and found.rows[1].difference == 0
    assert found.rows[1].verdict == "no difference shown"


def test_errors_are_ordered_the_other_way(folds):
    kinds = {"baseline": lambda: Pipeline(model=RatingBaseline())}
    found = stability(kinds, folds[:2], (0,), metric="rmse")
    assert found.rows[0].verdict == "best"
    told = json.loads(json.dumps(found.as_dict()))
    assert told["rows"][0]["model"] == "baseline" and told["rows"][0]["sd_seeds"] is None
    assert len(found.__rich__().rows) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": {}}, "at least one"),
        ({"splits": []}, "at least one"),
        ({"seeds": ()}, "at least one"),
        ({"seeds": (1, 1)}, "distinct"),
        ({"baseline": "eas"}, "Did you mean 'ease'"),
        ({"metric": "ndgc@5"}, "ndcg"),
    ],
)
def test_bad_input_of_stability(folds, changes, message):
    given = {"models": models(), "splits": folds[:1], "seeds": (0,), **changes}
    with pytest.raises(ParameterError, match=message):
        stability(**given)


# Learning curves


@pytest.mark.parametrize("by", ["users", "events"])
def test_all_of_train_is_the_usual_figure(ml_like, by):
    split = user_time(ml_like)
    found = learning_curve(models()["ease"], split, (0.5, 0.1), by=by, metric="ndcg@5", name="ease")
    assert [row.share for row in found.rows] == [0.1, 0.5, 1.0]
    whole = found.rows[-1]
    report = evaluate(models()["ease"](), split, ks=(5,))
    assert whole.value == report.means["ndcg@5"] and whole.missing == 0 and whole.missing_interval == (0, 0)
    assert whole.events == len(split.train)
    sizes = [getattr(row, by) for row in found.rows]
    assert sizes == [round(share * sizes[-1]) for share in (0.1, 0.5, 1.0)]
    for row in found.rows[:-1]:
        assert row.missing == pytest.approx(whole.value - row.value)
        assert row.interval.low <= row.value <= row.interval.high
    assert json.loads(json.dumps(found.as_dict()))["rows"][0]["share"] == 0.1
    assert len(found.__rich__().rows) == 3


def test_trained_vectors_answer_only_for_users_that_were_learned_from(ml_like):
    """A fold-in of the very history differs little from the trained vector; a vector of nobody would be noise."""
    split = user_time(ml_like)
    found = learning_curve(
        lambda: Pipeline(model=ImplicitALS(embedding_size=4, reg=1.0)), split, (0.8,), metric="ndcg@5"
    )
    assert found.model == "ImplicitALS"
    assert found.rows[0].value > 0.5 * found.rows[1].value


def test_learning_curves_of_ratings(ml_like):
    found = learning_curve(lambda: Pipeline(model=RatingBaseline()), user_time(ml_like), (0.2,))
    assert found.metric == "rmse"
    assert found.rows[0].missing == pytest.approx(found.rows[0].value - found.rows[1].value)


def test_bad_input_of_learning_curves(ml_like):
    split = user_time(ml_like)
    for shares in ((0.0,), (1.2,), (-0.5,)):
        with pytest.raises(ParameterError, match="shares"):
            learning_curve(models()["popular"], split, shares)
    with pytest.raises(ParameterError, match="'users' or 'events'"):
        learning_curve(models()["popular"], split, by="items")


# Limits, and leakage in every report


def said(split, **changes):
    report = evaluate(models()["popular"](), split, ks=(3, 10), rating=False)
    return " ".join(limits(replace(report, **changes), split))


def test_what_a_split_does_not_say(tiny):
    text = said(tiny)
    assert "answers to 4 questions" in text and "A/B test" in text
    assert "60.0 % of the items hold 80 %" in text
    assert (
        "Only 1 of the 3 judged users is unknown" in text and "Only 2 of the 3 judged users are known" in text
    )
    assert "1 of 4 users has nothing left to be found" in text
    assert "12.5 % of the events to be found are of items that train does not hold" in text
    assert "25.0 % of the events to be found repeat" in text
    assert "The log has no times" in text
    assert (
        "14.3 % of the ratings to be found" not in text
        and "12.5 % of the ratings to be found are below 3" in text
    )


def test_limits_are_facts_of_the_split_and_no_set_phrases(ml_like):
    by_user, by_time = user_time(ml_like), global_time(ml_like)
    first, second = said(by_user), said(by_time)
    assert "None of the 150 judged users is unknown to train" in first
    assert "Each user is asked at a moment of his own" in first and "One window of time" not in first
    assert "One window of time was judged" in second and "Each user is asked" not in second
    assert "The fallback filled" not in first
    filled = evaluate(models()["ease"](), by_time, ks=(10,), rating=False)
    share = filled.shares["fallback_slots"]
    assert (share > 0) == ("The fallback filled" in " ".join(limits(filled, by_time)))


def test_ties_and_rated_low():
    users, items = ["a", "a", "b", "b"], ["x", "y", "y", "x"]
    tied = leave_last_out(build(users, items, [5, 1, 4, 2], [7, 7, 1, 9]))
    text = said(tied)
    assert "50.0 % of the histories end in the very second" in text
    assert "100.0 % of the ratings to be found are below 3" in text
    assert "100.0 % of the users have 3 events or fewer" in text


def test_implicit_logs_have_no_low_ratings(implicit):
    assert "ratings to be found" not in said(implicit)


def test_a_wide_interval_is_a_limit(ml_like):
    split = user_time(ml_like)
    report = evaluate(models()["popular"](), split, ks=(10,), rating=False)
    low, high = report.intervals["ndcg@10"]
    wide = (high - low) / 2 > 0.1 * report.means["ndcg@10"]
    assert wide == ("ndcg@10 is known to +-" in " ".join(limits(report, split)))


def test_every_report_holds_its_leakage(tiny, ml_like):
    report = judge(Pipeline(model=Popular()).fit(tiny.train), tiny, ks=(3,))
    assert any("user's own history holds" in text for text in report.leakage)
    clean = make_split(tiny.train, {"bob": [("d", 2)]})
    assert judge(Pipeline(model=Popular()).fit(clean.train), clean, ks=(3,)).leakage == ()
    assert report.as_dict()["leakage"] == list(report.leakage)
    later = evaluate(Pipeline(model=Popular()), user_time(ml_like), ks=(5,), rating=False)
    assert any("are later than the question" in text for text in later.leakage)
    again = type(later).read(later.as_dict(), later.per_user())
    assert again.leakage == later.leakage
