"""``recsmith retrain`` beside a running A/B test: users stay in their variants, and nothing ends a test by the way."""

from __future__ import annotations

import logging
from contextlib import closing

import pytest
from tests.unit.serving.live import N_USERS, save, served, wait_for

from recsmith.serving.events import NewEvent
from recsmith.serving.logged import slots
from recsmith.serving.store import Store

NEW, OLD = "new", "old"
AUTUMN = {"name": "autumn", "variants": {OLD: {"bundle": "plain"}, NEW: {"bundle": "other"}}}
USERS = [f"u{n}" for n in range(N_USERS)]


def fashion() -> list[NewEvent]:
    """Every user likes three items that came after the bundles: whoever learns them is better."""
    return [
        NewEvent(f"e{turn}-{n}", user, f"n{turn}", "like", None, 1_700_000_000 + turn * 100 + n, None)
        for turn in range(3)
        for n, user in enumerate(USERS)
    ]


@pytest.fixture
def shop(tmp_path):
    """A service with an A/B test of two bundles, and events to learn from; gives a client, and the bundle's path."""
    path = save(tmp_path / "bundles", "plain", "popular")
    save(tmp_path / "bundles", "other", "ease", reg=50)
    with closing(Store.open(f"sqlite:///{tmp_path}/events.db")) as store:
        store.add_events(fashion())
    with served(path, tmp_path) as client:
        assert client.put("/admin/experiment", json=AUTUMN).status_code == 200
        yield client, path


def variants(client) -> list[str | None]:
    return [client.post("/recommend", json={"user_id": user}).json().get("variant") for user in USERS]


def versions(client) -> dict[str, str]:
    """Version of the bundle that answers each variant."""
    answers = [client.post("/recommend", json={"user_id": user}).json() for user in USERS]
    return {answer["variant"]: answer["model_version"] for answer in answers}


def retrained(cli, client, path, *options):
    """``retrain``, followed by the service."""
    told = cli("retrain", path, "--store", f"sqlite:///{path.parent.parent}/events.db", *options, "--json")
    wanted = {told.json["bundle"]} if told.status == 0 else set()

    def followed():
        loaded = client.get("/admin/bundles").json()["loaded"]
        return all(any(name.rpartition("/")[2] == one.partition("@")[0] for one in loaded) for name in wanted)

    if told.status == 0 and told.json["promoted"]:
        wait_for(followed)
    return told


def test_retraining_keeps_every_user_in_their_variant(cli, shop, tmp_path):
    client, path = shop
    before, old = variants(client), versions(client)
    assert set(before) == {OLD, NEW}
    told = retrained(cli, client, path)
    assert (told.json["promoted"], told.json["ab_test"], told.json["variants"]) == (True, "autumn", [OLD])
    (other,) = told.json["others"]
    assert (other["promoted"], other["variants"]) == (True, [NEW])
    assert variants(client) == before
    new = versions(client)
    assert new[OLD].partition("@")[0] == told.json["bundle"].rpartition("/")[2]
    assert new[NEW].partition("@")[0] == other["bundle"].rpartition("/")[2]
    assert not set(new.values()) & set(old.values())
    store = client.app.state.runtime.store
    wait_for(lambda: store.newest_exposure() >= 4 * N_USERS)
    shown = slots(store).unique("recomm_id").sort("timestamp")
    assert set(shown["experiment"]) == {"autumn"}
    assert set(shown.filter(shown["variant"] == NEW)["model_version"]) == {old[NEW], new[NEW]}


def test_one_variant_alone_is_retrained(cli, shop):
    client, path = shop
    before, old = variants(client), versions(client)
    told = retrained(cli, client, path, "--variant", NEW)
    assert (told.json["variants"], told.json["others"]) == ([NEW], [])
    assert variants(client) == before
    new = versions(client)
    assert new[OLD] == old[OLD]
    assert new[NEW] != old[NEW]
    assert client.get("/health").json()["model_version"] == old[OLD]
    assert (
        cli("retrain", path, "--store", client.app.state.runtime.settings.store_url, "--variant", "x").status
        == 2
    )


def test_a_test_ends_where_that_is_asked_for(cli, shop, caplog):
    client, path = shop
    with caplog.at_level(logging.INFO, logger="recsmith.serving"):
        told = retrained(cli, client, path, "--end-ab-test")
    assert (told.json["ab_test"], told.json["promoted"]) == (None, True)
    assert set(variants(client)) == {None}
    assert "the A/B test 'autumn' has ended" in caplog.messages
    state = client.app.state.runtime.settings.store_url
    assert cli("retrain", path, "--store", state, "--variant", NEW, "--end-ab-test").status == 2


@pytest.mark.parametrize(
    ("method", "route", "body"),
    [
        ("POST", "/admin/bundles/other/activate", None),
        ("POST", "/admin/rollback", None),
        ("PUT", "/admin/experiment", {**AUTUMN, "name": "winter"}),
    ],
)
def test_nothing_else_ends_a_test_in_silence(shop, method, route, body):
    client, _ = shop
    client.post("/admin/bundles/other/activate", params={"end_ab_test": True})
    client.put("/admin/experiment", json=AUTUMN)
    before = variants(client)
    refused = client.request(method, route, json=body)
    assert refused.status_code == 409
    assert "'autumn' runs" in refused.json()["detail"]
    assert variants(client) == before
    assert client.request(method, route, json=body, params={"end_ab_test": True}).status_code == 200
    assert (client.get("/admin/bundles").json()["experiment"] or {}).get("name") != "autumn"


def test_a_bundle_goes_into_a_variant(shop):
    client, path = shop
    save(path.parent, "third", "popular")
    before = variants(client)
    done = client.post("/admin/bundles/third/activate", params={"variant": NEW})
    assert done.status_code == 200
    assert variants(client) == before
    assert versions(client)[NEW] == done.json()["model_version"]
    assert client.post("/admin/bundles/third/activate", params={"variant": "x"}).status_code == 422
    assert client.put("/admin/experiment", json=AUTUMN).status_code == 200  # the same test may be changed
    assert variants(client) == before
    client.delete("/admin/experiment")
    assert set(variants(client)) == {None}
    assert client.post("/admin/bundles/third/activate", params={"variant": NEW}).status_code == 422


def test_what_was_said_to_a_service_of_another_bundle_is_not_followed(shop, tmp_path):
    """A service that is started with another bundle answers from that one, whatever setting changes then."""
    client, path = shop
    third = save(path.parent, "third", "popular")
    with served(third, tmp_path) as other:
        assert other.put("/admin/rules", json={"text": "rules: [diversity: {mmr: 0.5}]"}).status_code == 200
        assert other.put("/admin/experiment", json={**AUTUMN, "name": "winter"}).status_code == 200
        state = client.app.state.runtime.store.settings()["active"]
        assert state["path"] == str(third)
