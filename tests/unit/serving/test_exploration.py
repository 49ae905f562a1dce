"""Places that a policy fills: what is shown and logged, and what is learned of it, by one worker and for all."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest
from tests.unit.serving.live import ids, save, served, shop

from recsmith.bundle import Bundle
from recsmith.errors import ParameterError
from recsmith.experiment.train import load_bundle, train
from recsmith.models.bandits.registry import create_policy
from recsmith.models.registry import model_class
from recsmith.serving.events import Exposure, NewEvent
from recsmith.serving.exploration import EXPLORED, Explorer
from recsmith.serving.settings import ExplorationSettings, Settings
from recsmith.serving.store import Store

USERS = [f"u{n}" for n in range(20)]
SLOTS = {"slots": [3, 7], "candidates": 15, "wait_seconds": 1}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return save(tmp_path_factory.mktemp("bundles"), "first", reg=50)


def ask_all(client, **more):
    requests = [{"user_id": user, **more} for user in USERS]
    return client.post("/recommend/batch", json={"requests": requests}).json()["answers"]


def explored(answer):
    return [p for p in answer["recommendations"] if p["source"].startswith("explore:")]


def logged(client, lists):
    """The exposures, once they are all written."""
    store = client.app.state.runtime.store
    for _ in range(500):
        if len(found := store.exposures(0, 10_000)) >= lists:
            return found
        time.sleep(0.01)
    raise AssertionError(f"{len(found)} exposures of {lists}")


def known(client):
    service = client.app.state.runtime.service
    service.refresh()
    return service.explorer._now[0]


def learned(client, rewards):
    """What is known once that many rewards are."""
    for _ in range(1000):
        client.app.state.runtime.service.learn()
        if (found := known(client)).counts.sum() >= rewards:
            return found
        time.sleep(0.01)
    raise AssertionError(f"{found.counts.sum()} rewards of {rewards}")


def test_a_policy_fills_its_places_and_the_others_stay(bundle, tmp_path):
    wanted = Bundle.load(bundle, model_class)
    with served(bundle, tmp_path, exploration=SLOTS) as client:
        answers = ask_all(client)
        shown = {row.recomm_id: json.loads(row.items) for row in logged(client, len(USERS))}
        for user, answer in zip(USERS, answers, strict=True):
            best = wanted.recommend([user], k=15)["item_id"].to_list()
            places = answer["recommendations"]
            assert [p["rank"] for p in explored(answer)] == [3, 7]
            assert {p["source"] for p in explored(answer)} == {"explore:thompson"}
            for place, item in zip(places, best[:10], strict=True):
                if place["rank"] in (3, 7):
                    assert place["item_id"] in {best[2], best[6], *best[10:]}
                else:
                    assert (place["item_id"], place["source"]) == (item, "ease")
            assert len({p["item_id"] for p in places}) == 10
            log = shown[answer["recomm_id"]]
            assert [slot["item_id"] for slot in log] == [p["item_id"] for p in places]
            chances = [slot["propensity"] for slot in log]
            assert chances[2] == pytest.approx(1 / 7, rel=1e-3)
            assert chances[6] == pytest.approx(1 / 6, rel=1e-3)
            assert [c for n, c in enumerate(chances) if n not in (2, 6)] == [1.0] * 8
        assert len({tuple(p["item_id"] for p in explored(a)) for a in ask_all(client)}) > 3


def test_looking_explores_nothing_and_so_does_who_does_not_want_it(bundle, tmp_path):
    wanted = Bundle.load(bundle, model_class).recommend(["u1"], k=10)["item_id"].to_list()
    with served(bundle, tmp_path, exploration=SLOTS) as client:
        for _ in range(3):
            assert ids(client.get("/users/u1/recommendations")) == wanted
        asked = {"user_id": "u1", "explore": False}
        assert ids(client.post("/recommend", json=asked)) == wanted
        told = client.post("/recommend", json={"user_id": "u1", "explain": True}).json()
        assert explored(told)[0]["reason"].startswith("Tried out here by the policy 'thompson'")
        assert ids(client.post("/recommend", json={"user_id": "u1", "exclude_items": wanted[:3]})) != wanted
        assert len(ids(client.post("/recommend", json={"user_id": "u1", "include_items": wanted[:4]}))) == 4
    with served(bundle, tmp_path / "other") as client:
        assert not explored(client.post("/recommend", json={"user_id": "u1"}).json())


def test_what_is_clicked_is_shown_more(bundle, tmp_path):
    """One item is always clicked where it is tried; all that is tried counts once, as does a click that comes twice."""
    with served(bundle, tmp_path, exploration={**SLOTS, "wait_seconds": 0.01}) as client:
        tried, clicks, rounds = 0, 0, []
        favourite = None
        for _ in range(4):
            answers = ask_all(client)
            chosen = [(a, p["item_id"]) for a in answers for p in explored(a)]
            if favourite is None:
                names = [item for _, item in chosen]
                favourite = max(set(names), key=names.count)
            tried += len(chosen)
            events = [
                {"user_id": a["user_id"], "item_id": item, "event_type": "click", "recomm_id": a["recomm_id"],
                 "event_id": f"{a['recomm_id']}-{item}"}
                for a, item in chosen if item == favourite
            ]  # fmt: skip
            stranger = {"user_id": "somebody else", "item_id": favourite, "event_type": "click",
                        "recomm_id": answers[0]["recomm_id"]}  # fmt: skip
            for _ in range(2):
                client.post("/events", json={"events": [*events, stranger]})
            clicks += len(events)
            rounds.append(len(events))
            found = learned(client, tried)
        assert found.counts.sum() == tried
        row = found.items[favourite]
        assert found.counts[row] == clicks
        assert 0 < found.sums[row] <= clicks
        assert found.sums.sum() == found.sums[row]


def test_workers_agree_and_a_restart_keeps_what_was_learned(bundle, tmp_path):
    with (
        served(bundle, tmp_path, exploration=SLOTS) as one,
        served(bundle, tmp_path, exploration=SLOTS) as two,
    ):
        tried = 0
        for client in (one, two):
            for answer in ask_all(client):
                tried += len(explored(answer))
                place = explored(answer)[0]
                client.post("/feedback", json={"user_id": answer["user_id"], "item_id": place["item_id"],
                                               "feedback": "like", "recomm_id": answer["recomm_id"]})  # fmt: skip
        logged(one, 2 * len(USERS))
        mine = learned(one, tried)
        theirs = learned(two, tried)
        assert mine.counts.sum() == theirs.counts.sum() == tried
        assert mine.told() == theirs.told()
        assert mine.sums.sum() == 2 * len(USERS)
    with served(bundle, tmp_path, exploration={**SLOTS, "policy": "ucb1"}) as client:
        assert known(client).told() == mine.told()
        answer = client.post("/recommend", json={"user_id": "u3"}).json()
        assert {p["source"] for p in explored(answer)} == {"explore:ucb1"}


def test_a_bundle_may_bring_what_its_policy_knows(tmp_path):
    made = train("ease", shop(), reg=50)
    policy = create_policy("thompson")
    liked = made.data.items.index(["i7", "i8"])
    policy.update(made.queries(["u0", "u1"]), liked, np.array([1.0, 0.0]))
    path = made.with_policy("thompson", policy).save(tmp_path / "bundle")
    assert load_bundle(path).policy is not None
    with served(path, tmp_path, exploration=SLOTS) as client:
        found = known(client)
        assert set(found.items) == {"i7", "i8"}
        assert found.sums[found.items["i7"]] == 1


def test_pinned_places_are_not_the_policys(bundle, tmp_path):
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules:\n- pin: {item: i39, slot: 3}\n")
    with served(bundle, tmp_path, exploration=SLOTS, rules=rules) as client:
        pinned = 0
        for answer in ask_all(client):
            stands = answer["recommendations"][2]["item_id"] == "i39"  # where it was not seen
            assert [p["rank"] for p in explored(answer)] == ([7] if stands else [3, 7])
            pinned += stands
        assert pinned > 5


def test_a_shadow_and_a_variant(bundle, tmp_path):
    save(bundle.parent, "second", reg=500)
    experiment = {
        "name": "e",
        "variants": {
            "a": {"bundle": "first"},
            "b": {"bundle": "second"},
            "c": {"bundle": "second", "shadow": True},
        },
    }
    with served(bundle, tmp_path, exploration=SLOTS) as client:
        assert client.put("/admin/experiment", json=experiment).status_code < 300
        ask_all(client)
        for row in logged(client, 2 * len(USERS)):
            chances = [s["propensity"] for s in json.loads(row.items)]
            sources = [s["source"].startswith("explore:") for s in json.loads(row.items)]
            if row.shadow:
                assert not any(sources)
            else:
                assert [n for n, mine in enumerate(sources) if mine] == [2, 6]
                assert chances[2] == pytest.approx(0.5 / 7, rel=1e-3)
                assert chances[0] == 0.5


def list_of(number, user, item, source="explore:thompson", shadow=False):
    slot = {"item_id": item, "score": 1.0, "rank": 1, "source": source, "propensity": 0.5}
    return Exposure(f"r{number}", user, "m@1", None, None, shadow, 100, json.dumps([slot]))


def click(number, user, item, kind="click"):
    return NewEvent(f"e{number}{user}{item}{kind}", user, item, kind, None, 101, f"r{number}")


def test_rewards_by_hand_in_both_databases(store, bundle):
    settings = ExplorationSettings(reward={"click": 0.25, "purchase": 1}, wait_seconds=60)
    explorer = Explorer(store, settings, Bundle.load(bundle, model_class))
    rows = [
        list_of(1, "a", "x"),
        list_of(2, "b", "x"),
        list_of(3, "c", "y"),
        list_of(4, "", "y"),
        list_of(5, "d", "z", source="ease"),
        list_of(6, "d", "z", shadow=True),
    ]
    store.log_exposures(rows)
    store.add_events([
        click(1, "a", "x"), click(1, "a", "x", "purchase"), click(2, "b", "other"), click(3, "not c", "y"),
        click(4, "anybody", "y"), click(5, "d", "z"), click(7, "a", "y"),
    ])  # fmt: skip
    assert not explorer.learn(2000, 0)  # the first look: the wait begins
    store.log_exposures([list_of(7, "a", "y")])
    assert not explorer.learn(2000, 59)
    assert explorer.learn(2000, 60)
    told = store.settings()[EXPLORED]
    assert (told["items"], told["counts"], told["sums"]) == (["x", "y"], [2, 2], [1.0, 0.25])
    assert not explorer.learn(2000, 60)
    assert store.settings()[EXPLORED] == told
    other = Explorer(store, settings, Bundle.load(bundle, model_class))
    assert other.learn(100 + 60, 0)  # what was there before a worker may have waited by its own time
    assert not explorer.learn(2000, 200)  # somebody was faster
    explorer.take(store.settings())
    assert store.settings()[EXPLORED]["counts"] == [2, 3]
    assert not explorer.learn(2000, 200)


@pytest.mark.parametrize("days", [-2, 2])
def test_an_exposure_of_a_clock_that_jumps_waits_as_long_as_others(store, bundle, days):
    settings = ExplorationSettings(reward={"click": 1}, wait_seconds=60)
    explorer = Explorer(store, settings, Bundle.load(bundle, model_class))
    now = 1_700_000_000
    rows = [
        (list_of(1, "a", "x"), now),
        (list_of(2, "b", "y"), now + days * 86_400),
        (list_of(3, "c", "z"), now),
    ]
    store.log_exposures([replace(row, timestamp=at) for row, at in rows])
    assert not explorer.learn(now, 0)
    assert not explorer.learn(now + 59, 59)
    store.add_events([click(2, "b", "y")])
    assert explorer.learn(now + 60, 60)
    told = store.settings()[EXPLORED]
    assert (told["items"], told["sums"]) == (["x", "y", "z"], [0.0, 1.0, 0.0])


def test_what_is_logged_is_how_often_it_happens(sqlite_url, bundle):
    store = Store.open(sqlite_url)
    known = {"mark": 1, "items": ["a", "b", "c", "d"], "counts": [40, 30, 9, 2], "sums": [2.0, 3.0, 0.0, 1.0]}
    store.set_setting(EXPLORED, known)
    explorer = Explorer(store, ExplorationSettings(slots=[2]), Bundle.load(bundle, model_class))
    names = ["d", "c", "new", "b", "other", "a"]
    drawn = [explorer.fill(names, 3, ()) for _ in range(3000)]
    assert {(first, third) for (first, _), _, (third, _) in drawn} == {(0, 2)}
    chances = {names[at]: chance for _, (at, chance), _ in drawn}
    for name, chance in chances.items():
        share = np.mean([names[at] == name for _, (at, _), _ in drawn])
        assert share == pytest.approx(chance, abs=4.5 * np.sqrt(0.25 / 3000))
    assert set(chances) == {"c", "b", "other", "a"}
    assert sum(chances.values()) == pytest.approx(1, abs=1e-3)
    store.close()


def test_nothing_is_left_of_a_user_who_was_erased(store, bundle):
    explorer = Explorer(store, ExplorationSettings(wait_seconds=0), Bundle.load(bundle, model_class))
    store.log_exposures([list_of(1, "secret user", "x"), list_of(2, "b", "y")])
    store.add_events([click(1, "secret user", "x")])
    store.erase("secret user")
    assert explorer.learn(2000, 0)
    told = store.settings()[EXPLORED]
    assert (told["items"], told["counts"]) == (["y"], [1])
    assert "secret" not in json.dumps(told)


def test_a_value_is_revised_where_nobody_was_faster(store):
    assert store.revise_setting("n", lambda told: 1 if told is None else None)
    assert not store.revise_setting("n", lambda told: 2 if told is None else None)
    mark = store.mark()
    assert store.revise_setting("n", lambda told: told + 1)
    assert store.settings()["n"] == 2
    assert [(c.kind, c.key) for c in store.changes(mark).rows] == [("setting", "n")]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"policy": "linucb"}, "policy"),
        ({"slots": 0}, "slots"),
        ({"slots": [0]}, "slots"),
        ({"reward": {"click": 2}}, "reward"),
        ({"candidates": 1}, "candidates"),
        ({"slot": 3}, "slot"),
    ],
)
def test_bad_settings(given, said):
    with pytest.raises(ParameterError, match=said):
        Settings.load(None, {}, exploration=given)


def test_a_parameter_that_the_policy_does_not_have(store, bundle):
    settings = ExplorationSettings(parameters={"epsilon": 0.1})
    with pytest.raises(ParameterError, match="epsilon"):
        Explorer(store, settings, Bundle.load(bundle, model_class))


def test_rules_that_are_gone_or_wrong_leave_the_old_ones_and_learning_goes_on(bundle, tmp_path):
    file = tmp_path / "rules.yaml"
    file.write_text("rules: []\n")
    with served(bundle, tmp_path, exploration=SLOTS | {"wait_seconds": 0}, rules=file) as client:
        file.unlink()
        for turn in range(3):
            assert all("recommendations" in answer for answer in ask_all(client))
            learned(client, 2 * len(USERS) * (turn + 1))
        client.app.state.runtime.store.set_setting("rules", "rules: {")
        assert all("recommendations" in answer for answer in ask_all(client))


@pytest.mark.parametrize("slots", [(3, 3), (0, 7), (), 0])
def test_places_that_are_none(slots):
    with pytest.raises(ParameterError, match=r"'exploration.slots' .* distinct places >= 1"):
        Settings.load(None, {}, exploration={"slots": slots})
