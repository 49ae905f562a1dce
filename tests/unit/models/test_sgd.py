"""BiasedMF: recovers what it should, folds in what it would have learned, and never races."""

from __future__ import annotations

import numpy as np
import pytest
from tests.conftest import build

from recsmith import parallel
from recsmith.errors import DataError
from recsmith.models.factorization import strata
from recsmith.models.factorization.sgd import BiasedMF
from recsmith.types import Queries


@pytest.fixture(scope="module")
def low_rank():
    """(train, queries, rows, items, ratings): rank 2 plus biases plus little noise, a tenth held out."""
    rng = np.random.default_rng(5)
    n, m = 200, 120
    table = 3 + rng.normal(0, 0.4, (n, 1)) + rng.normal(0, 0.4, (1, m))
    table = table + 0.6 * rng.normal(size=(n, 2)) @ rng.normal(size=(2, m)) + rng.normal(0, 0.05, (n, m))
    users, items = np.nonzero(rng.random((n, m)) < 0.6)
    train = rng.random(len(users)) < 0.9
    log = build(users[train], items[train], table[users[train], items[train]])
    held = users[~train], items[~train]
    return log, log.queries(), held[0], held[1].astype(np.int32), np.clip(table[held], 1, 5)


def rmse(model, low_rank, queries=None):
    _, own, rows, items, truth = low_rank
    return np.sqrt(
        np.mean((model.predict(own if queries is None else queries, rows, items).mean - truth) ** 2)
    )


def strangers(queries):
    return queries.replace(users=np.full(len(queries), -1, dtype=np.int32), as_trained=None)


SETTINGS = {
    "embedding_size": 4,
    "epochs": 100,
    "reg": 0.005,
    "reg_bias": 0.005,
    "init_std": 0.1,
    "learning_rate": 0.02,
}


def test_low_rank_ratings_are_recovered(low_rank):
    model = BiasedMF(**SETTINGS).fit(low_rank[0])
    spread = low_rank[4].std()
    assert rmse(model, low_rank) < 0.15 * spread
    assert rmse(model, low_rank, strangers(low_rank[1])) < 0.15 * spread  # fold-in finds the same users


def test_fold_in_is_the_minimum_with_items_fixed(low_rank):
    """The gradient of the documented loss in the user's vector and bias is 0."""
    data = low_rank[0]
    model = BiasedMF(**SETTINGS).fit(data)
    query = strangers(data.queries(np.array([7])))
    x = model.embed_queries(query)[0].astype(np.float64)
    p, bias = x[:4], x[5] - model.mean_
    q = model.item_factors_[query.items].astype(np.float64)
    error = query.values - model.mean_ - model.item_bias_[query.items] - bias - q @ p
    n, reg = len(error), SETTINGS["reg"]
    np.testing.assert_allclose(q.T @ error, n * reg * p, atol=1e-4)
    assert error.sum() == pytest.approx(n * reg * bias, abs=1e-4)


def test_threads_do_not_change_a_digit(low_rank):
    states = []
    for threads in (1, 2, 3):
        parallel.set_threads(threads)
        try:
            states.append(BiasedMF(epochs=3).fit(low_rank[0], rng=4).state())
        finally:
            parallel.set_threads(None)
    for other in states[1:]:
        for name, array in states[0].arrays.items():
            np.testing.assert_array_equal(array, other.arrays[name])


def test_strata_of_a_round_share_neither_user_nor_item(low_rank):
    data, grid = low_rank[0], 4
    user_part, user_place = strata.dealt(np.diff(data.offsets), grid)
    item_part, item_place = strata.dealt(data.item_counts(), grid)
    for part, place in ((user_part, user_place), (item_part, item_place)):
        assert np.array_equal(np.sort(place), np.arange(len(place)))
        assert (np.diff(part[np.argsort(place)]) >= 0).all()  # those of a part lie side by side
    order, bounds = strata.blocks(
        user_part[data.user] * grid + item_part[data.item], grid, np.random.default_rng(0)
    )
    assert np.array_equal(np.sort(order), np.arange(len(data)))
    cells = [order[bounds[b] : bounds[b + 1]] for b in range(grid * grid)]
    for shift in range(grid):
        parts = [cells[b] for b in strata.stratum(shift, grid)]
        for column in (data.user, data.item):
            together = np.concatenate([np.unique(column[p]) for p in parts])
            assert len(together) == len(np.unique(together))


def test_progress_is_told_and_may_stop_the_fit(low_rank):
    class Watch:
        figures: list[float] = []  # noqa: RUF012

        def progress(self, done, total, **figures):
            assert total == 50
            self.figures.append(figures["rmse"])
            return done == 3

    watch = Watch()
    BiasedMF(epochs=50).fit(low_rank[0], monitor=watch)
    assert len(watch.figures) == 3
    assert watch.figures[2] < watch.figures[0]


def test_what_is_not_known_counts_nothing(low_rank):
    data = low_rank[0]
    model = BiasedMF(epochs=5).fit(data)
    nobody = Queries(
        users=np.array([-1]), offsets=np.array([0, 0]), items=np.zeros(0, dtype=np.int32), values=None
    )
    both = model.predict(nobody, np.array([0, 0]), np.array([3, -1])).mean
    np.testing.assert_allclose(both, [model.mean_ + model.item_bias_[3], model.mean_], rtol=1e-6)
    known = model.predict(data.queries(), np.array([2]), np.array([-1])).mean
    np.testing.assert_allclose(known, model.mean_ + model.user_bias_[2], rtol=1e-6)
    assert np.isnan(model.score(nobody)).all()


def test_an_item_without_ratings_stays_at_nothing():
    data = build(["u", "u", "v"], ["a", "b", "c"], [4, 2, np.nan])
    model = BiasedMF(epochs=2).fit(data)
    assert not model.item_factors_[2].any()
    assert model.item_bias_[2] == 0


def test_score_is_the_expected_rating(low_rank):
    data, queries, rows, items, _ = low_rank
    model = BiasedMF(**SETTINGS).fit(data)
    scores = model.score(queries)[rows, items]
    np.testing.assert_allclose(np.clip(scores, 1, 5), model.predict(queries, rows, items).mean, rtol=1e-5)


def test_histories_without_ratings_cannot_be_folded_in(low_rank):
    model = BiasedMF(epochs=1).fit(low_rank[0])
    bare = low_rank[1].replace(values=None)
    assert np.isfinite(model.score(bare)).all()  # trained vectors need no ratings
    with pytest.raises(DataError, match="have no ratings"):
        model.score(strangers(bare))
    with pytest.raises(DataError, match="no ratings"):
        BiasedMF().fit(build(["u"], ["a"]))


def test_accuracy_on_the_first_official_fold(official_fold):
    """Surprise's SVD with 50 factors, 40 epochs and reg 0.08 has 0.9325 here."""
    train, queries, rows, items, truth = official_fold
    model = BiasedMF().fit(train)
    error = {}
    for name, asked in (("trained", queries), ("folded in", strangers(queries))):
        error[name] = np.sqrt(np.mean((model.predict(asked, rows, items).mean - truth) ** 2))
    assert error["trained"] < 0.928
    assert error["folded in"] < 0.928
