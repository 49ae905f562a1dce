"""evaluate and judge on splits small enough for paper, and on the figures everybody knows."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import root_mean_squared_error

from recsmith.data.split import Split, Truth
from recsmith.data.weighting import Weighting
from recsmith.errors import DataError, NotFittedError, ParameterError
from recsmith.evaluation import compare, evaluate, judge, leaderboard
from recsmith.evaluation.metrics import ranking
from recsmith.models.baselines.popular import Popular
from recsmith.models.baselines.rating_baseline import RatingBaseline
from recsmith.models.linear.ease import EASE
from recsmith.recommend import Pipeline

LOG2_3 = float(np.log2(3))


class Both(RatingBaseline):
    """Orders items by how often they were rated, and predicts ratings."""

    def fit(self, data, *, rng=None, monitor=None):
        self.popular = Popular().fit(data)
        return super().fit(data)

    def score(self, queries, items=None):
        return self.popular.score(queries, items)


def rendered(thing) -> str:
    console = Console(width=160, file=io.StringIO())
    console.print(thing)
    return console.file.getvalue()


@pytest.fixture
def popular(tiny: Split):
    return evaluate(Pipeline(model=Popular()), tiny, ks=(2, 3))


def test_few_hits_are_told(popular):
    assert any("3 of 3 users have a value above 0 of" in note and "ndcg@3" in note for note in popular.notes)


def test_popular_by_hand(popular):
    assert popular.user_ids.to_list() == ["ann", "bob", "new"]
    # ann: d e -, right at 2 of 1. bob: c d e, right at 2 of 2. new: a b c, right at 2 and 3 of 2.
    ideal = 1 + 1 / LOG2_3
    np.testing.assert_allclose(popular.values["ndcg@2"], [1 / LOG2_3, 1 / LOG2_3 / ideal, 1 / LOG2_3 / ideal])
    np.testing.assert_allclose(popular.values["precision@3"], [1 / 3, 1 / 3, 2 / 3])
    np.testing.assert_allclose(popular.values["recall@3"], [1, 1 / 2, 1])
    np.testing.assert_allclose(popular.values["map@3"], [1 / 2, 1 / 4, (1 / 2 + 2 / 3) / 2])
    np.testing.assert_allclose(popular.values["mrr@3"], [1 / 2] * 3)
    assert popular.means["recall@3"] == pytest.approx(2.5 / 3)
    assert popular.intervals["mrr@3"].low < 0.2  # three equal values say little
    assert list(popular.values) == [f"{m}@{k}" for m in ranking.DEFAULT_METRICS for k in (2, 3)]


def test_what_cannot_be_found_is_left_out_and_said(popular):
    said = " ".join(popular.notes)
    assert "2 truth events are of items in the user's own history" in said
    assert "1 users were left without truth" in said
    assert popular.shares["truth_not_in_train"] == pytest.approx(1 / 8)
    assert popular.shares["empty_slots"] == pytest.approx(1 / 9)


def test_without_filter_seen_everything_counts(tiny):
    report = evaluate(Pipeline(model=Popular()), tiny, ks=(3,), filter_seen=False)
    assert report.user_ids.to_list() == ["ann", "bob", "cy", "new"]
    np.testing.assert_allclose(report.values["recall@3"], [1 / 2, 0, 1, 1])  # the list is a b c for all
    assert all(note.startswith("Too few users for a bootstrap") for note in report.notes)


def test_known_and_unknown_users_apart(popular):
    assert {name: stratum.users for name, stratum in popular.strata.items()} == {"known": 2, "unknown": 1}
    assert popular.strata["known"].means["recall@3"] == pytest.approx(0.75)
    assert popular.strata["unknown"].means["precision@3"] == pytest.approx(2 / 3)
    assert popular.strata["unknown"].intervals["recall@3"] == pytest.approx((0.025, 1.0))  # of one user
    assert popular.known.tolist() == [True, True, False]


def test_fallback_slots(tiny):
    alone = evaluate(Pipeline(model=EASE(reg=1.0)), tiny, ks=(3,))
    helped = evaluate(Pipeline(model=EASE(reg=1.0), fallback=Popular()), tiny, ks=(3,))
    assert alone.values["recall@3"][2] == 0.0 and helped.values["recall@3"][2] == 1.0
    assert alone.shares["fallback_slots"] == 0.0 and alone.shares["empty_slots"] == pytest.approx(4 / 9)
    assert helped.shares["fallback_slots"] == pytest.approx(3 / 9)
    assert helped.config["fallback"] == {"class": "Popular", "half_life": None}
    assert helped.config["model"] == {"class": "EASE", **EASE(reg=1.0).config.model_dump()}


def test_beyond_accuracy_by_hand(popular):
    # lists d e -, c d e, a b c of five items; every hit was to be expected of a popular list
    assert popular.beyond["coverage@3"] == 1.0
    assert popular.beyond["serendipity@3"] == 0.0
    shares = np.array([4, 2, 2, 1, 1]) / 5 + np.array([0, 1 / 5, 0, 0, 0])
    d, c, a, b = shares[3], shares[2], shares[0], shares[1]
    assert popular.beyond["popularity@3"] == pytest.approx(np.mean([d, (c + 2 * d) / 3, (a + b + c) / 3]))
    assert set(popular.beyond) == {
        f"{name}@3" for name in ("coverage", "gini", "diversity", "novelty", "popularity", "serendipity")
    }


def test_ratings_by_hand(tiny):
    pipeline = Pipeline(model=RatingBaseline(), weighting=Weighting(half_life=1.0))
    report = evaluate(pipeline, tiny)
    truth = tiny.truth
    predicted = RatingBaseline().fit(tiny.train).predict(tiny.queries, truth.rows, truth.items).mean
    assert list(report.values) == ["rmse", "mae"]
    assert report.means["rmse"] == pytest.approx(root_mean_squared_error(truth.values, predicted), rel=1e-6)
    assert report.pairs.tolist() == [2, 2, 1, 3]  # seen items and unknown ones are rated, too
    low, high = report.intervals["rmse"]
    assert low < report.means["rmse"] < high
    assert report.strata["unknown"].users == 1
    assert "predict" in report.seconds and not report.beyond


def test_a_model_that_does_both_is_judged_by_both(tiny):
    report = evaluate(Pipeline(model=Both()), tiny, ks=(2,))
    assert report.user_ids.to_list() == ["ann", "bob", "cy", "new"]
    assert np.isnan(report.values["ndcg@2"][2]) and not np.isnan(report.values["rmse"]).any()
    alone = evaluate(Pipeline(model=Popular()), tiny, ks=(2,))
    assert report.means["ndcg@2"] == pytest.approx(alone.means["ndcg@2"])
    assert "rmse" not in evaluate(Pipeline(model=Both()), tiny, ks=(2,), rating=False).values


def test_missing_ratings_are_said(tiny):
    values = tiny.truth.values.copy()
    values[0] = np.nan
    report = evaluate(
        Pipeline(model=RatingBaseline()), replace(tiny, truth=replace(tiny.truth, values=values))
    )
    assert "1 truth events have no rating." in report.notes
    assert report.pairs.tolist() == [1, 2, 1, 3]


def test_the_lists_are_those_of_recommend(random_split):
    fitted = Pipeline(model=EASE()).fit(random_split.train)
    top = fitted.recommend(random_split.queries, 10)
    hit, relevant = ranking.hits(top.items, random_split.truth.offsets, random_split.truth.items)
    report = judge(fitted, random_split, metrics=["ndcg@10"])
    np.testing.assert_array_equal(report.values["ndcg@10"], ranking.ndcg(hit, relevant, 10))


def test_ease_on_movielens_100k(random_split):
    """The figures that are measured elsewhere: P .365, R .242, NDCG .4415, HR .912 at 10, over five seeds."""
    report = evaluate(Pipeline(model=EASE(reg=300)), random_split, ks=(10,))
    expected = {"precision@10": 0.365, "recall@10": 0.242, "ndcg@10": 0.4415, "hit_rate@10": 0.912}
    for name, figure in expected.items():
        assert report.means[name] == pytest.approx(figure, abs=0.006), name
        assert report.intervals[name].low < figure < report.intervals[name].high
    assert report.notes[0] == "seed 0"
    assert report.seconds["fit"] > 0 and report.memory_mb["fit"] > 50


def test_evaluate_fits_and_judge_only_judges(tiny):
    pipeline = Pipeline(model=Popular())
    with pytest.raises(NotFittedError, match="not fitted"):
        judge(pipeline, tiny)
    evaluated = evaluate(pipeline, tiny, seed=3)
    judged = judge(pipeline.fit(tiny.train), tiny, seed=3)
    assert evaluated.means == judged.means and evaluated.intervals == judged.intervals
    assert "fit" in evaluated.seconds and "fit" not in judged.seconds


def test_what_cannot_be_judged_is_refused(tiny, implicit):
    rating, popular = Pipeline(model=RatingBaseline()), Pipeline(model=Popular())
    with pytest.raises(
        ParameterError, match="nothing to judge: RatingBaseline orders no items, and the truth"
    ):
        judge(rating.fit(tiny.train), implicit)
    with pytest.raises(ParameterError, match="and rating is False"):
        evaluate(rating, tiny, rating=False)
    with pytest.raises(ParameterError, match="rating=True, but Popular predicts no ratings"):
        evaluate(popular, tiny, rating=True)
    with pytest.raises(ParameterError, match="knows 9 items and the train log of 'by hand' has 5"):
        judge(replace(popular, n_items=9), tiny)
    with pytest.raises(ParameterError, match="Did you mean 'recall'"):
        evaluate(popular, tiny, metrics=["recal"])
    with pytest.raises(ParameterError, match="at least one name"):
        evaluate(popular, tiny, ks=())
    empty = Truth(offsets=np.zeros(5, dtype=np.int64), items=np.zeros(0, dtype=np.int32))
    with pytest.raises(DataError, match="nobody to judge"):
        evaluate(popular, replace(tiny, truth=empty))


def test_json(tiny):
    report = evaluate(Pipeline(model=Both()), tiny, ks=(2,), name="both")
    text = json.dumps(report.as_dict(per_user=True), allow_nan=False)
    plain = json.loads(text)
    assert plain["version"] == 1 and plain["model"] == "both" and plain["users"] == 4
    assert plain["means"]["rmse"] == pytest.approx(report.means["rmse"])
    assert plain["per_user"]["values"]["ndcg@2"][2] is None
    assert plain["strata"]["known"]["users"] == 3
    assert "per_user" not in report.as_dict()


def test_tables(tiny, popular):
    text = rendered(popular)
    for part in (
        "Popular on by hand: 3 users",
        "ndcg@3",
        "known (2)",
        "unknown (1)",
        "coverage@3",
    ):
        assert part in text, part
    other = evaluate(Pipeline(model=EASE(reg=1.0), fallback=Popular()), tiny, ks=(2, 3))
    assert "no difference shown" in rendered(compare([popular, other], "ndcg@3"))
    assert "EASE" in rendered(leaderboard([popular, other], "ndcg@3"))


def test_compare(random_split):
    ease = evaluate(Pipeline(model=EASE()), random_split, ks=(10,))
    near = evaluate(Pipeline(model=EASE(reg=310)), random_split, ks=(10,), name="EASE 310")
    popular = evaluate(Pipeline(model=Popular()), random_split, ks=(10,))
    best = compare([popular, near, ease], "ndcg@10")
    verdicts = {row.model: row.verdict for row in best.rows}
    assert verdicts.pop("Popular") == "worse"
    assert sorted(verdicts.values()) == ["best", "no difference shown"]
    worst = best.rows[-1]
    assert (
        worst.difference < 0
        and worst.difference_interval.high < 0
        and worst.p_corrected == pytest.approx(1e-4)
    )
    against = compare([popular, ease], "ndcg@10", baseline="Popular", test="t")
    assert [row.verdict for row in against.rows] == ["better", "baseline"]
    assert json.loads(json.dumps(against.as_dict()))["rows"][0]["p"] < 1e-10
    board = leaderboard([popular, ease], "ndcg@10")
    assert [row["model"] for row in board.rows] == ["EASE", "Popular"] and board.rows[0]["rank"] == 1


def test_smaller_errors_are_better(tiny):
    good = evaluate(Pipeline(model=RatingBaseline()), tiny)
    bad = replace(good, model="bad", values={name: v + 1 for name, v in good.values.items()})
    bad = replace(bad, means={name: bad.sample(name).estimate() for name in bad.values})
    assert [row["model"] for row in leaderboard([bad, good], "rmse").rows] == ["RatingBaseline", "bad"]
    assert compare([bad, good], "rmse").rows[1].difference > 0


def test_reports_that_cannot_be_compared(tiny, popular):
    seen = evaluate(Pipeline(model=Popular()), tiny, ks=(3,), filter_seen=False, name="seen")
    with pytest.raises(ParameterError, match="different questions"):
        compare([popular, seen], "ndcg@3")
    with pytest.raises(ParameterError, match="distinct names"):
        compare([popular, popular], "ndcg@3")
    with pytest.raises(ParameterError, match="at least 2"):
        compare([popular], "ndcg@3")
    with pytest.raises(ParameterError, match="different splits"):
        leaderboard([popular, replace(popular, split="other")], "ndcg@3")
    with pytest.raises(ParameterError, match="no metric in the report of Popular named 'ndcg@30'"):
        compare([popular, replace(popular, model="x")], "ndcg@30")
    with pytest.raises(ParameterError, match="no report named 'y'"):
        compare([popular, replace(popular, model="x")], "ndcg@3", baseline="y")
