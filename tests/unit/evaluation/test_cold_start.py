"""Cold start: one set of users, truth and candidates along a curve; new items by their features."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from typing import ClassVar

import numpy as np
import polars as pl
import pytest
from tests.conftest import build

from recsmith.data.splitters import unknown_users
from recsmith.errors import DataError, ParameterError
from recsmith.evaluation.cold_items import new_items
from recsmith.evaluation.cold_start import TRUTH_STRATA, USER_STRATA, cold_start
from recsmith.models.baselines.popular import Popular
from recsmith.models.linear.ease import EASE
from recsmith.models.neighbors.item_knn import ItemKNN
from recsmith.protocols import Evidence
from recsmith.recommend import Pipeline


def pipelines():
    return {
        "popular": Pipeline(model=Popular()),
        "ease": Pipeline(model=EASE(reg=10.0), fallback=Popular()),
        "item-knn": Pipeline(model=ItemKNN(), fallback=Popular()),
    }


@pytest.fixture(scope="module")
def curves(ml_like):
    return cold_start(pipelines(), ml_like, given=(5, 0, 1, 2), share=0.3, metrics=("ndcg@5", "precision@5"))


def test_no_evidence_is_exactly_the_fallback(curves):
    popular = curves.curve("popular", "ndcg@5")
    for model in ("ease", "item-knn"):
        nothing, one, *_ = curves.curve(model, "ndcg@5")
        assert (nothing.given, nothing.fallback_share) == (0, 1.0)
        assert nothing.value == popular[0].value
        assert (nothing.low, nothing.high) == (popular[0].low, popular[0].high)
        assert (nothing.gain, nothing.gain_low, nothing.gain_high) == (0.0, 0.0, 0.0)
        assert one.fallback_share < 0.5  # item-to-item models answer from one event on
        assert one.value != nothing.value
    assert all(row.fallback_share == 0 for row in curves.curve("ease", "ndcg@5")[1:])


def test_only_the_evidence_changes_along_a_curve(curves):
    assert curves.given == (0, 1, 2, 5)
    popular = curves.curve("popular", "ndcg@5")
    assert len({row.value for row in popular}) == 1
    assert all(row.fallback_share == 0 and np.isnan(row.gain) for row in popular)
    assert {row.users for row in curves.rows if row.stratum == "all"} == {curves.users}


def test_hidden_users_are_judged_on_what_comes_after_their_first_events(ml_like, curves):
    split = unknown_users(ml_like, share=0.3, given=5)
    assert curves.users == int((split.queries.lengths == 5).sum())
    assert curves.split == split.name


def test_by_hand():
    users = [f"u{u}" for u in range(10) for _ in "abcd"]
    data = build(users, list("abcd") * 10, times=range(40))
    found = cold_start(pipelines(), data, given=(0, 1), share=0.5, metrics=("recall@2", "recall@3"))
    # a is told or could be told, so it is in no list; b, c, d are to be found
    for model in found.models:
        assert [row.value for row in found.curve(model, "recall@3")] == [1.0, 1.0]
        assert [row.value for row in found.curve(model, "recall@2")] == pytest.approx([2 / 3, 2 / 3])
    assert found.users == 5


def test_one_event_is_answered_by_the_row_of_its_item(ml_like):
    """The same figure by numpy alone: EASE's weights of the first item, without the first items."""
    found = cold_start(pipelines(), ml_like, given=(1, 3), share=0.3, metrics=("recall@5",))
    split = unknown_users(ml_like, share=0.3, given=3)
    weights = EASE(reg=10.0).fit(split.train).weights_
    told, truth = split.queries, split.truth
    recalls = []
    for r in range(len(told)):
        history = told.items[told.offsets[r] : told.offsets[r + 1]]
        wanted = set(truth.items[truth.offsets[r] : truth.offsets[r + 1]]) - set(history)
        if len(history) == 3 and wanted:
            scores = weights[history[0]].copy()
            scores[history] = -np.inf
            best = np.argsort(-scores, kind="stable")[:5]
            recalls.append(len(wanted & set(best)) / len(wanted))
    assert found.users == len(recalls)
    assert found.curve("ease", "recall@5")[0].value == pytest.approx(np.mean(recalls), abs=1e-12)


def test_movielens(ml_100k):
    found = cold_start(pipelines(), ml_100k, given=(0, 1, 10), metrics=("ndcg@10",))
    popular = found.curve("popular", "ndcg@10")[0].value
    for model in ("ease", "item-knn"):
        nothing, one, ten = found.curve(model, "ndcg@10")
        assert nothing.value == popular and nothing.fallback_share == 1 and one.fallback_share == 0
        assert one.value < ten.value


def test_each_fit_is_told(ml_like):
    told = []

    @contextmanager
    def watch(description):
        told.append(description)
        yield None

    cold_start(pipelines(), ml_like, given=(0, 1), metrics=("ndcg@5",), watch=watch)
    assert told == ["popular: cold start", "ease: cold start", "item-knn: cold start"]


def test_strata_of_the_truth_add_up(curves):
    for model in curves.models:
        for at, whole in enumerate(curves.curve(model, "precision@5")):
            parts = [curves.curve(model, "precision@5", name)[at] for name in TRUTH_STRATA]
            assert sum(p.value * p.users for p in parts) == pytest.approx(whole.value * whole.users)
            some = [
                curves.curve(model, "precision@5", name)[at]
                for name in USER_STRATA
                if any(row.stratum == name for row in curves.rows)
            ]
            assert sum(row.users for row in some) == whole.users
            assert sum(p.value * p.users for p in some) == pytest.approx(whole.value * whole.users)


def test_more_told_is_better_where_taste_is_clear(checkerboard):
    found = cold_start(pipelines(), checkerboard, given=(0, 1, 3), share=0.3, metrics=("recall@3",))
    nothing, one, three = found.curve("ease", "recall@3")
    assert nothing.value < three.value == 1.0
    assert one.value >= nothing.value


def test_results_in_all_forms(curves):
    told = json.loads(json.dumps(curves.as_dict()))
    assert told["models"] == ["popular", "ease", "item-knn"] and told["given"] == [0, 1, 2, 5]
    assert told["rows"][0]["gain"] is None
    frame = curves.frame()
    assert {"model", "given", "metric", "stratum", "value", "low", "high", "fallback_share", "users"} <= set(
        frame.columns
    )
    assert len(frame) == len(curves.rows)
    assert (frame["low"] <= frame["high"]).all()
    table = curves.table("precision@5", "tail items")
    assert len(table.rows) == 3 and "above the fallback" in table.caption
    with pytest.raises(ParameterError, match="no metric of these curves named 'ndcg@6'"):
        curves.curve("ease", "ndcg@6")


def test_same_seed_same_digits(ml_like):
    first, second = (
        cold_start(pipelines(), ml_like, given=(0, 2), metrics=("ndcg@5",), seed=3) for _ in range(2)
    )
    assert first.frame().equals(second.frame())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"given": ()}, "whole numbers >= 0"),
        ({"given": (-1, 2)}, "whole numbers >= 0"),
        ({"given": (0.5,)}, "whole numbers >= 0"),
        ({"metrics": ()}, "cut-off"),
        ({"metrics": ("ndcg",)}, "cut-off"),
        ({"metrics": ("nddcg@5",)}, "Did you mean 'ndcg'"),
        ({"share": 1.0}, "share"),
    ],
)
def test_bad_input(ml_like, changes, message):
    with pytest.raises(ParameterError, match=message):
        cold_start(pipelines(), ml_like, **changes)


def test_nobody_to_judge(ml_like):
    with pytest.raises(ParameterError, match="at least one"):
        cold_start({}, ml_like)
    with pytest.raises(DataError):
        cold_start(pipelines(), ml_like, given=(0, 500))


def test_first_events_that_train_does_not_hold_are_told():
    """Users whose first event is an item of their own are left out, and the notes say so."""
    users = [*(f"u{u}" for u in range(20) for _ in range(4))]
    items = [item for u in range(20) for item in (f"own{u}" if u < 10 else "a", "b", "c", "d")]
    found = cold_start(
        pipelines(), build(users, items, times=range(80)), given=(0, 1), share=0.5, metrics=("recall@2",)
    )
    assert any("of items unknown to train" in note for note in found.notes)


class ByFeature(Popular):
    """Scores an item by its feature ``f``, and can be told of more items."""

    needs: ClassVar[Evidence] = Evidence.NOTHING

    def fit(self, data, *, rng=None, monitor=None):
        super().fit(data)
        self.counts_ = data.item_features["f"].to_numpy().astype(np.float32)
        return self

    def extend_items(self, features):
        new = type(self)()
        new.counts_ = np.concatenate([self.counts_, features["f"].to_numpy().astype(np.float32)])
        return new


@pytest.fixture
def catalogue():
    """30 users who took 10 of 20 items; the feature of an item is its number."""
    rng = np.random.default_rng(5)
    events = [(u, int(i)) for u in range(30) for i in rng.permutation(20)[:10]]
    users, items = zip(*events, strict=True)
    data = build([f"u{u}" for u in users], [f"i{i:02d}" for i in items], times=range(len(events)))
    ids = data.items.raw(np.arange(data.n_items, dtype=np.int32))
    features = pl.DataFrame({"item_id": ids, "f": [int(name[1:]) for name in ids]})
    return replace(data, item_features=features)


def test_new_items_reach_lists_by_their_features(catalogue):
    models = pipelines() | {"features": Pipeline(model=ByFeature(), fallback=Popular())}
    found = new_items(models, catalogue, share=0.2, metrics=("recall@20", "ndcg@5"))
    rows = {row.model: row for row in found.rows}
    assert found.items == 4 and found.of_catalogue == pytest.approx(0.2)
    assert rows["features"].extended and rows["features"].reachable == 1.0
    assert rows["features"].coverage == 1.0 and rows["features"].figures["recall@20"] == 1.0
    assert not rows["ease"].extended and rows["ease"].reachable == 0.0
    assert rows["popular"].reachable == 1.0  # it has a count for them: none
    assert rows["ease"].figures["ndcg@5"] < rows["features"].figures["ndcg@5"]
    assert json.loads(json.dumps(found.as_dict()))["rows"][3]["model"] == "features"
    assert len(found.__rich__().rows) == 4


def test_an_extended_model_answers_by_the_indices_of_the_catalogue(catalogue):
    """The lists are those of the largest features, whichever items were hidden."""
    for seed in range(4):
        found = new_items(
            {"features": Pipeline(model=ByFeature())}, catalogue, share=0.3, metrics=("recall@20",), seed=seed
        )
        assert found.rows[0].figures["recall@20"] == 1.0


def test_no_new_items_without_a_pipeline(catalogue):
    with pytest.raises(ParameterError, match="at least one"):
        new_items({}, catalogue)
