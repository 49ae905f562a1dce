"""GF-CF, BSPM and GraphFilter against dense numpy, and the eigenvectors below them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from tests.conftest import build

from recsmith import parallel
from recsmith.data.weighting import Weighting
from recsmith.errors import ParameterError
from recsmith.models.graph import spectral
from recsmith.models.graph.bspm import BSPM
from recsmith.models.graph.filter import decay
from recsmith.models.graph.gf_cf import GFCF
from recsmith.models.graph.graph_filter import GraphFilter
from recsmith.models.registry import create
from recsmith.types import Queries, Shape

NAMES = ("gf-cf", "bspm", "graph-filter")


@pytest.fixture(scope="module")
def log():
    """80 users, 40 items, 700 events, no two eigenvalues alike."""
    rng = np.random.default_rng(3)
    return build(rng.integers(80, size=900), rng.zipf(1.4, size=900) % 40)


class Dense:
    """The matrices of the papers."""

    def __init__(self, data, rank: int, user_exponent: float = 0.5, item_exponent: float = 0.5):
        self.x = data.matrix().toarray().astype(np.float64)
        self.degrees = self.x.sum(axis=0)
        r = self.x * self.x.sum(axis=1, keepdims=True) ** -user_exponent * self.degrees**-item_exponent
        _, values, vt = np.linalg.svd(r, full_matrices=False)
        r /= values[0]
        self.s = r.T @ r
        self.low = vt[:rank].T @ vt[:rank]
        self.ideal = np.diag(self.degrees**-0.5) @ self.low @ np.diag(self.degrees**0.5)
        self.history = self.x / np.sqrt(self.x.sum(axis=1, keepdims=True))


def assert_scores(model, data, expected, **tolerance):
    np.testing.assert_allclose(
        model.fit(data).score(data.queries()), expected, **({"rtol": 1e-3, "atol": 1e-5} | tolerance)
    )


def test_gf_cf_is_its_formula(log):
    d = Dense(log, 7)
    assert_scores(GFCF(rank=7, ideal_weight=0.4), log, d.history @ (d.s + 0.4 * d.ideal))


def rk4(slope, r, time, steps):
    """Textbook steps, which know no polynomial."""
    h = time / steps
    for _ in range(steps):
        a = slope(r)
        b = slope(r + h / 2 * a)
        c = slope(r + h / 2 * b)
        e = slope(r + h * c)
        r = r + h / 6 * (a + 2 * b + 2 * c + e)
    return r


def euler(slope, r, time, steps):
    for _ in range(steps):
        r = r + time / steps * slope(r)
    return r


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("merge", ["early", "late"])
@pytest.mark.parametrize(
    ("solver", "steps", "time"), [("euler", 1, 1.2), ("euler", 3, 0.8), ("rk4", 1, 2.5), ("rk4", 2, 2.0)]
)
def test_bspm_is_its_process(log, merge, solver, steps, time, average):
    d = Dense(log, 9)
    blurred, ideal = d.history @ d.s, 0.3 * d.history @ d.ideal
    start = blurred + (ideal if merge == "early" else 0)
    sharp = {"euler": euler, "rk4": rk4}[solver](lambda r: -r @ d.s, start, time, steps)
    expected = (sharp + blurred) / 2 if average else sharp
    if merge == "late":
        expected = expected + ideal
    model = BSPM(
        rank=9,
        ideal_weight=0.3,
        merge=merge,
        solver=solver,
        sharpen_time=time,
        sharpen_steps=steps,
        average=average,
    )
    assert_scores(model, log, expected)


def test_bspm_without_sharpening_is_gf_cf(log):
    queries = log.queries()
    blurred = BSPM(rank=6, ideal_weight=0.3, sharpen_time=0).fit(log).score(queries)
    np.testing.assert_array_equal(blurred, GFCF(rank=6, ideal_weight=0.3).fit(log).score(queries))


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("exponents", [(0.5, 0.5), (0.3, 0.4), (0.0, 1.0)])
def test_graph_filter_is_its_formula(log, order, exponents):
    d = Dense(log, 5, *exponents)
    sharp, term = np.eye(len(d.s)), np.eye(len(d.s))
    for k in range(1, order + 1):
        term = term @ (-1.5 * d.s) / k
        sharp = sharp + term
    f = np.diag(d.degrees**-0.2) @ (d.s @ sharp + 0.1 * d.low) @ np.diag(d.degrees**0.6)
    model = GraphFilter(
        rank=5, ideal_weight=0.1, sharpen_time=1.5, sharpen_order=order, input_exponent=0.2, output_exponent=0.6,
        user_exponent=exponents[0], item_exponent=exponents[1],
    )  # fmt: skip
    assert_scores(model, log, d.history @ f)


def test_decay_tends_to_the_exponential():
    values = np.linspace(0, 1, 11)
    np.testing.assert_allclose(decay(2.0, 4, 10)(values), np.exp(-2 * values), rtol=1e-4)
    np.testing.assert_allclose(decay(1.2, 1)(values), 1 - 1.2 * values)


@pytest.mark.parametrize("name", NAMES)
def test_a_new_user_scores_as_a_trained_one(log, name):
    model = create(name).fit(log)
    known = log.queries()
    new = Queries(users=np.full(len(known), -1, dtype=np.int32), offsets=known.offsets, items=known.items)
    np.testing.assert_array_equal(model.score(known), model.score(new))


@pytest.mark.parametrize("name", NAMES)
def test_event_weights_count(name):
    users, items = ["a", "a", "b", "b", "b", "c", "c"], ["x", "y", "x", "z", "y", "z", "w"]
    raw = Weighting(confidence="raw")
    once = raw.log(build(users, items, weight=np.float32([2, 1, 1, 3, 1, 1, 1])))
    d = Dense(once, 2)
    model = create(name, rank=2).fit(once)
    assert model.degrees_.tolist() == d.degrees.tolist()
    if name == "gf-cf":
        np.testing.assert_allclose(
            model.score(once.queries()), d.history @ (d.s + 0.3 * d.ideal), rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize("name", NAMES)
def test_parts_of_a_disconnected_graph_know_nothing_of_each_other(name):
    rng = np.random.default_rng(5)
    users = np.r_[rng.integers(30, size=200), 30 + rng.integers(30, size=200)]
    items = np.r_[rng.integers(10, size=200), 10 + rng.integers(10, size=200)]
    data = build(users, items)
    here = np.array([int(i) < 10 for i in data.items.ids])
    scores = create(name, rank=1000).fit(data).score(data.queries())
    own = np.array([int(u) < 30 for u in data.users.ids])[:, None] == here
    assert np.abs(scores[~own]).max() < 1e-5
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("name", NAMES)
def test_empty_rows_and_columns(log, name):
    """A user and an item without events change nothing for the others; nothing is known of the item."""
    some = np.flatnonzero((log.user != 3) & (log.item != 2))
    holed = log.take(some)
    scores = create(name, rank=8).fit(holed).score(holed.queries())
    assert np.isnan(scores[3]).all()
    assert np.isnan(scores[:, 2]).all()
    full = create(name, rank=8).fit(holed.compact()).score(holed.compact().queries())
    rows, columns = np.arange(80) != 3, np.arange(log.n_items) != 2
    np.testing.assert_allclose(scores[rows][:, columns], full, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_zero_are_no_history(log, name):
    model = create(name).fit(log)
    queries = log.queries(np.array([4], dtype=np.int32))
    none = queries.replace(weights=np.zeros(len(queries.items), dtype=np.float32))
    assert np.isnan(model.score(none)).all()


@pytest.mark.parametrize("name", NAMES)
def test_contributions_are_exact_for_every_pair(log, name):
    model = create(name, rank=12).fit(log)
    queries = log.queries()
    rows = np.array([3, 0, 3, 50, 7])
    items = np.array([1, 2, 30, 1, 1], dtype=np.int32)
    parts = model.contributions(queries, rows, items)
    bounds = np.r_[0, np.cumsum(queries.lengths[rows])]
    sums = [parts[a:b].sum() for a, b in pairwise(bounds)]
    np.testing.assert_allclose(sums, model.score(queries)[rows, items], rtol=1e-3, atol=1e-5)
    first = queries.take(rows[:1])
    strength = 1 / np.sqrt(len(first.items))
    np.testing.assert_allclose(
        parts[: len(first.items)], strength * model.similar(first.items)[:, 1], rtol=1e-3, atol=1e-5
    )
    assert len(model.contributions(queries, rows[:0], items[:0])) == 0


@pytest.mark.parametrize("name", NAMES)
def test_columns_are_those_of_all_scores(log, name):
    model = create(name).fit(log)
    queries = log.queries()
    some = np.array([7, 0, 7, 3], dtype=np.int32)
    np.testing.assert_array_equal(model.score(queries, some), model.score(queries)[:, some])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("item", [40, -1])
def test_an_item_out_of_range_is_refused(log, name, item):
    model = create(name).fit(log)
    queries = log.queries(np.array([0], dtype=np.int32))
    with pytest.raises(ParameterError, match=r"'items' parameter of score must be indices in 0 .. "):
        model.score(queries, np.array([item]))
    with pytest.raises(ParameterError, match=r"'queries.items' parameter of score"):
        model.score(queries.replace(items=np.full(len(queries.items), item)))
    with pytest.raises(ParameterError, match=r"'items' parameter of contributions"):
        model.contributions(queries, np.array([0]), np.array([item]))


@pytest.fixture(scope="module")
def wide():
    """More items than the dense solver takes, with a spectrum that falls slowly."""
    rng = np.random.default_rng(8)
    taste = rng.integers(60, size=2500)
    users = np.repeat(np.arange(2500), 20)
    items = np.where(
        rng.random(50_000) < 0.7,
        taste[users] * 25 + rng.integers(25, size=50_000),
        rng.integers(1500, size=50_000),
    )
    return build(users, items)


def test_eigenvectors_of_a_large_graph(wide):
    graph = spectral.normalized(wide.matrix(), 0.5, 0.5)
    values, vectors = spectral.leading(graph, 40, np.random.default_rng(0))
    r = graph.by_user.toarray().astype(np.float64)
    exact, basis = np.linalg.eigh(r.T @ r)
    np.testing.assert_allclose(values, exact[::-1][:40], rtol=1e-3)
    assert values[0] == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(40), atol=1e-5)
    captured = np.linalg.norm(basis[:, ::-1][:, :35].T @ vectors, axis=1)
    assert captured.min() > 0.99


@pytest.mark.parametrize("name", NAMES)
def test_digits_do_not_depend_on_threads(wide, name):
    states, scores = [], []
    for threads in (1, 2, 3):
        parallel.set_threads(threads)
        try:
            model = create(name, rank=20).fit(wide, rng=4)
            states.append(model.vectors_)
            scores.append(model.score(wide.queries(np.arange(150, dtype=np.int32))))
        finally:
            parallel.set_threads(None)
    for other in (1, 2):
        np.testing.assert_array_equal(states[0], states[other])
        np.testing.assert_array_equal(scores[0], scores[other])


def test_rank_above_that_of_the_log(wide):
    """Columns that depend on one another are dropped, not divided by nothing."""
    few = wide.take(np.flatnonzero(wide.user < 30))
    values, vectors = spectral.leading(
        spectral.normalized(few.matrix(), 0.5, 0.5), 100, np.random.default_rng(0)
    )
    assert len(values) == vectors.shape[1] == 30
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(30), atol=1e-4)


def test_monitor_is_told_and_may_stop(wide):
    class Stop:
        told = 0

        def progress(self, done, total, **figures):
            self.told += 1
            return done == 2

    monitor = Stop()
    GFCF(rank=20).fit(wide, monitor=monitor)
    assert monitor.told == 2


def test_without_a_low_pass_no_eigenvector_is_sought(log):
    model = GraphFilter(rank=0).fit(log)
    assert model.vectors_.shape == (log.n_items, 0)
    np.testing.assert_allclose(
        model.score(log.queries()),
        GraphFilter(ideal_weight=0).fit(log).score(log.queries()),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("gf-cf", {"rank": -1}), ("gf-cf", {"ideal_weight": -0.1}), ("bspm", {"solver": "rk5"}),
     ("bspm", {"merge": "soon"}), ("bspm", {"sharpen_time": -1}), ("bspm", {"sharpen_steps": 0}),
     ("graph-filter", {"sharpen_order": 0}),
     ("graph-filter", {"user_exponent": float("nan")}), ("graph-filter", {"output_exponent": 9})],
)  # fmt: skip
def test_wrong_parameters_are_named(name, wrong):
    with pytest.raises(ParameterError, match=f"'{next(iter(wrong))}' parameter of"):
        create(name, **wrong)


@pytest.mark.parametrize("name", NAMES)
def test_one_event_is_enough(name):
    data = build(["a"], ["x"])
    assert np.isfinite(create(name).fit(data).score(data.queries())).all()


@pytest.mark.parametrize("name", NAMES)
def test_equal_ratings_and_none_are_alike(checkerboard, name):
    """Filters see who took what."""
    bare = replace(checkerboard, value=None)
    queries = bare.queries()
    np.testing.assert_array_equal(
        create(name).fit(checkerboard).score(queries), create(name).fit(bare).score(queries)
    )


def test_cost_grows_with_the_rank():
    shape = Shape(10_000, 20_000, 1_000_000)
    assert GFCF(rank=512).cost(shape).gemm > 3 * GFCF(rank=256).cost(shape).gemm
    assert GFCF(rank=0).cost(shape).gemm == 0
