"""For every model of the registry the service's lists are those of the bundle, asked with the same history."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import orjson
import polars as pl
import pytest

from recsmith.data.dataset import Dataset, rows_of
from recsmith.data.schema import Log
from recsmith.errors import DataError
from recsmith.experiment.train import load_bundle, train
from recsmith.models.registry import MODELS, model_class
from recsmith.serving.events import NewEvent
from recsmith.serving.retrain import retrain
from recsmith.serving.schemas import RecommendRequest
from recsmith.serving.service import Service
from recsmith.serving.settings import SIGNALS, Settings
from recsmith.serving.store import Store
from recsmith.types import Queries

K, N_USERS, N_ITEMS = 10, 60, 40
START = 1_600_000_000
RANKING = [name for name in MODELS if hasattr(model_class(name), "score")]
QUICK = {"epochs": 2, "embedding_size": 8, "hidden": 8, "iterations": 4, "burn_in": 1}
#: How a pipeline weighs: recency acts in the service as offline, and trained vectors answer only without it.
WEIGHTINGS = {"plain": {}, "recent": {"half_life": 3}}


@pytest.fixture(scope="module")
def shop() -> Dataset:
    """Rated and timed, with tables of users and items, so that every column of a request is there."""
    rng = np.random.default_rng(3)
    users = np.repeat(np.arange(N_USERS), 9)
    items = np.concatenate(
        [rng.choice(np.arange(u % 2, N_ITEMS, 2), 9, replace=False) for u in range(N_USERS)]
    )
    interactions = pl.DataFrame(
        {
            "user_id": [f"u{u}" for u in users],
            "item_id": [f"i{i}" for i in items],
            "rating": rng.integers(3, 6, len(users)).astype(float),
            "timestamp": START + rng.permutation(len(users)) * 1000,
        }
    )
    people = pl.DataFrame(
        {
            "user_id": [f"u{u}" for u in range(N_USERS)],
            "age": rng.integers(18, 70, N_USERS),
            "town": rng.choice(["Ulm", "Bonn", "Kiel"], N_USERS),
        }
    )
    things = pl.DataFrame(
        {"item_id": [f"i{i}" for i in range(N_ITEMS)], "genre": rng.choice(["Drama", "War"], N_ITEMS)}
    )
    log = Log(interactions=interactions, users=people, items=things, name="shop", rating_scale=(1.0, 5.0))
    return Dataset.from_log(log)


def parameters(name: str, weighting: dict) -> dict:
    """A quick fit; a model that weighs events by itself takes no other weighting."""
    fields = model_class(name).config_class.model_fields
    quick = {key: value for key, value in QUICK.items() if fields.get(key) and fields[key].annotation is int}
    own = "half_life" in fields or model_class(name).weighs_history
    return quick if own else quick | weighting


def likes(user: str, items: list[int], start: int) -> list[NewEvent]:
    return [
        NewEvent(f"{user}-{n}", user, f"i{item}", "like", None, start + n, None)
        for n, item in enumerate(items)
    ]


def asked_offline(bundle, user: str, new: list[NewEvent], exclude=()):
    """The list of the bundle for what its log holds of a user and ``new`` likes, as (ids, scores)."""
    known = bundle.data.queries(bundle.data.users.index([user]))
    items = bundle.data.items.index([event.item_id for event in new])
    request = Queries(
        users=known.users,
        offsets=np.array([0, len(known.items) + len(items)]),
        items=np.append(known.items, items),
        values=np.append(known.values, np.full(len(items), 5)).astype(np.float32),
        times=np.append(known.times, [event.timestamp for event in new]).astype(np.int64),
        as_trained=known.as_trained & (not new),
    )
    lists = bundle.lists(
        bundle.pipeline.informed(request, rows_of(bundle.data.user_features, request.users)),
        K,
        exclude=exclude,
    )
    return [str(i) for i in bundle.data.items.raw(lists.items[0])], lists.scores[0]


def asked_online(service: Service, users: list[str]):
    """The service's lists, as (ids, scores)."""
    found = []
    for told in service.answer([RecommendRequest(user_id=user) for user in users]):
        slots = orjson.loads(told.answer.shown)
        found.append(([slot["item_id"] for slot in slots], np.array([slot["score"] for slot in slots])))
    return found


def same(first, second) -> bool:
    """Equal lists; items may be swapped where their scores agree to 1e-5: a product of one row rounds otherwise."""
    if sorted(first[0]) == sorted(second[0]):
        scale = 1e-6 * max(1.0, float(np.abs(second[1]).max()))
        return bool(np.allclose(first[1], second[1], rtol=1e-5, atol=scale))
    return False


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("name", RANKING)
def test_online_is_offline(name, weighting, shop, tmp_path):
    path = train(name, shop, **parameters(name, WEIGHTINGS[weighting])).save(tmp_path / "shop")
    bundle = load_bundle(path)
    new = {
        "u10": likes("u10", [1, 4, 9], START + 10**7),
        "u11": likes("u11", [2], START + 10**7),
        "stranger": likes("stranger", [3, 8, 13], START + 10**7),
        **{user: [] for user in ("nobody", "skips", "u20", "u0", "u1", "u2")},
    }
    skips = [NewEvent(user, user, "i7", "skip", None, START + 10**7, None) for user in ("skips", "u20")]
    with closing(Store.open(f"sqlite:///{tmp_path}/events.db")) as store:
        store.add_events([*(event for events in new.values() for event in events), *skips])
        online = asked_online(Service(store, Settings.load(None, {}), path), list(new))
    for (user, events), listed in zip(new.items(), online, strict=True):
        skipped = ["i7"] if user in ("skips", "u20") else []  # it is left out, and nothing else changes
        assert same(listed, asked_offline(bundle, user, events, skipped)), user


def test_what_a_bundle_has_learned_counts_once(shop, tmp_path):
    """A bundle that learned from the store holds its events; lists are those of the bundle, not of events twice."""
    path = train("ials", shop, epochs=2, embedding_size=8, confidence="raw").save(tmp_path / "first")
    with closing(Store.open(f"sqlite:///{tmp_path}/events.db")) as store:
        store.add_events([*likes("u10", [1, 4, 9], START + 10**7), *likes("stranger", [3, 8], START + 10**7)])
        found = retrain(load_bundle(path), store, SIGNALS)
        path = found.bundle.save(tmp_path / "second")
        bundle = load_bundle(path)
        assert len(bundle.data) == len(shop) + 5
        users = ["u10", "u1", "stranger"]
        for user, listed in zip(
            users, asked_online(Service(store, Settings.load(None, {}), path), users), strict=True
        ):
            assert same(listed, asked_offline(bundle, user, [])), user
        with pytest.raises(DataError, match="learned every event"):
            retrain(bundle, store, SIGNALS)
        store.add_events(likes("u11", [2], START + 10**7))
        again = retrain(bundle, store, SIGNALS)
    assert (again.events, len(again.bundle.data)) == (1, len(shop) + 6)
