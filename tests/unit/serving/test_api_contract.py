"""The API against its own document, against rubbish, and with ids that are no pleasant words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.serving.live import ids, save, served

from recsmith.serving.store import Store

HOSTILE = [
    "a/b",
    "a/b/history",
    "/",
    "%2F",
    "100%",
    "a b",
    "..a",
    "ünï-✨🎬",
    "'; DROP TABLE events; --",
    '" OR 1=1',
    "x\r\nSet-Cookie: a=b",
    "<script>alert(1)</script>",
    "?a=b#c",
    "007",
    "-1",
    "z" * 512,
]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return save(tmp_path_factory.mktemp("bundles"), "first")


@pytest.fixture(scope="module")
def client(bundle, tmp_path_factory):
    with served(bundle, tmp_path_factory.mktemp("store"), body_bytes=1 << 26) as client:
        yield client


def test_the_api_does_what_its_document_says(bundle, tmp_path):
    """Every check of Schemathesis; ``benchmarks/contract.py`` makes more cases."""
    url = f"sqlite:///{tmp_path}/events.db"
    store = Store.open(url)
    secret = store.add_key("contract", "admin")
    store.close()
    with served(bundle, tmp_path, store_url=url, auth="keys", body_bytes=1 << 26) as client:
        command = [
            str(Path(sys.executable).with_name("schemathesis")), "run", f"{client.base_url}/openapi.json",
            "--header", f"X-API-Key: {secret}", "--checks", "all",
            "--max-examples", "10", "--seed", "1",
        ]  # fmt: skip
        found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert found.returncode == 0, found.stdout[-4000:]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
NAMES = [
    "user_id", "item_id", "num_recommendations", "exclude_items", "include_items", "filters", "context", "explain",
    "requests", "feedback", "events", "event_type", "event_id", "value", "timestamp", "items", "metadata", "text",
    "name",
]  # fmt: skip
BODY = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=5).map(json.dumps).map(str.encode) | st.binary(
    max_size=60
)
PATHS = ["/recommend", "/recommend/batch", "/feedback", "/events", "/items", "/explain", "/admin/keys"]


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(PATHS), BODY), min_size=50, max_size=50))
def test_ten_thousand_bodies_of_rubbish_fail_no_request(client, bodies):
    for path, body in bodies:
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code < 500, (path, body, answer.text)
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["detail"]


@pytest.mark.parametrize("user", HOSTILE)
def test_any_text_is_an_id(client, user):
    said = client.post("/feedback", json={"user_id": user, "item_id": "i1", "feedback": "like"})
    assert said.json()["status"] == "stored"
    path = f"/users/{quote(user, safe='')}"
    history = client.get(f"{path}/history").json()
    assert history["user_id"] == user
    assert [h["item_id"] for h in history["history"]] == ["i1"]
    assert ids(client.get(f"{path}/recommendations")) == ids(
        client.post("/recommend", json={"user_id": user})
    )
    client.post("/items", json={"items": [{"item_id": user, "metadata": {"title": user}}]})
    item = client.get(f"/items/{quote(user, safe='')}")
    assert item.json()["metadata"]["title"] == user
    assert "set-cookie" not in item.headers
    assert client.delete(path).json()["deleted"]["events"] == 1


@pytest.mark.parametrize("user", ["", "x" * 513, "x" * 10_000, "a\0b", None, True, 1.5, ["a"]])
def test_what_is_no_id_is_refused(client, user):
    body = {"user_id": user, "item_id": "i1", "feedback": "like"}
    answer = client.post("/feedback", json=body)
    assert answer.status_code == 422
    assert "user_id" in answer.json()["detail"]


def test_the_page_is_whole_and_asks_nobody_else(client):
    page = client.get("/")
    assert page.headers["content-security-policy"].startswith("default-src 'self';")
    for part in ("app.js", "style.css", "icon.svg"):
        assert f"/page/{part}" in page.text
        text = client.get(f"/page/{part}").text
        text = text.replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text
        assert "https:" not in text
