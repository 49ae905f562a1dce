"""The log as frames: every slot once, each event laid to the slot that it answers, a row per user of an experiment."""

from __future__ import annotations

import json
from contextlib import closing

import pytest

from recsmith.errors import DataError, ParameterError
from recsmith.serving.activation import ACTIVE
from recsmith.serving.deployment import Experiment
from recsmith.serving.events import Exposure, NewEvent
from recsmith.serving.logged import attributed, events, first_exposures, rewarded, shares, slots, units
from recsmith.serving.store import Store


@pytest.fixture
def log(tmp_path):
    with closing(Store.open(f"sqlite:///{tmp_path}/events.db")) as store:
        yield store


def show(store, recomm_id, user, items, at=100, variant="a", shadow=False, propensity=0.5):
    listed = [
        {"item_id": item, "score": 1 / rank, "rank": rank, "source": "ease", "propensity": propensity}
        for rank, item in enumerate(items, 1)
    ]
    store.log_exposures(
        [Exposure(recomm_id, user, f"{variant}@1", "trial", variant, shadow, at, json.dumps(listed))]
    )


def act(store, user, item, at=110, kind="click", recomm_id=None, value=None):
    name = f"{user}-{item}-{at}-{kind}"
    assert store.add_events([NewEvent(name, user, item, kind, value, at, recomm_id)]) == [True]


def test_a_row_for_each_slot(log):
    show(log, "r1", "ann", ["x", "y"])
    show(log, "r1", "ann", ["z"], variant="c", shadow=True)
    show(log, "r2", "", [], at=101)
    other = '[{"item_id": "x", "score": null, "rank": 1, "source": "fallback:popular"}]'
    log.log_exposures([Exposure("r3", "bob", "m@1", None, None, False, 102, other)])
    found = slots(log)
    wanted = {
        "recomm_id": ["r1", "r1", "r1", "r3"],
        "user_id": ["ann", "ann", "ann", "bob"],
        "experiment": ["trial", "trial", "trial", None],
        "variant": ["a", "a", "c", None],
        "model_version": ["a@1", "a@1", "c@1", "m@1"],
        "timestamp": [100, 100, 100, 102],
        "item_id": ["x", "y", "z", "x"],
        "rank": [1, 2, 1, 1],
        "score": [1.0, 0.5, 1.0, None],
        "source": ["ease", "ease", "ease", "fallback:popular"],
        "propensity": [0.5, 0.5, 0.5, None],
        "chance": [1.0] * 4,
        "shadow": [False, False, True, False],
    }
    assert found.to_dict(as_series=False) == wanted
    assert slots(log, since=101)["recomm_id"].to_list() == ["r3"]
    assert slots(log, until=102).height == 3


def test_an_empty_store_has_the_same_columns(log):
    assert slots(log).height == events(log).height == 0
    nothing = slots(log)
    assert rewarded(nothing, events(log), {"click": 1}).height == 0
    assert units(nothing, events(log)).frame.columns == [
        "user_id", "variant", "answers", "slots", "clicks", "conversions", "value", "actions", "actions_before"
    ]  # fmt: skip
    show(log, "r1", "ann", ["x"])
    assert slots(log).schema == nothing.schema


def test_pages_and_erasure(log, monkeypatch):
    monkeypatch.setattr("recsmith.serving.store._FRAME_ROWS", 2)
    for number in range(5):
        show(log, f"r{number}", "ann" if number % 2 else "bob", ["x"], at=number)
        act(log, "bob", "x", at=number)
    log.erase("ann")
    assert slots(log)["recomm_id"].to_list() == ["r0", "r2", "r4"]


def test_a_user_erased_while_it_is_read(log, monkeypatch):
    for user in ("ann", "bob"):
        show(log, f"r-{user}", user, ["x"])
        act(log, user, "x")
    for method, read in (("exposures_frame", slots), ("events_frame", events)):
        frames = list(getattr(log, method)())

        def late(frames=frames):
            yield from frames
            log.erase("ann")

        monkeypatch.setattr(log, method, late)
        assert read(log)["user_id"].to_list() == ["bob"]


def test_an_event_that_names_its_answer(log):
    show(log, "r1", "ann", ["x", "y"])
    show(log, "r2", "ann", ["x", "y"], at=105)
    show(log, "r3", "", ["y"], at=106)
    show(log, "r1", "ann", ["y"], variant="c", shadow=True)
    act(log, "ann", "y", recomm_id="r1")
    act(log, "ann", "y", recomm_id="r3", at=111)  # asked for without an id
    act(log, "ann", "z", recomm_id="r1")  # not in that list
    act(log, "bob", "x", recomm_id="r1")  # another's list
    act(log, "ann", "x", recomm_id="gone")
    found = slots(log)
    assert sorted(attributed(found, events(log))["slot"].to_list()) == [1, 4]
    assert rewarded(found, events(log), {"click": 2})["reward"].to_list() == [0, 2, 0, 0, 2, None]


def test_an_event_without_an_answer_goes_to_the_latest_slot_in_time(log):
    show(log, "r1", "ann", ["x"], at=100)
    show(log, "r2", "ann", ["x"], at=200)
    show(log, "r3", "ann", ["x"], at=200)
    show(log, "r4", "ann", ["x"], at=300)
    act(log, "ann", "x", at=250)
    act(log, "ann", "x", at=99, kind="purchase")
    act(log, "bob", "x", at=250)
    act(log, "ann", "x", at=1000, kind="like")
    found, done = slots(log), events(log)
    assert attributed(found, done, window_s=600)["slot"].to_list() == [2]
    assert attributed(found, done, window_s=700)["slot"].to_list() == [2, 3]
    with pytest.raises(ParameterError, match="'window_s' parameter of attributed must be >= 0"):
        attributed(found, done, window_s=-1)


def test_a_type_counts_once_in_a_slot(log):
    show(log, "r1", "ann", ["x", "y"])
    for at in (110, 111):
        act(log, "ann", "x", at=at)
    act(log, "ann", "x", at=112, kind="purchase")
    act(log, "ann", "y", at=113, kind="skip")
    reward = rewarded(slots(log), events(log), {"click": 1, "purchase": 5, "skip": -1})["reward"]
    assert reward.to_list() == [6.0, -1.0]
    assert rewarded(slots(log), events(log), {})["reward"].to_list() == [0.0, 0.0]


def test_a_row_for_each_user_of_an_experiment(log):
    show(log, "r1", "ann", ["x", "y"], at=1000)
    show(log, "r2", "ann", ["z"], at=1100)
    show(log, "r2", "ann", ["q"], at=1100, variant="c", shadow=True)
    show(log, "r3", "bob", ["x"], at=1000, variant="b")
    show(log, "r4", "eve", ["x"], at=1000)
    show(log, "r5", "eve", ["x"], at=1200, variant="b")
    show(log, "r6", "", ["x"])
    show(log, "r7", "cy", ["x"], variant=None)
    act(log, "ann", "x", at=1010, recomm_id="r1")
    act(log, "ann", "x", at=1011, recomm_id="r1")
    act(log, "ann", "x", at=1012, kind="purchase", recomm_id="r1", value=20.0)
    act(log, "ann", "elsewhere", at=1013, kind="purchase", value=7.0)
    act(log, "ann", "old", at=900)
    act(log, "ann", "older", at=500)
    act(log, "ann", "y", at=1014, kind="skip", recomm_id="r1")
    found = units(slots(log), events(log), before_s=200)
    assert found.switched == 1
    assert found.frame.to_dicts() == [
        {"user_id": "ann", "variant": "a", "answers": 2, "slots": 3, "clicks": 1, "conversions": 1, "value": 20.0,
         "actions": 4, "actions_before": 1},
        {"user_id": "bob", "variant": "b", "answers": 1, "slots": 1, "clicks": 0, "conversions": 0, "value": 0.0,
         "actions": 0, "actions_before": 0},
    ]  # fmt: skip


def test_the_time_before_ends_at_the_first_exposure_of_the_whole_log(log):
    """With a later start, days under a variant are no covariate; with an end, what came after is no outcome."""
    show(log, "r0", "ann", ["x"], at=900, variant="c", shadow=True)
    show(log, "r1", "ann", ["x"], at=1000)
    show(log, "r2", "ann", ["x"], at=2000)
    for at in (950, 1100, 1900, 2010, 3100):
        act(log, "ann", "z", at=at)
    exposed = first_exposures(log, "trial")
    assert exposed.to_dicts() == [{"user_id": "ann", "exposed": 1000}]
    window = slots(log, since=1500, until=3000)
    [row] = units(window, events(log), experiment="trial", exposed=exposed, until=3000).frame.to_dicts()
    assert (row["actions_before"], row["actions"]) == (1, 1)


def test_the_shares_of_the_running_experiment(log):
    with pytest.raises(DataError, match="'autumn' is not running in this store; none is"):
        shares(log, "autumn")
    variants = {"a": {"bundle": "m", "share": 3}, "b": {"bundle": "n"}, "c": {"bundle": "o", "shadow": True}}
    running = Experiment(name="autumn", variants=variants).model_dump(mode="json")
    log.set_setting(ACTIVE, {"experiment": running})
    assert shares(log, "autumn") == {"a": 3.0, "b": 1.0}
    with pytest.raises(DataError, match="'spring' is not running in this store; 'autumn' is"):
        shares(log, "spring")
