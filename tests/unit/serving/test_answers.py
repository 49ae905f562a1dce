"""What the service answers: the lists of ``evaluate``, feedback at once, and never an empty list."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.serving.live import ids, save, served

from recsmith.bundle import Bundle
from recsmith.models.registry import model_class


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return save(tmp_path_factory.mktemp("bundles"), "first", reg=50)


@pytest.fixture(scope="module")
def client(bundle, tmp_path_factory):
    with served(bundle, tmp_path_factory.mktemp("store")) as client:
        yield client


def ask(client, user, **more):
    return client.post("/recommend", json={"user_id": user, **more})


def test_lists_are_those_of_the_bundle_for_every_user(client, bundle):
    loaded = Bundle.load(bundle, model_class)
    wanted = loaded.recommend(k=7)
    requests = [{"user_id": u, "num_recommendations": 7} for u in loaded.data.users.ids]
    answers = client.post("/recommend/batch", json={"requests": requests}).json()["answers"]
    for request, answer in zip(requests, answers, strict=True):
        mine = wanted.filter(wanted["user_id"] == request["user_id"])
        assert [p["item_id"] for p in answer["recommendations"]] == mine["item_id"].to_list()
        np.testing.assert_allclose([p["score"] for p in answer["recommendations"]], mine["score"], rtol=1e-5)
        assert ids(ask(client, request["user_id"], num_recommendations=7)) == mine["item_id"].to_list()


def test_an_answer_says_where_it_comes_from(client):
    body = ask(client, "u0", num_recommendations=3, explain=True).json()
    assert body["model_version"].startswith("first@")
    assert body["recomm_id"]
    assert [p["rank"] for p in body["recommendations"]] == [1, 2, 3]
    first = body["recommendations"][0]
    assert first["source"] == "ease"
    assert first["metadata"]["title"] == f"Title {first['item_id'][1:]}"
    assert first["reasons"][0]["title"] in first["reason"]
    total = sum(r["contribution"] for r in first["reasons"])
    assert 0 < total <= first["score"] * (1 + 1e-5)
    assert ask(client, "u0").json()["recomm_id"] != body["recomm_id"]


def test_an_unknown_user_gets_the_fallback_and_after_one_like_a_list_of_his_own(client):
    before = ask(client, "stranger").json()
    assert {p["source"] for p in before["recommendations"]} == {"fallback:popular"}
    assert len(before["recommendations"]) == 10
    said = client.post("/feedback", json={"user_id": "stranger", "item_id": "i1", "feedback": "like"})
    assert said.json()["status"] == "stored"
    after = ask(client, "stranger").json()
    assert {p["source"] for p in after["recommendations"]} == {"ease"}
    assert all(int(p["item_id"][1:]) % 2 for p in after["recommendations"])
    assert "i1" not in ids(ask(client, "stranger", num_recommendations=40))


@pytest.mark.parametrize("word", ["skip", "dislike", False])
def test_what_is_skipped_does_not_come_again(client, word):
    user = f"skips-{word}"
    shown = ids(ask(client, user))
    client.post("/feedback", json={"user_id": user, "item_id": shown[0], "feedback": word})
    assert shown[0] not in ids(ask(client, user, num_recommendations=40))


def test_a_later_dislike_takes_back_a_like(client):
    for word in ("like", "dislike"):
        client.post("/feedback", json={"user_id": "turns", "item_id": "i2", "feedback": word})
    body = ask(client, "turns", num_recommendations=40).json()
    assert {p["source"] for p in body["recommendations"]} == {"fallback:popular"}
    assert "i2" not in [p["item_id"] for p in body["recommendations"]]


def test_feedback_in_the_query(client):
    said = client.post("/feedback", params={"user_id": "query", "item_id": "i3", "feedback": "4.5"})
    assert said.status_code == 200
    (event,) = client.get("/users/query/history").json()["events"]
    assert (event["event_type"], event["value"]) == ("rating", 4.5)


def test_the_same_event_is_stored_once(client):
    event = {"user_id": "twice", "item_id": "i4", "event_type": "click", "event_id": "e-1"}
    told = [client.post("/events", json={"events": [event, event]}).json() for _ in range(2)]
    assert [t["stored"] for t in told] == [1, 0]
    assert [t["repeated"] for t in told] == [1, 2]
    assert len(client.get("/users/twice/history").json()["events"]) == 1


def test_bad_events_are_put_aside_with_the_reason_and_do_not_stop_the_others(client):
    events = [
        {"user_id": "q", "item_id": "i5", "event_type": "click"},
        {"user_id": "q", "event_type": "click"},
        {"user_id": "q", "item_id": "i5", "event_type": "rating"},
        7,
    ]
    told = client.post("/events", json={"events": events}).json()
    assert (told["status"], told["stored"]) == ("partly", 1)
    assert [q["number"] for q in told["quarantined"]] == [1, 2, 3]
    assert "item_id" in told["quarantined"][0]["reason"]
    kept = client.get("/admin/quarantine").json()["events"]
    assert len(kept) == 3
    assert any("needs a value" in k["reason"] for k in kept)


def test_events_that_change_no_list_are_named(client):
    def counted(reason):
        lines = client.get("/metrics").text.splitlines()
        name = f'recsmith_events_without_effect_total{{reason="{reason}"}} '
        return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))

    before = counted("unknown type"), counted("unknown item")
    events = [
        {"user_id": "n", "item_id": "i5", "event_type": "lik"},
        {"user_id": "n", "item_id": "i5", "event_type": "like"},
        {"user_id": "n", "item_id": "nothing", "event_type": "view"},
        {"user_id": "n"},
        {"user_id": "n", "item_id": "i6", "event_type": "lik"},
        {"user_id": "n", "item_id": "i6", "event_type": "rented"},
    ]
    told = client.post("/events", json={"events": events}).json()
    assert (told["stored"], [q["number"] for q in told["quarantined"]]) == (5, [3])
    assert [note["numbers"] for note in told["notes"]] == [[0, 4], [2], [5]]
    assert "Did you mean 'like'?" in told["notes"][0]["note"]
    assert "does not hold this item" in told["notes"][1]["note"]
    assert "'rented'" in told["notes"][2]["note"]
    assert (counted("unknown type") - before[0], counted("unknown item") - before[1]) == (3, 1)
    client.put("/admin/rules", json={"text": "rules: [already_bought: {events: [rented]}]"})
    assert "notes" not in client.post("/events", json={"events": events[-1:]}).json()
    client.put("/admin/rules", json={"text": "rules: []"})
    assert "notes" not in client.post("/events", json={"events": events[1:2]}).json()


def test_items_that_alone_may_or_must_not_be_in_the_list(client):
    full = ids(ask(client, "u1", num_recommendations=40))
    assert ids(ask(client, "u1", num_recommendations=40, exclude_items=full[:3])) == full[3:]
    some = [full[4], full[2], "no such item"]
    assert ids(ask(client, "u1", include_items=some)) == [full[2], full[4]]
    drama = ids(ask(client, "u1", num_recommendations=40, filters={"genres": {"contains": "Horror"}}))
    assert drama == [i for i in full if int(i[1:]) % 4 == 3]
    seen = ids(ask(client, "u1", num_recommendations=40, include_seen=True))
    assert len(seen) == 40


def test_an_anonymous_session_is_known_by_what_it_looked_at(client):
    body = client.post("/recommend", json={"context": {"recent_items": ["i7", "i9", "unknown"]}}).json()
    assert body["user_id"] is None
    assert {p["source"] for p in body["recommendations"]} == {"ease"}
    assert all(int(p["item_id"][1:]) % 2 for p in body["recommendations"])
    assert not {"i7", "i9"} & {p["item_id"] for p in body["recommendations"]}


def test_looking_changes_nothing(client):
    first = client.get("/users/u2/recommendations").json()
    second = client.get("/users/u2/recommendations").json()
    assert first["recommendations"] == second["recommendations"]
    assert ids(ask(client, "u2")) == [p["item_id"] for p in first["recommendations"]]
    assert client.get("/users/u2/history").json()["events"] == []


def test_similar_items(client, bundle):
    found = client.get("/similar/i8", params={"num_similar": 4}).json()["similar_items"]
    wanted = Bundle.load(bundle, model_class).similar(["i8"], 4)
    assert [f["item_id"] for f in found] == wanted["similar_id"].to_list()
    assert client.get("/similar/nothing").status_code == 404


def test_why_an_item_is_or_is_not_in_the_list(client):
    full = ids(ask(client, "u3", num_recommendations=40))
    listed = client.post("/explain", json={"user_id": "u3", "item_id": full[1]}).json()
    assert (listed["listed"], listed["rank"]) == (True, 2)
    late = client.post(
        "/explain", json={"user_id": "u3", "item_id": full[-1], "num_recommendations": 3}
    ).json()
    assert not late["listed"]
    assert late["standing"]["score"] < late["score_of_last"]
    had = client.get("/users/u3/history").json()["history"][0]["item_id"]
    why = client.post("/explain", json={"user_id": "u3", "item_id": had}).json()
    assert why["obstacles"] == ["The history holds it already."]


def test_a_new_item_is_seen_by_rules_at_once_and_one_that_is_gone_is_not_shown(client):
    client.post(
        "/items", json={"items": [{"item_id": "new/one", "metadata": {"title": "New", "genres": "Drama"}}]}
    )
    assert client.get("/items/new%2Fone").json()["known_to_the_model"] is False
    rules = "rules: [{pin: {item: new/one, slot: 2}, name: launch}]"
    assert client.put("/admin/rules", json={"text": rules}).status_code == 200
    body = ask(client, "u4", num_recommendations=3).json()
    assert body["recommendations"][1]["item_id"] == "new/one"
    assert body["recommendations"][1]["source"] == "rule:launch"
    assert body["recommendations"][1]["score"] is None
    first = body["recommendations"][0]["item_id"]
    client.post("/items", json={"items": [{"item_id": first, "available": False}]})
    assert first not in ids(ask(client, "u4", num_recommendations=40))
    why = client.post("/explain", json={"user_id": "u4", "item_id": first}).json()
    assert why["obstacles"] == ["The rule 'only_available' leaves it out."]
    client.post("/items", json={"items": [{"item_id": first, "available": True}]})
    client.put("/admin/rules", json={"text": "rules: []"})
    assert ids(ask(client, "u4", num_recommendations=3))[0] == first


def test_a_dry_run_of_rules_changes_nothing(client):
    before = ids(ask(client, "u5"))
    rules = "rules: [{exclude: {where: {genres: Horror}}}]"
    while not client.post("/admin/rules/dry-run", json={"text": rules}).json()["requests"]:
        pass  # exposures are written behind the answers
    told = client.post("/admin/rules/dry-run", json={"text": rules}).json()
    assert 0 < told["share"] <= 1
    assert told["changes"][0]["gone"]
    assert ids(ask(client, "u5")) == before


def test_an_erased_user_is_forgotten_at_once_and_may_come_back(client):
    client.post("/feedback", json={"user_id": "u6", "item_id": "i1", "feedback": "like"})
    assert client.get("/users/u6/history").json()["known_to_the_model"]
    told = client.delete("/users/u6").json()
    assert told["deleted"]["events"] == 1
    gone = client.get("/users/u6/history").json()
    assert (gone["known_to_the_model"], gone["history"], gone["events"]) == (False, [], [])
    assert {p["source"] for p in ask(client, "u6").json()["recommendations"]} == {"fallback:popular"}
    client.post("/feedback", json={"user_id": "u6", "item_id": "i1", "feedback": "like"})
    assert [h["item_id"] for h in client.get("/users/u6/history").json()["history"]] == ["i1"]


def test_catalogue_search(client):
    found = client.get("/items", params={"text": "TITLE 3", "limit": 50}).json()["items"]
    assert {f["item_id"] for f in found} == {"i3", *(f"i{n}" for n in range(30, 40))}


def test_metrics_never_name_a_user(client):
    ask(client, "very-secret-user")
    text = client.get("/metrics").text
    assert "recsmith_request_seconds_bucket" in text
    assert 'recsmith_answers_total{from="model"}' in text
    assert "very-secret-user" not in text


def test_a_list_that_was_shown_before_an_erasure_is_not_logged_after_it(client):
    ask(client, "in-haste")
    client.delete("/users/in-haste")
    store = client.app.state.runtime.store
    ask(client, "later")
    while not any(e.user_id == "later" for e in store.latest_exposures(1000)):
        pass  # exposures are written behind the answers
    assert not any(e.user_id == "in-haste" for e in store.latest_exposures(1000))
