"""Pages of other sites: without keys they may neither write nor read, under whatever name they reach the service."""

from __future__ import annotations

import socket

import pytest
from tests.unit.serving.live import save, served

from recsmith.errors import ParameterError
from recsmith.serving.settings import Settings
from recsmith.serving.store import Store

LIKE = {"user_id": "victim", "item_id": "i1", "feedback": "like"}
QUERY = "/feedback?user_id=victim&item_id=i1&feedback=like"
FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://127.0.0.1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return save(tmp_path_factory.mktemp("bundles"), "first")


@pytest.fixture(scope="module")
def client(bundle, tmp_path_factory):
    """A service without keys that knows one other origin and one other host name."""
    settings = {
        "cors_origins": ["https://shop.example"],
        "allowed_hosts": ["shop.example", "*.shop.example", "fe80::1"],
    }
    with served(bundle, tmp_path_factory.mktemp("open"), **settings) as client:
        yield client


def events_of(client, user="victim"):
    return client.get(f"/users/{user}/history").json()["events"]


@pytest.mark.parametrize("headers", FOREIGN, ids=lambda headers: " ".join(map("=".join, headers.items())))
def test_a_page_of_another_origin_writes_and_reads_nothing(client, headers):
    item = {"items": [{"item_id": "i1", "available": False}]}
    answers = [
        client.post("/feedback", json=LIKE, headers=headers),
        client.post(QUERY, headers=headers),
        client.post("/items", json=item, headers=headers),
        client.put("/admin/rules", json={"text": "rules: []"}, headers=headers),
        client.post("/admin/rollback", headers=headers),
        client.delete("/users/victim", headers=headers),
        client.get("/users/u1/recommendations", headers=headers),
        client.head("/users/u1/recommendations", headers=headers),
    ]
    assert [answer.status_code for answer in answers] == [403] * len(answers)
    assert answers[0].headers["content-type"] == "application/problem+json"
    assert "cors_origins" in answers[0].json()["detail"]
    assert events_of(client) == []
    assert client.get("/items/i1").json()["available"] is True


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None]
)
def test_a_body_says_that_it_is_json(client, kind):
    """Browsers send these kinds, and none, to another origin without asking it."""
    headers = {} if kind is None else {"Content-Type": kind}
    body = b'{"user_id": "victim", "item_id": "i1", "feedback": "like"}'
    for content in (body, iter([body])):
        answer = client.post("/feedback", content=content, headers=headers)
        assert answer.status_code == 415
        assert "expected application/json" in answer.json()["detail"]
    if kind is not None:  # an empty form
        assert client.post(QUERY, headers=headers).status_code == 415
    assert events_of(client) == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "OWN"},
        {"Origin": "https://tls.shop.example", "Host": "tls.shop.example"},
        {"Origin": "https://shop.example", "Sec-Fetch-Site": "cross-site"},
    ],
)
def test_own_pages_and_those_of_known_origins_write(client, headers):
    own = str(client.base_url).rstrip("/")
    headers = {name: own if value == "OWN" else value for name, value in headers.items()}
    for answer in (
        client.post("/feedback", json={**LIKE, "user_id": "own"}, headers=headers),
        client.post(QUERY.replace("victim", "own"), headers=headers),
        client.post(
            "/feedback",
            json=LIKE | {"user_id": "own"},
            headers={**headers, "Content-Type": "application/json; charset=utf-8"},
        ),
    ):
        assert answer.status_code == 200, answer.text


REBOUND = [
    "evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "evilshop.example",
    "shop.example.evil", "0.0.0.0", "203.0.113.7", "[::2]", "[::1", "a b", "@localhost", "localhost@evil.example", "",
]  # fmt: skip
OWN_NAMES = [
    "localhost", "LOCALHOST.", "localhost:8000", "127.0.0.1", "127.1.2.3:80", "[::1]", "[::1]:8000",
    "shop.example:443", "a.shop.example", "a.b.Shop.Example:8443", "[fe80::1]:80",
]  # fmt: skip


@pytest.mark.parametrize("host", REBOUND)
def test_a_name_that_was_made_to_point_here_reads_nothing(client, host):
    for path in ("/admin/keys", "/users/u1/history", "/metrics"):
        answer = client.get(path, headers={"Host": host, "Sec-Fetch-Site": "same-origin"})
        assert answer.status_code == 421, answer.text
        assert "allowed_hosts" in answer.json()["detail"]
    assert client.get("/health/ready", headers={"Host": host}).status_code == 200  # probes have no name


@pytest.mark.parametrize("host", OWN_NAMES)
def test_names_of_this_machine_and_those_that_are_set_are_answered(client, host):
    assert client.get("/model", headers={"Host": host}).status_code == 200


def test_a_request_without_a_host_name_is_no_browsers_and_is_refused(client):
    with socket.create_connection((client.base_url.host, client.base_url.port)) as line:
        line.sendall(b"GET /admin/keys HTTP/1.0\r\n\r\n")
        assert b" 421 " in line.makefile("rb").readline()


def test_the_address_that_was_called_is_a_name_of_the_service(bundle, tmp_path):
    own = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    with served(bundle, tmp_path, host="0.0.0.0") as client:
        for address in own:
            assert client.get(f"http://{address}:{client.base_url.port}/model").status_code == 200


def test_keys_are_made_and_revoked_with_a_key_only(client):
    for role in ("reader", "writer", "admin"):
        answer = client.post("/admin/keys", json={"name": "own", "role": role})
        assert answer.status_code == 403
        assert "recsmith keys add" in answer.json()["detail"]
    assert client.delete("/admin/keys/1").status_code == 403
    assert client.get("/admin/keys").json() == {"keys": []}


def test_with_keys_origins_and_names_do_not_matter(bundle, tmp_path):
    """A page of another origin has no key; a server of one's own may pass on the headers of its visitors."""
    url = f"sqlite:///{tmp_path}/events.db"
    store = Store.open(url)
    key = {"X-API-Key": store.add_key("shop", "writer")}
    store.close()
    elsewhere = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Host": "proxy.example"}
    with served(bundle, tmp_path, store_url=url, auth="keys") as client:
        assert client.post("/feedback", json=LIKE, headers=elsewhere).status_code == 401
        assert client.post("/feedback", json=LIKE, headers=elsewhere | key).status_code == 200
        assert client.post("/feedback", content=b"{}", headers=key).status_code == 415


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("allowed_hosts", "shop.example:8000", "without port"),
        ("allowed_hosts", "https://shop.example", "without port"),
        ("allowed_hosts", "cafe:80", "without port"),
        ("cors_origins", "https://shop.example/", "https://shop.example"),
        ("cors_origins", "shop.example", "https://shop.example"),
        ("trusted_proxies", "10.0.0.1/8", "10.0.0.1/8"),
        ("trusted_proxies", "proxy", "proxy"),
    ],
)
def test_a_name_that_would_never_match_is_refused(setting, value, said):
    with pytest.raises(ParameterError, match=said):
        Settings.load(None, {}, **{setting: [value]})
