"""Neighbour models against naive loops, scikit-learn and hand-computed cases."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import pairwise
from tests.conftest import build

from recsmith import parallel
from recsmith.errors import DataError, ParameterError
from recsmith.models.baselines.rating_baseline import RatingBaseline
from recsmith.models.neighbors.item_knn import ItemKNN, ItemKNNConfig
from recsmith.models.neighbors.similarity import strongest
from recsmith.models.neighbors.user_knn import UserKNN
from recsmith.types import State


@pytest.fixture(scope="module")
def log():
    """60 users, 25 items, about a third of the pairs rated."""
    rng = np.random.default_rng(3)
    users, items = np.nonzero(rng.random((60, 25)) < 0.35)
    ratings = np.clip(np.rint(3 + rng.normal(size=len(users)) + (items % 3 == users % 3)), 1, 5)
    order = rng.permutation(len(users))
    return build(users[order], items[order], ratings[order])


def strangers(queries):
    return queries.replace(users=np.full(len(queries), -1, dtype=np.int32), as_trained=None)


def dense(matrix):
    return np.asarray(matrix.toarray(), dtype=np.float64)


def likeness_of_ratings(data, name, shrinkage):
    """The item similarities of the module's docstring, by loops over pairs of items."""
    given, values = dense(data.matrix("ones")) > 0, dense(data.matrix("value"))
    if name == "adjusted_cosine":
        values = values - (values.sum(1) / given.sum(1))[:, None]
    if name == "pearson_baseline":
        baseline = RatingBaseline().fit(data)
        values = values - baseline.mean_ - baseline.user_bias(data.queries())[:, None] - baseline.item_bias_
    out = np.zeros((data.n_items, data.n_items))
    for i in range(data.n_items):
        for j in range(data.n_items):
            both = given[:, i] & given[:, j]
            x, y = values[both, i], values[both, j]
            if name == "pearson" and len(x):
                x, y = x - x.mean(), y - y.mean()
            scale = np.sqrt((x**2).sum() * (y**2).sum())
            if scale > 1e-9 and i != j:
                out[i, j] = max(0, (x * y).sum() / scale) * (len(x) - 1) / (len(x) - 1 + shrinkage)
    return out


@pytest.mark.parametrize("name", ["adjusted_cosine", "pearson", "pearson_baseline"])
@pytest.mark.parametrize("shrinkage", [1.0, 20.0])
def test_similarity_of_ratings_is_that_of_naive_loops(log, name, shrinkage):
    model = ItemKNN(similarity=name, shrinkage=shrinkage, neighbors=25).fit(log)
    np.testing.assert_allclose(dense(model.neighbors_), likeness_of_ratings(log, name, shrinkage), atol=2e-6)


def test_cosine_and_jaccard_are_those_of_scikit_learn(log):
    x = dense(log.matrix("ones")).T
    cosine = pairwise.cosine_similarity(x)
    jaccard = 1 - pairwise.pairwise_distances(x > 0, metric="jaccard")
    for name, want in (("cosine", cosine), ("jaccard", jaccard)):
        np.fill_diagonal(want, 0)
        model = ItemKNN(similarity=name, weighting="none", shrinkage=0, neighbors=25).fit(log)
        np.testing.assert_allclose(dense(model.neighbors_), want, atol=1e-6)
        amplified = ItemKNN(
            similarity=name, weighting="none", shrinkage=0, amplification=2, neighbors=25
        ).fit(log)
        np.testing.assert_allclose(dense(amplified.neighbors_), want**2, atol=1e-6)


@pytest.mark.parametrize("weighting", ["tfidf", "bm25"])
def test_weighted_cosine_is_that_of_scikit_learn(log, weighting):
    rng = np.random.default_rng(0)
    weighted_log = build(
        log.user, log.item, log.value, weight=rng.integers(1, 9, len(log)).astype(np.float32)
    )
    x = dense(weighted_log.matrix("weight")).T
    idf = np.log((1 + x.shape[0]) / (1 + (x > 0).sum(0)))
    if weighting == "tfidf":
        y = np.sqrt(x) * idf
    else:
        length = x.sum(1, keepdims=True) / x.sum(1).mean()
        y = x * 2.2 / (x + 1.2 * (0.25 + 0.75 * length)) * idf
    want = pairwise.cosine_similarity(y)
    np.fill_diagonal(want, 0)
    model = ItemKNN(weighting=weighting, shrinkage=0, neighbors=25).fit(weighted_log)
    np.testing.assert_allclose(dense(model.neighbors_), want, atol=1e-6)


def test_a_tiny_list_by_hand():
    """cosine(a, b) = 1 / sqrt(2 * 1) and cosine(a, c) = 1 / 2; weights of events multiply."""
    data = build(["u", "u", "v", "v", "w"], ["a", "b", "a", "c", "c"])
    model = ItemKNN(weighting="none", shrinkage=0).fit(data)
    queries = data.queries(np.array([0])).replace(weights=np.array([0.5, 2.0], dtype=np.float32))
    np.testing.assert_allclose(
        model.score(queries)[0], [2 / np.sqrt(2), 0.5 / np.sqrt(2), 0.5 / 2], rtol=1e-6
    )
    assert np.isnan(model.score(data.queries(np.array([2])))[0, 1])  # nobody took b and c
    one = ItemKNN(weighting="none", shrinkage=0, neighbors=1).fit(data)
    assert dense(one.neighbors_).astype(bool).sum(1).tolist() == [1, 1, 1]


def test_ties_go_to_the_smaller_index():
    data = build(["u"] * 4, list("abcd"))
    model = ItemKNN(similarity="jaccard", neighbors=2, max_neighbors=2).fit(data)
    assert [row.nonzero()[0].tolist() for row in dense(model.neighbors_)] == [[1, 2], [0, 2], [0, 1], [0, 1]]
    assert dense(strongest(model.neighbors_, 1)).argmax(1).tolist() == [1, 0, 0, 0]


def test_a_tiny_rating_by_hand(log):
    """The weighted mean of the k nearest deviations, for every pair, by loops."""
    k, damping = 3, 0.2
    model = ItemKNN(similarity="jaccard", rating_neighbors=k, damping=damping).fit(log)
    likeness, baseline, queries = dense(model.neighbors_), RatingBaseline().fit(log), log.queries()
    bias = baseline.user_bias(queries)
    rows, items = np.divmod(np.arange(60 * 25), 25)
    want = []
    for u, i in zip(rows, items, strict=True):
        events = np.flatnonzero(log.user == u)
        events = sorted(events, key=lambda e: (-likeness[i, log.item[e]], log.item[e]))[:k]
        weight = np.array([likeness[i, log.item[e]] for e in events])
        own = np.array(
            [log.value[e] - baseline.mean_ - bias[u] - baseline.item_bias_[log.item[e]] for e in events]
        )
        base = baseline.mean_ + bias[u] + baseline.item_bias_[i]
        want.append(np.clip(base + (weight * own).sum() / (weight.sum() + damping), 1, 5))
    np.testing.assert_allclose(model.predict(queries, rows, items).mean, want, rtol=1e-5)


def test_user_and_item_neighbours_are_each_others_mirror(log):
    """UserKNN is ItemKNN of the transposed log, but for the baseline's order of steps, so with equal biases."""
    settings = {"similarity": "jaccard", "shrinkage": 1, "amplification": 2, "neighbors": 4}
    settings |= {"reg_user": 1e9, "reg_item": 1e9}
    mirrored = build(log.item, log.user, log.value)
    rows, items = np.divmod(np.arange(60 * 25), 25)
    by_user = UserKNN(**settings).fit(log).predict(log.queries(), rows, items).mean
    by_item = ItemKNN(**settings, rating_neighbors=4, max_neighbors=100).fit(mirrored)
    np.testing.assert_allclose(by_user, by_item.predict(mirrored.queries(), items, rows).mean, rtol=1e-5)


def test_user_neighbours_by_hand(log):
    x = dense(log.matrix("ones"))
    likeness = pairwise.cosine_similarity(x)
    np.fill_diagonal(likeness, 0)
    want = likeness @ x
    model = UserKNN(weighting="none", amplification=1, neighbors=60).fit(log)
    np.testing.assert_allclose(model.score(log.queries()), want, rtol=1e-5)
    own = strangers(log.queries())  # a stranger with the history of a user meets that user at similarity 1
    np.testing.assert_allclose(model.score(own), want + x, rtol=1e-5)


def test_a_user_is_no_neighbour_of_himself(log):
    """His own rating would answer: without it the prediction of a rated item must not come back as given."""
    model = UserKNN(similarity="jaccard", neighbors=1, damping=0).fit(log)
    rows, items = log.user[:50].astype(np.int64), log.item[:50]
    known = model.predict(log.queries(), rows, items).mean
    twin = model.predict(strangers(log.queries()), rows, items).mean
    np.testing.assert_allclose(twin, log.value[:50], rtol=1e-5)
    assert np.abs(known - log.value[:50]).mean() > 0.5


@pytest.mark.parametrize("similarity", ["cosine", "pearson", "pearson_baseline", "adjusted_cosine"])
@pytest.mark.parametrize("kind", [ItemKNN, UserKNN])
def test_threads_do_not_change_a_digit(log, kind, similarity):
    rows, items = log.user.astype(np.int64), log.item
    results = []
    for threads in (1, 2):
        parallel.set_threads(threads)
        try:
            model = kind(similarity=similarity, neighbors=5).fit(log)
            results.append((model.score(log.queries()), model.predict(log.queries(), rows, items).mean))
        finally:
            parallel.set_threads(None)
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])


@pytest.mark.parametrize(
    "similarity", ["cosine", "jaccard", "pearson", "pearson_baseline", "adjusted_cosine"]
)
@pytest.mark.parametrize("kind", [ItemKNN, UserKNN])
def test_state_restores_to_the_bit(log, kind, similarity):
    model = kind(similarity=similarity).fit(log)
    again = kind(similarity=similarity).restore(model.state())
    np.testing.assert_array_equal(model.score(log.queries()), again.score(log.queries()))
    rows = np.arange(25)
    for queries in (log.queries(), strangers(log.queries())):
        np.testing.assert_array_equal(
            model.predict(queries, rows, rows).mean, again.predict(queries, rows, rows).mean
        )


@pytest.mark.parametrize("kind", [ItemKNN, UserKNN])
def test_implicit_logs_give_lists_and_refuse_ratings(kind):
    data = build(["u", "u", "v", "v", "w"], ["a", "b", "a", "c", "c"])
    model = kind().fit(data)
    assert np.isfinite(model.score(data.queries())).any()
    with pytest.raises(DataError, match="predicts none"):
        model.predict(data.queries(), np.array([0]), np.array([0]))
    with pytest.raises(DataError, match="no ratings"):
        kind(similarity="pearson").fit(data)
    assert kind().restore(model.state()).baseline_ is None


def test_repeated_pairs_count_once_and_the_latest_rating_holds():
    users, items = ["u", "u", "v", "v", "u"], ["a", "b", "a", "b", "a"]
    twice = build(users, items, [1, 4, 2, 5, 5], times=[1, 2, 3, 4, 9])
    once = build(users[1:], items[1:], [4, 2, 5, 5], times=[2, 3, 4, 9])
    settings = {"similarity": "pearson"}
    np.testing.assert_array_equal(
        dense(ItemKNN(**settings).fit(twice).neighbors_), dense(ItemKNN(**settings).fit(once).neighbors_)
    )


def test_only_the_cosine_reads_the_weighting(log):
    for weighting in ("none", "bm25"):
        config = ItemKNNConfig(similarity="jaccard", weighting=weighting)
        model = ItemKNN(config).fit(log)
        assert not config.weighs
        np.testing.assert_array_equal(
            dense(model.neighbors_), dense(ItemKNN(similarity="jaccard").fit(log).neighbors_)
        )


def test_parameters_out_of_range_are_named():
    with pytest.raises(ParameterError, match="neighbors"):
        ItemKNN(neighbors=0)
    with pytest.raises(ParameterError, match="similarity"):
        UserKNN(similarity="euclid")


@pytest.mark.parametrize(
    ("model", "bound"),
    [
        (ItemKNN(similarity="jaccard", shrinkage=0, amplification=2), 0.9260),
        (ItemKNN(similarity="pearson_baseline", shrinkage=100, rating_neighbors=40), 0.9285),
        (
            UserKNN(similarity="pearson_baseline", shrinkage=100, amplification=1, neighbors=40, damping=0.3),
            0.9310,
        ),
    ],
    ids=str,
)
def test_accuracy_on_the_first_official_fold(official_fold, model, bound):
    """Surprise's KNNBaseline has 0.9359 by items and 0.9335 by users."""
    train, queries, rows, items, truth = official_fold
    mean = model.fit(train).predict(queries, rows, items).mean
    assert np.sqrt(np.mean((mean - truth) ** 2)) < bound


def test_undamped_baseline_neighbours_are_those_of_surprise(official_fold):
    """Same formula, parameters and biases as its KNNBaseline: 0.9359 by items, 0.9335 by users (rounded)."""
    train, queries, rows, items, truth = official_fold
    recipe = {
        "similarity": "pearson_baseline",
        "shrinkage": 100,
        "amplification": 1,
        "damping": 0,
        "reg_user": 15,
        "reg_item": 10,
    }
    by_item = ItemKNN(**recipe, rating_neighbors=40, max_neighbors=10_000)
    for model, known in ((by_item, 0.9359), (UserKNN(**recipe, neighbors=40), 0.9335)):
        mean = model.fit(train).predict(queries, rows, items).mean
        assert np.sqrt(np.mean((mean - truth) ** 2)) == pytest.approx(known, abs=6e-5)


def test_a_state_that_points_outside_is_refused(log):
    """Compiled loops trust the indices: a forged bundle must not get so far."""
    state = ItemKNN().fit(log).state()
    forged = {**state.arrays, "votes_.indices": state.arrays["votes_.indices"] + 1000}
    with pytest.raises(ValueError, match=r"ind(ex|ices)"):
        ItemKNN().restore(State(forged, state.values, state.parts))


@pytest.mark.parametrize("backward", [0.0, 0.4, 1.0])
def test_order_and_closeness_are_those_of_naive_loops(backward):
    rng = np.random.default_rng(8)
    users, items = np.nonzero(rng.random((50, 20)) < 0.4)
    data = build(users, items, times=rng.permutation(len(users)))
    half_life, shrinkage, k = 2.5, 3.0, data.n_items
    model = ItemKNN(
        neighbors=k, weighting="none", shrinkage=shrinkage, pair_half_life=half_life, backward=backward
    ).fit(data)
    common = np.zeros((k, k))
    for u in range(data.n_users):
        history = data.item[data.offsets[u] : data.offsets[u + 1]]
        for a, target in enumerate(history):
            for b, voter in enumerate(history):
                common[target, voter] += 0.5 ** (abs(a - b) / half_life) * (1 if b <= a else backward)
    counts = data.item_counts()
    wanted = common / np.sqrt(np.outer(counts, counts)) * common / (common + shrinkage)
    np.fill_diagonal(wanted, 0)
    np.testing.assert_allclose(dense(model.neighbors_), wanted, rtol=1e-5)
    np.testing.assert_allclose(dense(model.votes_), wanted.T, rtol=1e-5)
