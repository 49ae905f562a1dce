"""The one path of a recommendation, with models whose scores are known."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from tests.conftest import build

from recsmith import parallel
from recsmith.config import Config
from recsmith.data.weighting import Weighting
from recsmith.errors import DataError, NotFittedError, ParameterError
from recsmith.models.factorization.ials import ImplicitALS
from recsmith.models.linear.ease import EASE
from recsmith.models.registry import create
from recsmith.protocols import Evidence
from recsmith.recommend import Pipeline
from recsmith.types import Cost, Queries

N_ITEMS = 6


class Fixed:
    """Gives every request with a history the same scores; without one, NaN."""

    needs = Evidence.HISTORY

    def __init__(self, scores):
        self.config = Config()
        self.scores = np.array(scores, dtype=np.float32)

    def fit(self, data, *, rng=None, monitor=None):
        return self

    def cost(self, shape):
        return Cost()

    def score(self, queries, items=None):
        scores = np.tile(self.scores if items is None else self.scores[items], (len(queries), 1))
        scores[queries.lengths == 0] = np.nan
        return scores


class Always(Fixed):
    """The same, for everybody."""

    needs = Evidence.NOTHING

    def score(self, queries, items=None):
        return np.tile(self.scores if items is None else self.scores[items], (len(queries), 1))


class Embedded(Fixed):
    """``Fixed`` as a product of vectors of length 1."""

    def embed_queries(self, queries):
        return np.where(queries.lengths == 0, np.nan, 1).astype(np.float32)[:, None]

    def embed_items(self):
        return self.scores[:, None]


def ask(*histories) -> Queries:
    return Queries(
        users=np.full(len(histories), -1, dtype=np.int32),
        offsets=np.concatenate([[0], np.cumsum([len(h) for h in histories], dtype=np.int64)]),
        items=np.array([i for h in histories for i in h], dtype=np.int32),
    )


def pipeline(scores, fallback=None, kind=Fixed) -> Pipeline:
    return Pipeline(
        model=kind(scores), fallback=None if fallback is None else Always(fallback), n_items=len(scores)
    )


BEST_FIRST = [6, 5, 4, 3, 2, 1]


@pytest.fixture(params=[Fixed, Embedded], ids=["score", "embed"])
def ranker(request) -> Pipeline:
    """Items 0 .. 5, best first, by either path."""
    return pipeline(BEST_FIRST, kind=request.param)


def test_seen_items_are_left_out(ranker):
    lists = ranker.recommend(ask([0], [2, 0, 2], [5]), 3)
    assert lists.items.tolist() == [[1, 2, 3], [1, 3, 4], [0, 1, 2]]
    assert lists.scores.tolist() == [[5, 4, 3], [5, 3, 2], [6, 5, 4]]
    assert (lists.sources == 0).all()
    assert lists.available.tolist() == [5, 4, 5]
    assert lists.items.dtype == np.int32
    assert lists.scores.dtype == np.float32


def test_seen_items_may_be_wanted(ranker):
    lists = ranker.recommend(ask([0, 1]), 2, filter_seen=False)
    assert lists.items.tolist() == [[0, 1]]
    assert lists.available.tolist() == [6]


def test_include_maps_back_in_any_order_and_form(ranker):
    for include in (np.array([5, 1, 3]), np.array([3, 5, 1, 1], dtype=np.int16), [1, 3, 5]):
        lists = ranker.recommend(ask([1], [0]), 3, include=include)
        assert lists.items.tolist() == [[3, 5, -1], [1, 3, 5]]
        assert lists.available.tolist() == [2, 3]


def test_an_empty_include_leaves_nothing(ranker):
    lists = ranker.recommend(ask([1], [0, 2]), 2, include=np.array([], dtype=np.int32))
    assert (lists.items == -1).all()
    assert lists.available.tolist() == [0, 0]
    assert lists.reason(0) == "0 of 2: nothing else is left once seen and excluded items are removed."


def test_exclude_for_all(ranker):
    for exclude in (np.array([1, 1, 0]), [0, 1], np.array([0, 1, -1, 99]), np.array([1, 0], dtype=np.uint64)):
        lists = ranker.recommend(ask([2], [1]), 2, exclude=exclude)
        assert lists.items.tolist() == [[3, 4], [2, 3]]
        assert lists.available.tolist() == [3, 4]
    assert ranker.recommend(ask([2]), 1, exclude=[]).items.tolist() == [[0]]
    assert (ranker.recommend(ask([2]), 1, exclude=np.arange(6)).items == -1).all()


def test_exclude_for_each(ranker):
    exclude = (np.array([0, 2, 2, 3]), np.array([0, 1, 2]))
    lists = ranker.recommend(ask([2], [0], [0]), 2, exclude_each=exclude)
    assert lists.items.tolist() == [[3, 4], [1, 2], [1, 3]]
    assert lists.available.tolist() == [3, 5, 4]


def test_include_and_exclude_together(ranker):
    lists = ranker.recommend(ask([2], [4]), 3, include=[0, 2, 4, 5], exclude=np.array([5, 3]))
    assert lists.items.tolist() == [[0, 4, -1], [0, 2, -1]]
    assert lists.available.tolist() == [2, 2]
    ragged = (np.array([0, 1, 2]), np.array([5, 0]))
    lists = ranker.recommend(ask([2], [4]), 3, include=[0, 2, 4, 5], exclude_each=ragged)
    assert lists.items.tolist() == [[0, 4, -1], [2, 5, -1]]
    both = ranker.recommend(ask([2], [4]), 3, exclude=np.array([3]), exclude_each=ragged)
    assert both.items.tolist() == [[0, 1, 4], [1, 2, 5]]
    assert both.available.tolist() == [3, 3]


def test_more_than_there_is_and_why(ranker):
    lists = ranker.recommend(ask([0, 1, 2], [0]), 5)
    assert lists.items[0].tolist() == [3, 4, 5, -1, -1]
    assert np.isnan(lists.scores[0, 3:]).all()
    assert lists.sources[0].tolist() == [0, 0, 0, -1, -1]
    assert lists.reason(0) == "3 of 5: nothing else is left once seen and excluded items are removed."
    assert lists.reason(1) is None


def test_without_evidence_and_fallback_the_list_is_empty_and_says_so(ranker):
    lists = ranker.recommend(ask([], [0]), 2)
    assert lists.items.tolist() == [[-1, -1], [1, 2]]
    assert lists.reason(0) == "0 of 2: the model has no evidence for more, and no fallback gave any."


@pytest.mark.parametrize("kind", [Fixed, Embedded])
def test_fallback_answers_where_the_model_cannot(kind):
    lists = pipeline(BEST_FIRST, [1, 2, 3, 4, 5, 6], kind).recommend(ask([], [0], []), 2)
    assert lists.items.tolist() == [[5, 4], [1, 2], [5, 4]]
    assert lists.sources.tolist() == [[1, 1], [0, 0], [1, 1]]
    assert lists.scores[0].tolist() == [6, 5]


@pytest.mark.parametrize("name", ["ease", "item-knn", "ials", "user-knn", "bpr"])
def test_a_short_history_gets_the_fallback_without_what_it_holds(name):
    data = build([f"u{n % 9}" for n in range(60)], [f"i{n * n % 23}" for n in range(60)])

    def lists(model, **weighting):
        pipeline = Pipeline(model=create(model), fallback=create("popular"), weighting=Weighting(**weighting))
        return pipeline.fit(data).recommend(data.queries(), 4)

    short = lists(name, min_events=100)
    assert (short.sources[short.items >= 0] == 1).all()
    assert np.array_equal(short.items, lists("popular").items)
    assert np.array_equal(lists(name, min_events=6).items, lists(name).items)  # nobody has fewer


def test_fallback_fills_a_list_without_repeating_it():
    nan = np.nan
    mixed = pipeline([nan, 1, nan, 9, nan, nan], [1, 2, 3, 4, 5, 6])
    lists = mixed.recommend(ask([5], [3]), 5)
    assert lists.items.tolist() == [[3, 1, 4, 2, 0], [1, 5, 4, 2, 0]]
    assert lists.sources.tolist() == [[0, 0, 1, 1, 1], [0, 1, 1, 1, 1]]
    lists = mixed.recommend(ask([5]), 4, include=[0, 1, 2, 5], exclude_each=(np.array([0, 1]), np.array([2])))
    assert lists.items.tolist() == [[1, 0, -1, -1]]
    assert lists.sources.tolist() == [[0, 1, -1, -1]]
    assert lists.reason(0) == "2 of 4: nothing else is left once seen and excluded items are removed."


def test_equal_scores_go_to_the_smaller_item(ranker):
    ranker.model.scores[:] = 1
    assert ranker.recommend(ask([0]), 3).items.tolist() == [[1, 2, 3]]
    assert ranker.recommend(ask([0]), 3, include=[5, 4, 0, 2]).items.tolist() == [[2, 4, 5]]


def test_no_request():
    lists = pipeline(BEST_FIRST).recommend(ask(), 3)
    assert lists.items.shape == (0, 3)


@pytest.mark.parametrize("k", [0, -1, 2.5, "3", None])
def test_k_must_be_a_whole_number(ranker, k):
    with pytest.raises(ParameterError, match="'k' parameter of recommend must be a whole number >= 1"):
        ranker.recommend(ask([0]), k)


@pytest.mark.parametrize("history", [[6], [-1], [0, 99]])
def test_a_history_out_of_range_is_refused(ranker, history):
    with pytest.raises(ParameterError, match=r"queries.items.*0 .. 5"):
        ranker.recommend(ask([0], history), 2)


@pytest.mark.parametrize("include", [[6], [-1, 2], np.array([True, False]), [1.5], [[1, 2]]])
def test_an_include_that_is_no_list_of_items_is_refused(ranker, include):
    with pytest.raises(ParameterError, match="'include' parameter of recommend"):
        ranker.recommend(ask([0]), 2, include=np.array(include))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("exclude", np.array([True, False])),
        ("exclude_each", (np.array([0, 1]), np.array([1]))),
        ("exclude_each", (np.array([0, 1, 3]), np.array([1]))),
        ("exclude_each", (np.array([0, 2, 1]), np.array([1]))),
        ("exclude_each", (3, 5)),
    ],
)
def test_an_exclude_that_does_not_fit_is_refused(ranker, name, value):
    with pytest.raises(ParameterError, match=f"'{name}' parameter of recommend"):
        ranker.recommend(ask([0], [1]), 2, **{name: value})


def test_unfitted_says_so():
    with pytest.raises(NotFittedError, match="Call fit"):
        Pipeline(model=Fixed(BEST_FIRST)).recommend(ask([0]), 2)


def test_a_rating_model_orders_nothing(checkerboard):
    fitted = Pipeline(model=create("rating-baseline")).fit(checkerboard)
    with pytest.raises(ParameterError, match="predicts ratings and orders no items"):
        fitted.recommend(checkerboard.queries(), 2)


def test_an_empty_log_is_refused(checkerboard):
    with pytest.raises(DataError, match="checkerboard holds no event"):
        Pipeline(model=EASE()).fit(checkerboard.take(np.zeros(len(checkerboard), dtype=np.bool_)))


def test_product_and_score_path_give_the_same_lists():
    """The same ALS with its vectors hidden is asked by score; in a random log no two scores are as good as equal."""
    rng = np.random.default_rng(0)
    data = build(rng.integers(0, 40, 300), rng.integers(0, 30, 300))

    class Scored(Fixed):
        def __init__(self, model):
            self.config, self.inner = model.config, model

        def score(self, queries, items=None):
            return self.inner.score(queries, items)

    product = Pipeline(model=ImplicitALS(embedding_size=4)).fit(data)
    score = replace(product, model=Scored(product.model))
    for choice in ({}, {"include": [1, 2, 3, 7]}, {"exclude": np.array([0, 5])}, {"filter_seen": False}):
        a = product.recommend(data.queries(), 4, **choice)
        b = score.recommend(data.queries(), 4, **choice)
        np.testing.assert_array_equal(a.items, b.items)
        np.testing.assert_allclose(a.scores, b.scores, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("model", ["ease", "ials"])
def test_memory_threads_and_blocks_do_not_change_the_lists(model, monkeypatch):
    rng = np.random.default_rng(0)
    data = build(rng.integers(700, size=6000), rng.integers(2100, size=6000))
    fitted = Pipeline(model=create(model), fallback=create("popular")).fit(data)
    queries = data.queries(np.arange(-1, data.n_users, dtype=np.int32))
    whole = fitted.recommend(queries, 7)
    small = replace(fitted, memory_mb=1).recommend(queries, 7)
    np.testing.assert_array_equal(whole.items, small.items)
    monkeypatch.setattr("recsmith.recommend._QUERY_BLOCK", 64)
    np.testing.assert_array_equal(whole.items, fitted.recommend(queries, 7).items)
    one = np.concatenate(
        [fitted.recommend(queries.take(slice(r, r + 1)), 7).items for r in range(0, 700, 50)]
    )
    np.testing.assert_array_equal(whole.items[0:700:50], one)


@pytest.mark.parametrize("model", ["ease", "ials"])
def test_several_threads_of_a_service_may_ask_at_once(model, checkerboard):
    fitted = Pipeline(model=create(model), fallback=create("popular")).fit(checkerboard)
    queries = checkerboard.queries(as_trained=False)
    wanted, found = fitted.recommend(queries, 4), []
    threads = [threading.Thread(target=lambda: found.append(fitted.recommend(queries, 4))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    for lists in found:
        np.testing.assert_array_equal(lists.items, wanted.items)
        np.testing.assert_array_equal(lists.scores, wanted.scores)


def test_memory_is_bounded_by_blocks_of_scores():
    rows = []

    class Watching(Always):
        def score(self, queries, items=None):
            rows.append(len(queries))
            return super().score(queries, items)

    n_items = 10_000
    fitted = Pipeline(model=Watching(np.zeros(n_items)), memory_mb=4, n_items=n_items)
    fitted.recommend(ask(*[[0]] * 100), 3)
    assert sum(rows) == 100
    assert max(rows) * n_items * 4 * 2 * 8 <= 4 * 2**20


def test_no_memory_is_refused(ranker):
    with pytest.raises(ParameterError, match=r"'memory_mb' parameter of Pipeline must be >= 1. Got 0"):
        replace(ranker, memory_mb=0).recommend(ask([0]), 2)


def test_progress_is_told_in_order(monkeypatch):
    monkeypatch.setattr("recsmith.recommend._QUERY_BLOCK", 8)
    told, lock = [], threading.Lock()

    def progress(done, total):
        assert lock.acquire(blocking=False)  # never two at once
        told.append((done, total))
        lock.release()

    parallel.set_threads(2)
    try:
        pipeline(BEST_FIRST, kind=Embedded).recommend(ask(*[[0]] * 100), 2, progress=progress)
    finally:
        parallel.set_threads(None)
    counts = [done for done, _ in told]
    assert counts == sorted(counts)
    assert len(told) == 13
    assert told[-1] == (100, 100)


def test_the_weighted_history_is_what_the_model_sees():
    """An item at the end of the history counts more with a half-life of one event."""

    class Weights(Fixed):
        def score(self, queries, items=None):
            out = np.zeros((len(queries), N_ITEMS), dtype=np.float32)
            np.add.at(out, (queries.rows, queries.items), queries.event_weights())
            return out

    fitted = Pipeline(model=Weights(BEST_FIRST), weighting=Weighting(half_life=1.0), n_items=N_ITEMS)
    lists = fitted.recommend(ask([3, 1, 2]), 3, filter_seen=False)
    assert lists.items.tolist() == [[2, 1, 3]]
    assert lists.scores.tolist() == [[1, 0.5, 0.25]]


def test_scores_of_the_model_are_not_overwritten():
    fitted = pipeline(BEST_FIRST, kind=Embedded)
    fitted.recommend(ask([0], [1]), 3, exclude=np.array([4]))
    assert fitted.model.scores.tolist() == BEST_FIRST
