"""BPR: follows its gradient, recovers planted tastes, folds in what it would have learned, and never races."""

from __future__ import annotations

import numpy as np
import pytest
from tests.conftest import build

from recsmith import parallel
from recsmith.data.dataset import Dataset
from recsmith.errors import DataError
from recsmith.models.factorization.bpr import BPR
from recsmith.models.factorization.pairwise import Factors, Pairs, draw_other
from recsmith.recommend import Pipeline

PAIRWISE_SETTINGS = {"embedding_size": 16, "epochs": 40, "learning_rate": 0.1, "reg": 0.02}


def planted(seed: int = 3) -> tuple[Dataset, np.ndarray]:
    """400 users and 200 items in four groups: nine of ten items that a user takes are of his group."""
    rng = np.random.default_rng(seed)
    users, items = [], []
    for u in range(400):
        own = rng.permutation(50)[:18] * 4 + u % 4
        users += [u] * 20
        items += [*own.tolist(), *rng.integers(0, 200, 2).tolist()]
    data = build(users, items)
    return data, np.array([int(i) % 4 for i in data.items.ids])


def strangers(queries):
    return queries.replace(users=np.full(len(queries), -1, dtype=np.int32), as_trained=None)


def share_of_own_group(model, data, groups, queries) -> float:
    lists = Pipeline(model=model).fit(data).recommend(queries, 10)
    return float((groups[lists.items] == (np.arange(len(queries)) % 4)[:, None]).mean())


@pytest.mark.parametrize("candidates", [1, 5])
def test_planted_groups_are_recovered_by_known_and_new_users(candidates):
    data, groups = planted()
    settings = {**PAIRWISE_SETTINGS, "candidates": candidates}
    assert share_of_own_group(BPR(**settings), data, groups, data.queries()) > 0.95
    assert share_of_own_group(BPR(**settings), data, groups, strangers(data.queries())) > 0.95


def test_of_several_candidates_the_one_that_scores_highest_is_pushed_down():
    p = np.ones((1, 2), dtype=np.float32)
    q = np.array([[0.0, 0.0], [0.1, 0.1], [0.9, 0.8], [0.5, -0.5]], dtype=np.float32)
    factors = Factors(p, q.copy(), np.zeros(4, dtype=np.float32))
    one = np.array([0, 1])
    taken = np.array([0], dtype=np.int32)
    pairs = Pairs(np.array([0]), taken, np.ones(1, np.float32), one, one, taken)
    steps, others = np.array([0.1], dtype=np.float32), np.arange(4, dtype=np.int32)
    model = BPR(embedding_size=2, reg=0, candidates=100)
    model.descend(pairs, (0, 1), others, factors, steps, np.uint64(3), teach_items=True)
    assert (factors.q[2] < q[2]).all()
    np.testing.assert_array_equal(factors.q[[1, 3]], q[[1, 3]])


def test_a_step_follows_the_gradient_of_the_stated_loss():
    """-ln sigmoid(s_ui - s_uj) + reg/2 (|p|^2 + |q_i|^2 + |q_j|^2 + b_i^2 + b_j^2), by finite differences."""
    rng = np.random.default_rng(0)
    p, q, bias = (rng.normal(size=size).astype(np.float32) for size in ((1, 3), (2, 3), 2))
    reg, step = 0.3, 1e-3

    def loss(x):
        p, qi, qj, bi, bj = x[:3], x[3:6], x[6:9], x[9], x[10]
        return np.log1p(np.exp(-(p @ (qi - qj) + bi - bj))) + reg / 2 * (x**2).sum()

    x = np.concatenate([p[0], q[0], q[1], bias]).astype(np.float64)
    gradient = np.array([(loss(x + h) - loss(x - h)) / 2e-5 for h in 1e-5 * np.eye(11)])
    pairs = Pairs(
        np.array([0]), np.array([0], dtype=np.int32), np.ones(1, np.float32), np.array([0, 1]), np.array([0, 1]),
        np.array([0], dtype=np.int32),
    )  # fmt: skip
    model = BPR(embedding_size=3, reg=reg, item_bias=True)
    factors = Factors(p.copy(), q.copy(), bias.copy())
    other = np.array([1], dtype=np.int32)
    steps = np.array([step], dtype=np.float32)
    model.descend(pairs, (0, 1), other, factors, steps, np.uint64(1), teach_items=True)
    moved = np.concatenate([factors.p[0], factors.q[0], factors.q[1], factors.bias]) - x
    np.testing.assert_allclose(moved, -step * gradient, atol=2e-6)


def test_negatives_are_drawn_evenly_from_what_the_user_did_not_take():
    taken, members = np.array([1, 3, 4], dtype=np.int32), np.array([0, 1, 2, 3, 5], dtype=np.int32)
    state, drawn = np.uint64(7), []
    for _ in range(3000):
        state, item = draw_other(np.uint64(state), members, taken, 0, 3)
        drawn.append(item)
    counts = np.bincount(drawn, minlength=6)
    assert counts[[1, 3, 4]].sum() == 0
    assert (np.abs(counts[[0, 2, 5]] - 1000) < 120).all()
    assert draw_other(np.uint64(state), taken, taken, 0, 3)[1] == -1


def test_threads_do_not_change_a_digit():
    states = []
    for threads in (1, 2, 3):
        parallel.set_threads(threads)
        try:
            states.append(BPR(epochs=3, embedding_size=8).fit(large(), rng=4).state())
        finally:
            parallel.set_threads(None)
    for other in states[1:]:
        for name, array in states[0].arrays.items():
            np.testing.assert_array_equal(array, other.arrays[name])


def large() -> Dataset:
    """Enough events for a grid of more than one block."""
    rng = np.random.default_rng(1)
    return build(rng.integers(0, 500, 30_000), rng.integers(0, 300, 30_000))


def test_a_new_user_with_the_history_of_a_known_one_gets_his_vector():
    data, _ = planted()
    model = BPR(**PAIRWISE_SETTINGS).fit(data)
    queries = data.queries(np.arange(9))
    np.testing.assert_allclose(
        model.embed_queries(strangers(queries)), model.embed_queries(queries), atol=1e-6
    )


def test_the_order_of_a_history_does_not_matter_and_its_weights_do():
    data, _ = planted()
    model = BPR(**PAIRWISE_SETTINGS).fit(data)
    query = strangers(data.queries(np.array([5])))
    turned = query.replace(items=query.items[::-1].copy())
    np.testing.assert_array_equal(model.score(query), model.score(turned))
    weights = np.zeros(len(query.items), dtype=np.float32)
    weights[0] = 1
    one = model.score(query.replace(weights=weights))
    assert not np.allclose(one, model.score(query), equal_nan=True)


def test_a_user_who_took_everything_does_no_harm():
    users = ["all"] * 6 + ["some"] * 2
    data = build(users, ["a", "b", "c", "d", "e", "f", "a", "b"])
    model = BPR(epochs=5).fit(data)
    assert np.isfinite(model.score(data.queries())).all()


def test_a_catalogue_of_one_item():
    data = build(["u", "v"], ["a", "a"])
    scores = BPR(epochs=3).fit(data).score(data.queries())
    assert scores.shape == (2, 1)
    assert np.isfinite(scores).all()


def test_what_nobody_took_has_no_score_and_who_took_nothing_no_opinion():
    data = build(["u", "v", "w"], ["a", "b", "c"]).take(np.array([0, 1]))
    scores = BPR(epochs=3).fit(data).score(data.queries())
    assert np.isnan(scores[:, 2]).all()
    assert np.isnan(scores[2]).all()
    assert np.isfinite(scores[:2, :2]).all()


def test_repeated_pairs_are_one_pair_of_more_weight():
    once = build(["u", "u", "v"], ["a", "b", "c"], weight=np.array([2, 1, 1], dtype=np.float32))
    twice = build(["u", "u", "u", "v"], ["a", "a", "b", "c"])
    first, second = (BPR(epochs=4).fit(data).state().arrays for data in (once, twice))
    for name, array in first.items():
        np.testing.assert_allclose(array, second[name], rtol=1e-6)


def test_an_empty_log_is_refused():
    data = build(["u"], ["a"]).take(np.zeros(1, dtype=np.bool_))
    with pytest.raises(DataError, match="BPR needs at least one"):
        BPR().fit(data)


def test_progress_is_told_and_may_stop_the_fit():
    class Watch:
        figures: list[float] = []  # noqa: RUF012

        def progress(self, done, total, **figures):
            assert total == 40
            self.figures.append(figures["in_order"])
            return done == 5

    watch = Watch()
    BPR(**PAIRWISE_SETTINGS).fit(planted()[0], monitor=watch)
    assert len(watch.figures) == 5
    assert 0 <= watch.figures[0] < watch.figures[4] <= 1
