"""Metadata that no answer can hold: refused at the door, and harmless where an older version took it."""

from __future__ import annotations

import logging

import pytest
from tests.unit.serving.live import ids, save, served

from recsmith.errors import ParameterError, UnknownIdError
from recsmith.serving.events import Item
from recsmith.serving.rules import Rules
from recsmith.serving.store import Store


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return save(tmp_path_factory.mktemp("bundles"), "first")


@pytest.fixture(scope="module")
def client(bundle, tmp_path_factory):
    with served(bundle, tmp_path_factory.mktemp("store")) as client:
        yield client


def put(client, metadata):
    body = f'{{"items": [{{"item_id": "i1", "metadata": {metadata}}}]}}'
    return client.post("/items", content=body.encode(), headers={"Content-Type": "application/json"})


@pytest.mark.parametrize(
    "metadata",
    [
        f'{{"n": {2**63}}}',
        f'{{"n": {-(2**63) - 1}}}',
        '{"n": 1' + "0" * 400 + "}",
        '{"n": 1' + "0" * 5000 + "}",
        '{"n": 1e400}',
        '{"n": NaN}',
        '{"n": -Infinity}',
        f'{{"deep": {{"n": [1, {2**70}]}}}}',
        r'{"title": "a\u0000b"}',
        r'{"a\u0000b": 1}',
        r'{"title": "\ud800"}',
        '{"n": ' + "[" * 16 + "]" * 16 + "}",
        '{"n": ' + "[" * 5000 + "]" * 5000 + "}",
        '{"n": "' + "x" * 65_536 + '"}',
        "[]",
        '"text"',
    ],
    ids=lambda text: text[:24],
)  # fmt: skip
def test_metadata_that_no_answer_can_hold_is_refused(client, metadata):
    answer = put(client, metadata)
    assert answer.status_code == 422, answer.text
    assert "metadata" in answer.json()["detail"] or "JSON" in answer.json()["detail"]
    assert client.get("/items/i1").json()["metadata"]["title"] == "Title 1"


@pytest.mark.parametrize(
    "metadata", [f'{{"n": {2**63 - 1}}}', f'{{"n": {-(2**63)}}}', '{"n": 0.1, "m": [null, {"x": true}], "ü": "🎬"}',
                 '{"n": ' + "[" * 15 + "]" * 15 + "}"],
)  # fmt: skip
def test_all_else_is_kept_as_it_is(client, metadata):
    import json

    assert put(client, metadata).status_code == 200
    held = client.get("/items/i1").json()["metadata"]
    assert {**held, **json.loads(metadata)} == held
    assert put(client, "{}").status_code == 200


def test_an_item_that_is_there_already_spoils_no_list(bundle, tmp_path, caplog):
    url = f"sqlite:///{tmp_path}/events.db"
    store = Store.open(url)
    bad = {"i1": {"n": 2**70}, "i2": {"n": 10**400}, "i3": {"title": "\ud800"}, "new": {"n": [2**64]}}
    store.upsert_items([Item(item, metadata, True) for item, metadata in bad.items()])
    store.close()
    with caplog.at_level(logging.WARNING), served(bundle, tmp_path, store_url=url) as client:
        for item in bad:
            assert client.get(f"/items/{item}").status_code == 200
            client.post("/feedback", json={"user_id": "fan", "item_id": item, "feedback": "like"})
        for _ in range(2):
            body = {"num_recommendations": 40, "explain": True}
            assert set(ids(client.post("/recommend", json={"user_id": "nobody", **body}))) >= {
                "i1",
                "i2",
                "i3",
            }
            assert client.get("/users/fan/history").status_code == 200
            assert client.get("/items?limit=50").status_code == 200
            assert client.get("/similar/i1?num_similar=39").status_code == 200
            assert client.post("/recommend", json={"filters": {"n": {"gt": 3}}}).status_code == 200
    said = [r.getMessage() for r in caplog.records if "cannot be read" in r.getMessage()]
    assert len(said) == 2  # of i2 and i3, once each; a number beyond 64 bits is shown as a float


def test_rules_that_no_answer_can_hold_are_refused(client):
    for text in (
        f"rules: [{{pin: {{item: i1, slot: {2**70}}}}}]",
        f"rules: [{{at_most: {{field: title, n: {2**64}}}}}]",
    ):
        with pytest.raises(ParameterError, match="64 bits"):
            Rules.read(text)
        assert 400 <= client.put("/admin/rules", json={"text": text}).status_code < 500
    assert client.get("/admin/rules").status_code == 200


@pytest.mark.parametrize("key_id", [-1, 0, 7, 2**31, 2**63, 10**20])
def test_no_number_is_too_long_for_an_unknown_key(store, key_id):
    with pytest.raises(UnknownIdError):
        store.revoke_key(key_id)


def test_a_key_is_revoked_by_its_number_only(bundle, tmp_path):
    url = f"sqlite:///{tmp_path}/events.db"
    store = Store.open(url)
    admin = {"X-API-Key": store.add_key("ops", "admin")}
    store.close()
    with served(bundle, tmp_path, store_url=url, auth="keys") as client:
        for key_id in ("99999999999999999999", "-1", "0", "2147483648", "9" * 5000):
            assert client.delete(f"/admin/keys/{key_id}", headers=admin).status_code in (404, 422)
