"""What every registered model keeps, tested the moment its line is in the registry."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import polars as pl
import pytest

from recsmith import parallel
from recsmith.bundle import Bundle
from recsmith.data.ids import IdMap
from recsmith.errors import NotFittedError, ParameterError
from recsmith.experiment.train import as_bundle, make_pipeline
from recsmith.models.registry import MODELS, create, model_class, name_of
from recsmith.protocols import (
    Embedder,
    Evidence,
    Explainer,
    ItemSimilarity,
    Model,
    RatingPredictor,
    Recommender,
    Stateful,
)
from recsmith.recommend import Pipeline
from recsmith.types import Cost, Queries, Shape

RANKING = [name for name in MODELS if hasattr(model_class(name), "score")]
RATING = [name for name in MODELS if hasattr(model_class(name), "predict")]
PERSONAL = [name for name in RANKING if model_class(name).needs is Evidence.HISTORY]
EXPLAINING = [name for name in MODELS if hasattr(model_class(name), "contributions")]
EMBEDDING = [name for name in MODELS if hasattr(model_class(name), "embed_queries")]
SIMILAR = [name for name in MODELS if hasattr(model_class(name), "similar")]
#: They learn ratings, and an unseen item's rating says little of its colour in the checkerboard.
RATINGS_FIRST = {"biased-mf", "svdpp", "timesvd", "bayesian-mf", "neumf-rating", "gcmc"}
#: A known gap, to be closed: they give a number where nothing is known of an item.
SCORE_ITEMS_WITHOUT_EVENTS = RATINGS_FIRST | {
    "gru4rec", "sasrec", "bert4rec", "mult-vae", "recvae", "gmf", "mlp", "neumf", "two-tower", "shared-bottom", "mmoe",
}  # fmt: skip


def unknown(queries: Queries) -> Queries:
    """The same histories, asked by users that the model does not know."""
    return queries.replace(users=np.full(len(queries), -1, dtype=np.int32), as_trained=None)


def empty(n: int = 1) -> Queries:
    return Queries(
        users=np.full(n, -1, dtype=np.int32),
        offsets=np.zeros(n + 1, dtype=np.int64),
        items=np.zeros(0, dtype=np.int32),
        values=np.zeros(0, dtype=np.float32),
    )


def columns(dataset) -> dict[str, np.ndarray]:
    return {
        f.name: v.copy() for f in fields(dataset) if isinstance(v := getattr(dataset, f.name), np.ndarray)
    }


@pytest.mark.parametrize("name", MODELS)
def test_line_resolves(name):
    model = create(name)
    assert isinstance(model, Model)
    assert isinstance(model, Stateful)
    assert isinstance(model, Recommender | RatingPredictor)
    assert name_of(model) == name
    assert isinstance(model.cost(Shape(1000, 500, 20_000)), Cost)


@pytest.mark.parametrize("name", MODELS)
def test_unknown_parameter_is_named(name):
    with pytest.raises(ParameterError, match="regg"):
        create(name, regg=1)


@pytest.mark.parametrize("name", MODELS)
def test_unfitted_says_so(name, checkerboard):
    model = create(name)
    with pytest.raises(NotFittedError):
        model.state()
    if name in RANKING:
        with pytest.raises(NotFittedError):
            model.score(checkerboard.queries())


@pytest.mark.parametrize("name", sorted(set(PERSONAL) - RATINGS_FIRST))
def test_checkerboard_is_solved(name, checkerboard):
    fitted = Pipeline(model=create(name)).fit(checkerboard)
    for queries in (checkerboard.queries(), unknown(checkerboard.queries())):
        lists = fitted.recommend(queries, 2)
        colour = np.array([int(i[1:]) % 2 for i in checkerboard.items.ids])
        own = np.array([int(u[1:]) % 2 for u in checkerboard.users.ids])
        assert (colour[lists.items] == own[:, None]).mean() > 0.8  # chance gives a half


@pytest.mark.parametrize("name", MODELS)
def test_fit_leaves_its_input_alone_and_refit_forgets(name, checkerboard):
    before = columns(checkerboard)
    model = create(name).fit(checkerboard, rng=3)
    first = model.state()
    half = checkerboard.take(np.arange(len(checkerboard) // 2))
    again = model.fit(half, rng=3).fit(checkerboard, rng=3).state()
    for key, array in first.arrays.items():
        np.testing.assert_array_equal(array, again.arrays[key])
    for key, array in before.items():
        np.testing.assert_array_equal(array, getattr(checkerboard, key))


@pytest.mark.parametrize("name", [name for name in MODELS if MODELS[name].extra == "torch"])
def test_seed_gives_the_same_digits(name, ml_like):
    first, second, other = (create(name).fit(ml_like, rng=seed).state() for seed in (5, 5, 6))
    assert first.values == second.values
    for key, array in first.arrays.items():
        np.testing.assert_array_equal(array, second.arrays[key])
    assert any((array != other.arrays[key]).any() for key, array in first.arrays.items())


@pytest.mark.parametrize("name", [name for name in MODELS if MODELS[name].extra != "torch"])
def test_threads_and_seed_do_not_change_a_digit(name, ml_like):
    states = []
    for threads in (1, 2):
        parallel.set_threads(threads)
        try:
            states.append(create(name).fit(ml_like, rng=5).state())
        finally:
            parallel.set_threads(None)
    assert states[0].values == states[1].values
    for key, array in states[0].arrays.items():
        np.testing.assert_array_equal(array, states[1].arrays[key])


@pytest.mark.parametrize("name", MODELS)
def test_short_histories_may_be_left_to_the_fallback(name):
    assert make_pipeline(name, min_events=3).weighting.min_events == 3


@pytest.mark.parametrize("name", RANKING)
def test_lists_are_the_same_for_any_number_of_threads(name, ml_like):
    pipeline = Pipeline(model=create(name), fallback=create("popular")).fit(ml_like)
    lists = []
    for threads in (1, 2):
        parallel.set_threads(threads)
        try:
            lists.append(pipeline.recommend(ml_like.queries(), 5))
        finally:
            parallel.set_threads(None)
    np.testing.assert_array_equal(lists[0].items, lists[1].items)
    np.testing.assert_array_equal(lists[0].scores, lists[1].scores)


@pytest.mark.parametrize("name", RANKING)
def test_shape_dtype_and_no_side_effect(name, ml_like):
    model = create(name).fit(ml_like)
    queries = ml_like.queries(np.arange(7, dtype=np.int32))
    before = {f: v.copy() for f in ("items", "offsets", "users") if (v := getattr(queries, f)) is not None}
    scores = model.score(queries)
    assert scores.shape == (7, ml_like.n_items)
    assert scores.dtype == np.float32
    scores[:] = -1  # the caller owns them
    np.testing.assert_array_equal(model.score(queries), model.score(queries))
    assert not (model.score(queries) == -1).all()
    for field, value in before.items():
        np.testing.assert_array_equal(value, getattr(queries, field))


@pytest.mark.parametrize("name", RANKING)
def test_subset_equals_full_and_one_equals_many(name, ml_like):
    model = create(name).fit(ml_like)
    queries = ml_like.queries(np.arange(9, dtype=np.int32))
    full = model.score(queries)
    subset = np.array([5, 0, 17, 3], dtype=np.int32)
    np.testing.assert_allclose(model.score(queries, subset), full[:, subset], rtol=1e-5, atol=1e-6)
    singles = np.concatenate([model.score(queries.take(slice(r, r + 1))) for r in range(9)])
    np.testing.assert_allclose(singles, full, rtol=1e-5, atol=1e-6)
    assert model.score(queries.take(slice(0, 0))).shape == (0, ml_like.n_items)


@pytest.mark.parametrize("name", PERSONAL)
def test_without_history_there_is_no_opinion(name, ml_like):
    scores = create(name).fit(ml_like).score(empty(2))
    assert np.isnan(scores).all()


@pytest.mark.parametrize("name", sorted(set(PERSONAL) - SCORE_ITEMS_WITHOUT_EVENTS))
def test_an_item_without_an_event_has_no_score(name, ml_like):
    catalogue = replace(ml_like, items=IdMap.of(pl.Series([*ml_like.items.ids, 1001, 1002]), kind="item"))
    new = catalogue.items.index([1001, 1002])
    model = create(name).fit(catalogue)
    for queries in (catalogue.queries(), unknown(catalogue.queries())):
        assert np.isnan(model.score(queries)[:, new]).all()
        assert np.isnan(model.score(queries, new)).all()
    lists = (
        Pipeline(model=create(name), fallback=create("popular"))
        .fit(catalogue)
        .recommend(catalogue.queries(), 60)
    )
    assert (lists.sources[np.isin(lists.items, new)] == 1).all()  # the fallback's, if they are listed at all


@pytest.mark.parametrize("name", PERSONAL)
def test_a_history_is_enough(name, ml_like):
    """A user that the model never saw gets a personal list from the history in the query."""
    pipeline = Pipeline(model=create(name)).fit(ml_like)
    some = ml_like.queries(np.arange(20, dtype=np.int32))
    stranger = pipeline.recommend(unknown(some), 5)
    assert (stranger.items >= 0).all()
    known = pipeline.recommend(some, 5)
    overlap = np.mean([len(set(a) & set(b)) for a, b in zip(known.items, stranger.items, strict=True)]) / 5
    assert overlap > 0.5
    assert len({tuple(row) for row in stranger.items}) > 1


@pytest.mark.parametrize("name", RANKING)
def test_nobody_gets_an_empty_list(name, ml_like):
    fitted = Pipeline(model=create(name), fallback=create("popular")).fit(ml_like)
    lists = fitted.recommend(empty(3), 10)
    assert (lists.items >= 0).all()
    if name in PERSONAL:
        assert (lists.sources == 1).all()


@pytest.mark.parametrize("name", MODELS)
def test_bundle_round_trip_to_the_bit(name, ml_like, tmp_path):
    pipeline = Pipeline(model=create(name), fallback=create("popular"))
    bundle = as_bundle(pipeline, ml_like, seed=1)
    loaded = Bundle.load(bundle.save(tmp_path / "b"), model_class)
    was, now = bundle.pipeline.model.state(), loaded.pipeline.model.state()
    assert was.values == now.values
    assert set(was.arrays) == set(now.arrays)
    for key, array in was.arrays.items():
        assert now.arrays[key].dtype == array.dtype
        np.testing.assert_array_equal(array, now.arrays[key])
    if name in RANKING:
        assert bundle.recommend(k=5).equals(loaded.recommend(k=5))
    if name in RATING:
        users, items = ["1", "2", "nobody"], ["3", "nothing", "4"]
        assert bundle.predict(users, items).equals(loaded.predict(users, items))


@pytest.mark.parametrize("name", RATING)
def test_ratings_stay_on_the_scale_and_unknowns_are_answered(name, ml_like):
    model = create(name).fit(ml_like)
    queries = ml_like.queries()
    rows = np.array([0, 1, 2, 3, 3], dtype=np.int64)
    items = np.array([0, -1, 5, 7, -1], dtype=np.int32)
    mean = model.predict(queries, rows, items).mean
    assert mean.shape == (5,)
    assert np.isfinite(mean).all()
    assert (mean >= 1).all()
    assert (mean <= 5).all()
    assert np.isfinite(model.predict(empty(), np.zeros(2, dtype=np.int64), np.array([4, -1])).mean).all()
    assert len(model.predict(queries, rows[:0], items[:0]).mean) == 0


@pytest.mark.parametrize("name", sorted(RATINGS_FIRST))
def test_learned_high_ratings_are_predicted_above_low_ones(name, ml_like):
    """Of the events learned: a model that learns nothing has a difference of 0."""
    model = create(name).fit(ml_like)
    for queries in (ml_like.queries(), unknown(ml_like.queries())):
        rows = np.repeat(np.arange(len(queries)), np.diff(queries.offsets))
        mean = model.predict(queries, rows, queries.items).mean
        assert mean[queries.values >= 4].mean() - mean[queries.values <= 2].mean() > 0.1


@pytest.mark.parametrize("name", RATING)
def test_one_prediction_equals_many(name, ml_like):
    model = create(name).fit(ml_like)
    for queries in (ml_like.queries(), unknown(ml_like.queries())):
        rows, items = np.arange(12, dtype=np.int64), np.arange(12, dtype=np.int32)
        many = model.predict(queries, rows, items).mean
        one = [
            model.predict(queries.take(slice(r, r + 1)), rows[:1], items[r : r + 1]).mean[0]
            for r in range(12)
        ]
        np.testing.assert_allclose(one, many, rtol=1e-5)


@pytest.mark.parametrize("name", RATING)
def test_equal_ratings_do_not_break_a_rating_model(name, checkerboard):
    flat = replace(checkerboard, value=np.full(len(checkerboard), 3, dtype=np.float32))
    mean = create(name).fit(flat).predict(flat.queries(), np.arange(5), np.arange(5, dtype=np.int32)).mean
    np.testing.assert_allclose(mean, 3, atol=0.1)  # factors start at random


@pytest.mark.parametrize("name", EXPLAINING)
def test_contributions_add_up_to_the_score(name, ml_like):
    model = create(name).fit(ml_like)
    assert isinstance(model, Explainer)
    queries = unknown(ml_like.queries(np.arange(6, dtype=np.int32)))
    scores = model.score(queries)
    rows = np.arange(6, dtype=np.int64)
    items = np.nanargmax(scores, axis=1).astype(np.int32)
    parts = model.contributions(queries, rows, items)
    sums = np.add.reduceat(parts, queries.offsets[:-1])
    np.testing.assert_allclose(sums, scores[rows, items], rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("name", SIMILAR)
def test_similar_finds_the_same_colour(name, checkerboard):
    model = create(name).fit(checkerboard)
    assert isinstance(model, ItemSimilarity)
    asked = np.arange(checkerboard.n_items, dtype=np.int32)
    scores = np.array(model.similar(asked))
    assert scores.shape == (checkerboard.n_items, checkerboard.n_items)
    np.fill_diagonal(scores, -np.inf)
    best = np.nan_to_num(scores, nan=-np.inf).argmax(axis=1)
    colour = np.array([int(i[1:]) % 2 for i in checkerboard.items.ids])
    if name != "biased-mf":
        assert (colour[best] == colour).all()


@pytest.mark.parametrize("name", EMBEDDING)
def test_fused_product_gives_what_score_gives(name, ml_like):
    model = create(name).fit(ml_like)
    assert isinstance(model, Embedder)
    queries = unknown(ml_like.queries(np.arange(30, dtype=np.int32)))
    product = model.embed_queries(queries) @ model.embed_items().T
    np.testing.assert_allclose(product, model.score(queries), rtol=1e-4, atol=1e-5)
