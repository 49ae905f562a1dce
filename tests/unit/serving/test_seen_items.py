"""What a user has had or does not want stays out, however long ago it was, and whoever pins it."""

from __future__ import annotations

import pytest
from tests.unit.serving.live import ids, save, served

from recsmith.serving.events import NewEvent

READ = 5  # events of a user that the model reads


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    bundle = save(tmp_path_factory.mktemp("bundles"), "first", reg=50)
    with served(bundle, tmp_path_factory.mktemp("store"), history_length=READ) as client:
        yield client


def said(client, user, *words):
    """Events of a user in the order given: (item, word)."""
    events = [
        {"user_id": user, "item_id": item, "event_type": word, "timestamp": 1_700_000_000 + n}
        for n, (item, word) in enumerate(words)
    ]
    assert client.post("/events", json={"events": events}).json()["stored"] == len(words)


def listed(client, user, **more):
    return ids(client.post("/recommend", json={"user_id": user, "num_recommendations": 40, **more}))


def test_what_was_had_before_the_history_that_is_read_does_not_come_back(client):
    had = [f"i{n}" for n in range(20)]
    said(client, "long", *((item, "like") for item in had))
    assert set(listed(client, "long")) == {f"i{n}" for n in range(20, 40)}
    assert len(client.get("/users/long/history").json()["history"]) == READ
    assert set(listed(client, "long", include_seen=True)) == {f"i{n}" for n in range(40)}
    why = client.post("/explain", json={"user_id": "long", "item_id": "i0"}).json()
    assert why["obstacles"] == ["The history holds it already."]


def test_an_old_word_counts_as_a_new_one_would(client):
    views = [(f"i{n}", "view") for n in range(30, 30 + READ)]
    said(
        client, "turns", ("i0", "like"), ("i0", "dislike"), ("i1", "dislike"), ("i1", "like"), ("i2", "skip"),
        ("i3", "dislike"), ("i4", "unknown"), *views[1:], ("i3", "like"),
    )  # fmt: skip
    seen_too = set(listed(client, "turns", include_seen=True))
    assert seen_too == {f"i{n}" for n in range(40)} - {"i0", "i2"}
    assert set(listed(client, "turns")) == seen_too - {"i1", "i3"} - {item for item, _ in views[1:]}


def test_an_old_dislike_takes_an_event_of_the_training_back(client):
    had = client.get("/users/u7/history").json()["history"][0]["item_id"]
    said(client, "u7", (had, "dislike"), *((f"i{2 * n}", "view") for n in range(READ)))  # of the other parity
    assert had not in [h["item_id"] for h in client.get("/users/u7/history").json()["history"]]
    assert had not in listed(client, "u7", include_seen=True)


def test_a_purchase_of_long_ago_is_a_purchase(client):
    rules = "rules: [already_bought: {events: [purchase]}]"
    client.put("/admin/rules", json={"text": rules})
    said(
        client, "buyer", ("i0", "purchase"), ("i0", "view"), *((f"i{n}", "view") for n in range(1, 1 + READ))
    )
    assert "i0" not in listed(client, "buyer", include_seen=True)
    client.put("/admin/rules", json={"text": "rules: []"})


@pytest.mark.parametrize("word", ["like", "purchase", "dislike", "skip"])
def test_a_pinned_new_item_leaves_its_slot_once_a_user_has_had_it(client, word):
    user = f"pins-{word}"
    client.post("/items", json={"items": [{"item_id": "launch", "metadata": {"title": "Launch"}}]})
    client.put("/admin/rules", json={"text": "rules: [pin: {item: launch, slot: 1}]"})
    assert listed(client, user)[0] == "launch"
    said(client, user, ("launch", word))
    assert "launch" not in listed(client, user)
    wanted = word in ("like", "purchase")
    assert (listed(client, user, include_seen=True)[0] == "launch") == wanted
    client.put("/admin/rules", json={"text": "rules: [pin: {item: launch, slot: 1, always: true}]"})
    assert listed(client, user)[0] == "launch"
    assert "launch" not in listed(client, user, exclude_items=["launch"])
    client.put("/admin/rules", json={"text": "rules: []"})


def test_an_event_before_the_item_was_added_counts_when_it_is(client):
    said(client, "early", ("soon", "purchase"))
    assert "soon" not in listed(client, "early")
    client.post("/items", json={"items": [{"item_id": "soon"}]})
    client.put("/admin/rules", json={"text": "rules: [pin: {item: soon, slot: 1}]"})
    assert listed(client, "nobody")[0] == "soon"
    assert "soon" not in listed(client, "early")
    client.put("/admin/rules", json={"text": "rules: []"})


def test_older_events_are_the_latest_of_each_item_and_type(store):
    words = [("a", "like"), ("a", "view"), ("a", "like"), ("b", "rating"), ("c", "view"), ("d", "view")]
    store.add_events(
        [
            NewEvent(f"{user}{n}", user, item, word, float(n), 100 + n, None)
            for user in ("ann", "bob")
            for n, (item, word) in enumerate(words)
        ]
    )
    events = store.history(["ann"], 2)["ann"]
    assert [(e.item_id, e.event_type, e.value, e.timestamp) for e in store.older("ann", events[0])] == [
        ("a", "view", 1.0, 101),
        ("a", "like", 2.0, 102),
        ("b", "rating", 3.0, 103),
    ]
    (first,) = store.older("ann", store.history(["ann"], 5)["ann"][0])
    assert (first.item_id, first.timestamp) == ("a", 100)
    assert store.older("ann", store.history(["ann"], 6)["ann"][0]) == []
    assert store.older("nobody", events[0]) == []
