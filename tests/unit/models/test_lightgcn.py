"""LightGCN: its layers are those of a dense reference, its gradient is theirs, and a history is enough."""

from __future__ import annotations

import numpy as np
import pytest
from tests.conftest import build

torch = pytest.importorskip("torch")

from recsmith.errors import DataError  # noqa: E402
from recsmith.models.graph.lightgcn import Layers, LightGCN, MeanOfLayers  # noqa: E402
from recsmith.models.graph.spectral import normalized  # noqa: E402


def log(weight=None):
    rng = np.random.default_rng(4)
    users, items = np.repeat(np.arange(12), 5), rng.integers(0, 9, 60)
    return build(users, items, weight=weight)


def dense_mean(data, users, items, depth):
    """Mean of the layers 0 to ``depth`` by the whole adjacency matrix."""
    x = data.matrix("weight").toarray().astype(np.float64)
    n = sum(x.shape)
    a = np.zeros((n, n))
    a[: len(x), len(x) :], a[len(x) :, : len(x)] = x, x.T
    degree = a.sum(1)
    root = np.where(degree > 0, np.where(degree > 0, degree, 1) ** -0.5, 0)
    a = root[:, None] * a * root
    layers = [np.vstack([users, items])]
    for _ in range(depth):
        layers.append(a @ layers[-1])
    mean = np.mean(layers, axis=0)
    return mean[: len(x)], mean[len(x) :]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_layers_are_those_of_the_dense_matrix(depth):
    data, rng = log(), np.random.default_rng(0)
    users, items = (rng.normal(size=(n, 4)).astype(np.float32) for n in (data.n_users, data.n_items))
    layers = Layers(normalized(data.matrix("weight"), 0.5, 0.5), depth, data.item_counts())
    found = MeanOfLayers.apply(torch.from_numpy(users), torch.from_numpy(items), layers)
    for mine, theirs in zip(found, dense_mean(data, users, items, depth), strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs, atol=1e-6)


def test_the_gradient_is_that_of_the_dense_matrix():
    data, rng = log(), np.random.default_rng(1)
    tables = [torch.randn(n, 3, requires_grad=True) for n in (data.n_users, data.n_items)]
    wanted = [rng.normal(size=t.shape).astype(np.float32) for t in tables]
    layers = Layers(normalized(data.matrix("weight"), 0.5, 0.5), 2, data.item_counts())
    out = MeanOfLayers.apply(*tables, layers)
    sum((o * torch.from_numpy(w)).sum() for o, w in zip(out, wanted, strict=True)).backward()
    for table, theirs in zip(tables, dense_mean(data, *wanted, 2), strict=True):  # the map is symmetric
        np.testing.assert_allclose(table.grad.numpy(), theirs, atol=1e-6)


def test_answers_to_the_history_of_the_log_are_the_trained_layers():
    data = log()
    model = LightGCN(epochs=3, embedding_size=8, batch_size=16).fit(data, rng=2)
    users, items = (
        model.module_.get_parameter(f"{side}.weight").detach().numpy() for side in ("users", "items")
    )
    user_mean, item_mean = dense_mean(data, users, items, 3)
    np.testing.assert_allclose(model.embed_queries(data.queries()), user_mean, atol=1e-5)
    np.testing.assert_allclose(model.embed_items(), item_mean, atol=1e-5)


def test_a_stranger_differs_from_a_user_by_the_own_vector_alone():
    data = log()
    model = LightGCN(epochs=3, embedding_size=8).fit(data)
    queries = data.queries()
    strangers = queries.replace(users=np.full(len(queries), -1, dtype=np.int32), as_trained=None)
    own = model.module_.get_parameter("users.weight").detach().numpy() / 4
    summed = model.embed_queries(queries) - own
    np.testing.assert_allclose(model.embed_queries(strangers), summed + summed @ model.own_, atol=1e-5)


@pytest.mark.parametrize("candidates", [1, 1000])
def test_the_loss_is_the_papers_on_a_batch(candidates):
    data = log()
    model = LightGCN(embedding_size=4, layers=2, reg=0.3, epochs=1, candidates=candidates)
    model.sizes_ = model.sizes(data)
    model.module_ = model.build()
    objective = model.objective(data)
    objective.begin(0, np.random.default_rng(0))
    rows = np.array([0, 7, 11])
    loss, terms = objective.loss(rows)
    users, items = (
        model.module_.get_parameter(f"{side}.weight").detach().numpy() for side in ("users", "items")
    )
    p, q = dense_mean(data, users, items, 2)
    u, i = objective.user[rows], objective.item[rows]
    taken = data.matrix("ones").toarray()
    if candidates == 1:
        j = objective.sampler.draw(1, objective.seed, u, rows)[:, 0]
    else:  # of so many drawn from nine items every one is there
        j = np.where(taken[u] > 0, -np.inf, p[u] @ q.T).argmax(1)
    margin = (p[u] * (q[i] - q[j])).sum(1)
    squares = sum((t**2).sum() for t in (users[u], items[i], items[j]))
    assert terms == 3
    assert loss.item() == pytest.approx(np.log1p(np.exp(-margin)).sum() + 0.15 * squares, rel=1e-5)
    assert taken[u, i].all()
    assert not taken[u, j].any()


def test_the_softmax_among_sampled_items_learns_the_board(checkerboard):
    model = LightGCN(loss="sampled", negatives=8, embedding_size=16, epochs=30).fit(checkerboard)
    same = np.array([int(i[1:]) % 2 for i in checkerboard.items.ids])
    own = np.array([int(u[1:]) % 2 for u in checkerboard.users.ids])
    best = model.score(checkerboard.queries()).argmax(axis=1)
    assert (same[best] == own).all()


def test_what_nobody_took_has_no_score_and_only_known_items_are_evidence():
    data = build(["u", "v", "w"], ["a", "b", "c"]).take(np.array([0, 1]))
    model = LightGCN(epochs=2).fit(data)
    scores = model.score(data.queries())
    assert np.isnan(scores[:, 2]).all()
    assert np.isfinite(scores[:2, :2]).all()
    assert np.isnan(scores[2]).all()


def test_weights_of_events_are_weights_of_edges():
    weight = np.random.default_rng(0).uniform(0.5, 2, 60).astype(np.float32)
    data = log(weight=weight)
    model = LightGCN(epochs=1, embedding_size=4).fit(data)
    users, items = (
        model.module_.get_parameter(f"{side}.weight").detach().numpy() for side in ("users", "items")
    )
    np.testing.assert_allclose(model.embed_items(), dense_mean(data, users, items, 3)[1], atol=1e-5)


def test_a_log_without_a_choice_is_refused():
    with pytest.raises(DataError, match="nobody has both"):
        LightGCN().fit(build(["u", "v"], ["a", "a"]))
