"""``retrain`` on MovieLens events replayed in time: a better bundle is promoted, a worse one refused, rolled back."""

from __future__ import annotations

import time
from contextlib import closing

import numpy as np
import polars as pl
import pytest
from tests.unit.serving.live import served

from recsmith.bundle import Bundle
from recsmith.data.dataset import Dataset
from recsmith.data.schema import Log
from recsmith.errors import DataError
from recsmith.experiment.train import make_pipeline, train
from recsmith.models.registry import model_class
from recsmith.serving.activation import places
from recsmith.serving.events import NewEvent
from recsmith.serving.retrain import promote, retrain, state
from recsmith.serving.settings import SIGNALS
from recsmith.serving.store import Store


@pytest.fixture(scope="module")
def replay(extra_data):
    """The first half of MovieLens-100K as a log, and the rest as events, in the order of time."""
    frame = pl.read_parquet(extra_data / "ml-100k" / "ratings.parquet").rename(
        {"user": "user_id", "item": "item_id"}
    )
    frame = frame.select("user_id", "item_id", "rating", "timestamp").sort("timestamp", maintain_order=True)
    half = len(frame) // 2
    events = [
        NewEvent(
            f"e{n}", str(row["user_id"]), str(row["item_id"]), "rating", row["rating"], row["timestamp"], None
        )
        for n, row in enumerate(frame[half:].iter_rows(named=True))
    ]
    return Dataset.from_log(
        Log(interactions=frame[:half], rating_scale=(1.0, 5.0), name="first half")
    ), events


@pytest.fixture
def world(replay, tmp_path):
    data, events = replay
    path = train("item-knn", data).save(tmp_path / "bundles" / "first")
    store = Store.open(f"sqlite:///{tmp_path}/events.db")
    for start in range(0, len(events), 5000):
        store.add_events(events[start : start + 5000])
    yield path, store
    store.close()


def test_what_came_since_is_learned_and_promoted_and_rolled_back(world, tmp_path):
    path, store = world
    old = Bundle.load(path, model_class)
    found = retrain(old, store, SIGNALS)
    assert found.better, found.reason
    assert found.comparison.users >= 30
    liked = sum(1 for _ in found.bundle.data.user) - len(old.data)
    assert liked == found.events
    new = found.bundle.save(path.parent / "second")
    with served(path, tmp_path, bundles=path.parent) as client:
        (place,) = places(state(store, path), path.parent)
        promote(store, path, new, place)
        assert state(store, path)["path"] == str(new)
        while client.get("/health").json()["model_version"].startswith("first@"):
            time.sleep(0.1)  # it is loaded while nobody asks
    with served(path, tmp_path, bundles=path.parent) as client:
        assert client.get("/health").json()["model_version"].startswith("second@")
        fresh = found.bundle.data.users.ids.filter(
            pl.Series(old.data.users.index(found.bundle.data.users.ids) < 0)
        )
        history = client.get(f"/users/{fresh[0]}/history").json()
        assert history["known_to_the_model"]
        assert client.post("/admin/rollback").json()["model_version"].startswith("first@")
    assert state(store, path)["path"] == str(path)


def test_a_worse_model_is_refused(world):
    path, store = world
    found = retrain(Bundle.load(path, model_class), store, SIGNALS, recipe=make_pipeline("popular"))
    assert not found.better
    assert found.reason.startswith("Worse: ndcg@10")


def test_an_erased_user_is_not_learned_from(world):
    path, store = world
    old = Bundle.load(path, model_class)
    gone = str(old.data.users.ids[0])
    store.erase(gone)
    found = retrain(old, store, SIGNALS)
    assert found.bundle.data.users.index([gone])[0] == -1
    assert found.bundle.data.users.ids.dtype == old.data.users.ids.dtype


def test_dislikes_are_no_wishes_and_too_little_judges_nothing(replay, tmp_path):
    data, _ = replay
    bundle = train("popular", data, fallback=None)
    with closing(Store.open(f"sqlite:///{tmp_path}/few.db")) as store:
        user, item = str(data.users.ids[0]), str(data.items.ids[0])
        store.add_events([NewEvent("a", user, item, "dislike", None, 2_000_000_000, None)])
        with pytest.raises(DataError, match="nothing new to learn"):
            retrain(bundle, store, SIGNALS)
        store.add_events([NewEvent("b", "a new user", item, "like", None, 2_000_000_000, None)])
        found = retrain(bundle, store, SIGNALS)
        assert (found.better, found.events, found.comparison) == (False, 1, None)
        assert found.bundle.data.users.is_text
        assert np.isin(["a new user"], found.bundle.data.users.ids.to_list()).all()


def test_a_log_without_times_has_no_place_for_newer_events(replay, tmp_path):
    _, events = replay
    timeless = Dataset.from_log(
        Log(interactions=pl.DataFrame({"user_id": [1, 1, 2], "item_id": [1, 2, 2]}), name="x")
    )
    with closing(Store.open(f"sqlite:///{tmp_path}/x.db")) as store:
        store.add_events(events[:1])
        with pytest.raises(DataError, match="no timestamps"):
            retrain(train("popular", timeless, fallback=None), store, SIGNALS)


def test_what_was_taken_back_is_not_learned(replay, tmp_path):
    data, events = replay
    user, item = str(data.users.ids[0]), str(data.items.ids[int(data.item[0])])
    later = events[-1].timestamp + 1
    with closing(Store.open(f"sqlite:///{tmp_path}/events.db")) as store:
        store.add_events(
            [
                *events[:100],
                NewEvent("a", "somebody", item, "like", None, later, None),
                NewEvent("b", user, item, "dislike", None, later, None),  # it is in the bundle's log
                NewEvent("c", "somebody", item, "dislike", None, later + 1, None),
                NewEvent("d", "other", item, "dislike", None, later, None),
                NewEvent("e", "other", item, "like", None, later + 1, None),
            ]
        )
        found = retrain(train("popular", data), store, SIGNALS)
    learned = found.bundle.data
    pairs = set(
        zip(learned.users.raw(learned.user).cast(str), learned.items.raw(learned.item).cast(str), strict=True)
    )
    assert (user, item) not in pairs
    assert ("somebody", item) not in pairs
    assert ("other", item) in pairs


def test_another_spelling_of_an_id_is_another_user(replay, tmp_path):
    data, events = replay
    user, item = str(data.users.ids[0]), str(data.items.ids[int(data.item[0])])
    with closing(Store.open(f"sqlite:///{tmp_path}/events.db")) as store:
        store.add_events(
            [*events[:50], NewEvent("a", f"00{user}", item, "dislike", None, 2_000_000_000, None)]
        )
        learned = retrain(train("popular", data), store, SIGNALS).bundle.data
    pairs = zip(
        learned.users.raw(learned.user).cast(str), learned.items.raw(learned.item).cast(str), strict=True
    )
    assert (user, item) in set(pairs)
