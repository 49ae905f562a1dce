"""Two towers: lists from features alone, items that came later, the correction of in-batch negatives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from tests.conftest import build

from recsmith.bundle import Bundle
from recsmith.data.split_by_name import parse
from recsmith.errors import DataError, ParameterError
from recsmith.evaluation.answers import rank
from recsmith.experiment.train import as_bundle
from recsmith.models.neural.pool import Pools
from recsmith.models.neural.two_tower import TwoTower
from recsmith.models.registry import create, model_class
from recsmith.recommend import Pipeline


@pytest.fixture(scope="module")
def told():
    """80 users of two kinds and 20 items of two colours; a user's kind is in his row, and says what he takes."""
    users, items = [], []
    for u in range(80):
        for i in np.random.default_rng(u).permutation(10)[:5]:
            users.append(u)
            items.append(int(i) * 2 + u % 2)
    data = build(users, items, times=np.arange(len(users)))
    kinds = ["odd" if u % 2 else "even" for u in data.users.ids]
    colours = ["odd" if i % 2 else "even" for i in data.items.ids]
    return replace(
        data,
        user_features=pl.DataFrame({"user_id": data.users.ids, "kind": kinds}),
        item_features=pl.DataFrame({"item_id": data.items.ids, "colour": colours}),
    )


@pytest.fixture(scope="module")
def fitted(told):
    return TwoTower(epochs=30, batch_size=64, drop_history=0.3, drop_context=0.3).fit(told, rng=0)


def nobody(told, context=None):
    queries = told.queries(np.array([-1, -1], dtype=np.int32))
    return queries.replace(context=context)


def test_features_alone_give_a_list_of_ones_own(told, fitted):
    context = fitted.encode_users(pl.DataFrame({"kind": ["even", "odd"]}))
    best = np.argsort(-fitted.score(nobody(told, context)), axis=1)[:, :5]
    colour = np.array(told.items.ids.to_list()) % 2
    assert (colour[best] == [[0], [1]]).all()


def test_without_history_and_features_there_is_no_opinion(told, fitted):
    assert np.isnan(fitted.score(nobody(told))).all()
    unknown = fitted.encode_users(pl.DataFrame({"kind": [None, "else"]}, schema={"kind": pl.String}))
    assert np.isnan(fitted.score(nobody(told, unknown))).all()


def test_a_split_and_a_bundle_bring_the_features(told, tmp_path):
    split = parse("unknown-users:given=0").split(told)[0]
    assert split.user_features is not None
    assert split.user_features["user_id"].to_list() == split.user_ids.to_list()
    pipeline = Pipeline(model=create("two-tower", epochs=30, batch_size=64), fallback=create("popular"))
    fitted = pipeline.fit(split.train)
    ranked = rank(fitted, split, ["precision@5"])
    assert ranked.queries.context is not None
    assert (ranked.top.sources == 0).all()
    assert ranked.values["precision@5"].mean() > 0.4  # half of the items are of the other colour
    bundle = as_bundle(pipeline, told)
    loaded = Bundle.load(bundle.save(tmp_path / "b"), model_class)
    assert loaded.queries([0, 1]).context is not None
    assert bundle.recommend([0, 1], k=3).equals(loaded.recommend([0, 1], k=3))


def test_items_that_came_later_are_known_by_their_features(told, fitted):
    more = fitted.extend_items(pl.DataFrame({"colour": ["odd", "even"]}))
    assert fitted.embed_items().shape[0] == told.n_items
    scores = more.score(told.queries(np.array([0, 1], dtype=np.int32)))
    assert scores.shape == (2, told.n_items + 2)
    np.testing.assert_allclose(
        scores[:, :-2], fitted.score(told.queries(np.array([0, 1]))), rtol=1e-4, atol=1e-5
    )
    assert scores[0, -1] > scores[0, -2]
    assert scores[1, -2] > scores[1, -1]
    with pytest.raises(DataError, match="item table"):
        TwoTower(epochs=1, features=False).fit(told).extend_items(pl.DataFrame({"colour": ["odd"]}))


def test_a_context_of_another_width_is_an_error(told, fitted):
    with pytest.raises(ParameterError, match="context"):
        fitted.score(nobody(told, np.zeros((2, 7), dtype=np.float32)))


def test_loss_is_the_softmax_of_corrected_logits(told):
    model = TwoTower(epochs=1, dropout=0.0, features=False).fit(told)
    objective = model.objective(told)
    model.settle()
    model.module_.eval()
    rows = np.arange(0, len(told), 7)
    items = objective.pools.items[rows]
    with torch.no_grad():
        total, n = objective.loss(rows)
        pools = objective.pools.without_target(model.module_.history.weight, rows)
        asked = model.module_.of_user(pools, torch.zeros(len(rows), 0)).numpy()
    share = np.bincount(items_of := told.matrix("ones").indices, minlength=told.n_items) / len(items_of)
    logits = asked @ model.items_[items, :-1].T + model.items_[items, -1] - np.log(share[items])
    again = (items[:, None] == items) & ~np.eye(len(items), dtype=bool)
    logits[again] = -np.inf
    expected = np.log(np.exp(logits).sum(axis=1)) - logits.diagonal()
    assert n == len(rows)
    np.testing.assert_allclose(float(total), expected.sum(), rtol=1e-4)


def test_vectors_are_shorter_than_one_and_what_is_popular_is_added(told, fitted):
    lengths = np.linalg.norm(
        fitted.embed_queries(told.queries(np.arange(20, dtype=np.int32)))[:, :-1], axis=1
    )
    assert (lengths > 0).all() and (lengths < 1).all()
    share = told.matrix("ones").sum(axis=0) / told.matrix("ones").sum()
    np.testing.assert_allclose(np.exp(fitted.embed_items()[:, -1]), share, rtol=1e-5)


def test_a_thinned_history_is_a_part_of_it(told):
    pools = Pools(told)
    entries, scale = pools.thinned(0.5, np.random.default_rng(0))
    assert np.isin(entries, (0, 1)).all() and abs(entries.mean() - 0.5) < 0.1
    left = np.bincount(pools.users, entries)[pools.users] - entries
    np.testing.assert_allclose(scale, np.where(left > 0, np.maximum(left, 1) ** -0.5, 0), rtol=1e-6)
    whole = pools.thinned(0.0, np.random.default_rng(0))
    assert (whole[0] == pools.matrix.data).all() and (whole[1] == pools.scale).all()
