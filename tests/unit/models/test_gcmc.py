"""GC-MC: messages add up as stated, no rating tells itself, and planted tastes are found by known and new users."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.conftest import build

torch = pytest.importorskip("torch")

from recsmith.errors import DataError  # noqa: E402
from recsmith.models.graph.gcmc import GCMC, Inbox, nearest  # noqa: E402

SMALL = {"embedding_size": 8, "epochs": 2}


def planted(seed: int = 0):
    """60 users and 40 items in two groups: 4 or 5 stars in one's own group, 1 to 3 in the other."""
    rng = np.random.default_rng(seed)
    users = np.repeat(np.arange(60), 20)
    items = np.concatenate([rng.permutation(40)[:20] for _ in range(60)])
    same = users % 2 == items % 2
    ratings = np.where(same, rng.integers(4, 6, len(users)), rng.integers(1, 4, len(users)))
    return build(users, items, ratings)


def test_messages_of_a_level_hold_those_below_and_add_up_at_the_receiver():
    data = planted()
    model = GCMC(**SMALL, prior=2.0).fit(data)
    side = model.module_.average.users
    query = data.queries(np.array([7]))
    inbox = Inbox.of(
        query.rows, query.items, nearest(np.arange(1.0, 6), query.values), 1, torch.device("cpu")
    )
    node, logs = (t.numpy()[0] for t in side(inbox, inbox.everything()))
    parts = side.parts.numpy().astype(np.float64)
    total = sum(parts[i, : int(v)].sum(0) for i, v in zip(query.items, query.values, strict=True))
    counts = np.bincount(query.values.astype(int) - 1, minlength=5)
    every = np.bincount(data.value.astype(int) - 1, minlength=5) / len(data)
    shares = np.log((counts + 2 * every) / 22)
    seen = np.concatenate([np.tanh(total / np.sqrt(20)), shares - shares.mean(), [np.log(21)]])
    dense = side.dense.weight.numpy() @ seen + side.dense.bias.numpy()
    np.testing.assert_allclose(logs, shares, atol=1e-4)
    np.testing.assert_allclose(node, dense, atol=1e-4)


def test_a_rating_that_is_asked_for_sends_no_message():
    data = planted()
    model = GCMC(**SMALL, dropout=0)
    torch.manual_seed(0)
    model.sizes_ = model.sizes(data)
    model.module_ = model.build()
    losses = []
    for value in (1.0, 5.0):
        changed = data.value.copy()
        changed[3] = value
        objective = model.objective(replace(data, value=changed))
        order = np.flatnonzero(objective.user.numpy() == data.user[3])
        asked = order[objective.item.numpy()[order] == data.item[3]]
        network = objective.module.get_submodule("live")
        sent = torch.ones(objective.n_examples)
        sent[torch.from_numpy(asked)] = 0
        node, _ = network.users(objective.to_users, objective._sent(objective.to_users, sent))
        losses.append(node[data.user[3]].detach().numpy())
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-6)


@pytest.mark.parametrize("known", [True, False])
def test_planted_tastes_are_found(known):
    data = planted()
    queries = data.queries()
    if not known:
        queries = queries.replace(users=np.full(len(queries), -1, dtype=np.int32), as_trained=None)
    scores = GCMC(embedding_size=8, epochs=30).fit(data).score(queries)
    own = np.array([int(u) % 2 for u in data.users.ids])
    group = np.array([int(i) % 2 for i in data.items.ids])
    same = own[:, None] == group
    assert scores[same].mean() > 4
    assert scores[~same].mean() < 2.5


def test_score_is_the_expected_rating_of_predict():
    data = planted()
    model = GCMC(**SMALL).fit(data)
    queries = data.queries(np.arange(6))
    rows, items = np.repeat(np.arange(6), 4), np.tile(np.array([0, 3, 9, 20], dtype=np.int32), 6)
    told = model.predict(queries, rows, items)
    np.testing.assert_allclose(told.mean, model.score(queries)[rows, items], rtol=1e-5)
    assert (told.std > 0).all()


def test_an_item_of_no_rating_is_like_an_unknown_one():
    data = planted()
    rest = data.take(data.item != 5)
    model = GCMC(**SMALL).fit(rest)
    mean = model.predict(rest.queries(np.array([2])), np.zeros(2, dtype=np.int64), np.array([5, -1])).mean
    assert mean[0] == mean[1]


def test_many_values_are_drawn_together_and_halves_are_levels():
    assert nearest(np.array([1.0, 1.5, 2.0]), np.array([1.0, 1.26, 2.0])).tolist() == [0, 1, 2]
    data = planted()
    fine = replace(
        data, value=data.value + np.random.default_rng(0).uniform(0, 1, len(data)).astype(np.float32)
    )
    model = GCMC(**SMALL).fit(fine)
    assert len(model.sizes_["levels"]) == 20
    assert np.isfinite(model.score(fine.queries())).all()


def test_dropped_nodes_are_made_up_for_and_the_fit_goes_on():
    data = planted()
    model = GCMC(**SMALL, node_dropout=0.5).fit(data)
    assert np.isfinite(model.score(data.queries())).all()


def test_events_without_ratings_say_nothing():
    data = planted()
    model = GCMC(**SMALL).fit(data)
    query = data.queries(np.array([0]))
    value = query.values.copy()
    value[:5] = np.nan
    some = query.replace(
        offsets=np.array([0, 15]), items=query.items[5:], values=query.values[5:], weights=None, times=None
    )
    np.testing.assert_allclose(model.score(query.replace(values=value)), model.score(some), rtol=1e-6)
    with pytest.raises(DataError, match="no ratings"):
        model.score(query.replace(values=None))


def test_a_log_without_ratings_is_refused():
    with pytest.raises(DataError, match="no ratings"):
        GCMC().fit(build(["u"], ["a"]))
