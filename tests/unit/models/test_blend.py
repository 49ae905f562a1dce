"""Blend: the formula of its module, its parts in a bundle, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from tests.conftest import build

from recsmith.bundle import Bundle
from recsmith.data.weighting import Weighting
from recsmith.errors import ParameterError
from recsmith.experiment.train import as_bundle, make_pipeline
from recsmith.models.blend import Blend
from recsmith.models.linear.ease import EASE
from recsmith.models.neighbors.item_knn import ItemKNN
from recsmith.models.registry import model_class


@pytest.fixture(scope="module")
def log():
    rng = np.random.default_rng(5)
    users, items = np.nonzero(rng.random((80, 40)) < 0.2)
    return build(users, items, times=rng.permutation(len(users)))


def standardized(scores: np.ndarray) -> np.ndarray:
    absent = np.minimum(np.nanmin(scores, axis=1, keepdims=True), 0)
    return np.where(np.isnan(scores), absent, scores) / np.nanstd(scores, axis=1, keepdims=True)


def test_score_is_the_weighted_sum_of_standardized_scores(log):
    parts = [
        {"model": "ease", "parameters": {"reg": 20}, "weight": 2, "weighting": {"half_life": 3}},
        {"model": "item-knn", "parameters": {"neighbors": 4}, "weight": 0.5},
    ]
    blend = Blend(parts=parts).fit(log)
    queries = log.queries()
    ease = EASE(reg=20).fit(log).score(Weighting(half_life=3).queries(queries))
    knn = ItemKNN(neighbors=4).fit(log).score(queries)
    assert np.isnan(knn).any()
    np.testing.assert_allclose(
        blend.score(queries), 2 * standardized(ease) + 0.5 * standardized(knn), rtol=1e-4, atol=1e-5
    )


def test_a_blend_of_one_gives_the_lists_of_that_one(log):
    alone = make_pipeline("ease", reg=7, half_life=4).fit(log, rng=3)
    one = [{"model": "ease", "parameters": {"reg": 7}, "weighting": {"half_life": 4}}]
    blend = make_pipeline("blend", parts=one).fit(log, rng=3)
    np.testing.assert_array_equal(
        blend.recommend(log.queries(), 10).items, alone.recommend(log.queries(), 10).items
    )


def test_parts_weigh_repeated_and_weighted_events_by_themselves():
    data = build(
        ["a", "a", "a", "b", "b", "c", "c"], ["x", "x", "y", "y", "z", "x", "z"],
        weight=np.float32([1, 2, 5, 1, 1, 3, 1]),
    )  # fmt: skip
    one = [{"model": "ease", "parameters": {"reg": 1}, "weighting": {"confidence": "log"}}]
    alone = make_pipeline("ease", reg=1, confidence="log", fallback=None).fit(data)
    blend = make_pipeline("blend", parts=one, fallback=None).fit(data)
    np.testing.assert_allclose(blend.model.models_[0].weights_, alone.model.weights_, rtol=1e-6)
    np.testing.assert_array_equal(
        blend.recommend(data.queries(), 2).items, alone.recommend(data.queries(), 2).items
    )


def test_fitted_models_become_a_blend_that_survives_the_disk(log, tmp_path):
    models = [EASE(reg=30).fit(log), ItemKNN(neighbors=5).fit(log)]
    blend = Blend.of(models, [Weighting(), Weighting(half_life=2)], [0.7, 0.3])
    bundle = as_bundle(make_pipeline("blend", parts=blend.config.parts), log)
    loaded = Bundle.load(bundle.save(tmp_path / "b"), model_class)
    np.testing.assert_array_equal(loaded.pipeline.model.score(log.queries()), blend.score(log.queries()))
    assert loaded.similar([3], 4).height == 4
    assert loaded.explain(3, 5)["contribution"].len() == len(log.queries(np.array([3])).items)


def test_a_repeated_item_explains_once():
    data = build(["a", "a", "a", "b", "b", "c", "c"], ["x", "x", "y", "y", "z", "x", "z"])
    blend = Blend(parts=[{"model": "ease", "parameters": {"reg": 1}}]).fit(data)
    queries = data.queries(np.array([0], dtype=np.int32))
    given = blend.contributions(queries, np.array([0]), np.array([2], dtype=np.int32))
    assert given[0] == 0
    assert given[1] != 0
    np.testing.assert_allclose(given.sum(), blend.score(queries)[0, 2], rtol=1e-5)


def test_a_part_that_says_the_same_of_all_changes_nothing(log):
    with_popular = [{"model": "ease"}, {"model": "popular", "weight": 1e-6}]
    flat = build(np.arange(6), np.arange(6) % 3)  # every item twice: popular says nothing
    parts = [{"model": "popular"}, {"model": "item-knn"}]
    assert np.isnan(Blend(parts=parts[1:]).fit(flat).score(flat.queries())).any()
    assert (Blend(parts=parts[:1]).fit(flat).score(flat.queries()) == 0).all()
    ease = Blend(parts=with_popular[:1]).fit(log).score(log.queries())
    np.testing.assert_allclose(Blend(parts=with_popular).fit(log).score(log.queries()), ease, atol=1e-4)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([], "weight > 0"),
        ([{"model": "ease", "weight": 0}], "weight > 0"),
        ([{"model": "ease", "weight": -1}], "weight"),
        ([{"model": "eas"}], "ease"),
        ([{"model": "ease", "parameters": {"regg": 1}}], "regg"),
        ([{"model": "rating-baseline"}], "ratings only"),
    ],
)
def test_parts_that_cannot_be_mixed_are_named(parts, said):
    with pytest.raises(ParameterError, match=said):
        Blend(parts=parts)


def test_weighting_belongs_to_the_parts():
    with pytest.raises(ParameterError, match="half_life"):
        make_pipeline("blend", half_life=3)


def test_no_similarity_is_said(log):
    with pytest.raises(ParameterError, match="similarity"):
        Blend(parts=[{"model": "popular"}]).fit(log).similar(np.array([0], dtype=np.int32))


def test_parts_that_want_longer_histories_add_nothing():
    data = build([f"u{n % 9}" for n in range(60)], [f"i{n * n % 23}" for n in range(60)])
    parts = [{"model": "ease", "weight": 2.0}, {"model": "item-knn", "weight": 1.0}]
    short = [parts[0], {**parts[1], "weighting": {"min_events": 100}}]
    rows, items = np.arange(3), np.array([1, 2, 3])
    alone, both = (
        Blend(parts=p).fit(data).contributions(data.queries(), rows, items) for p in (parts[:1], short)
    )
    assert np.allclose(alone, both)
