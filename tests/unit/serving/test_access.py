"""Who may do what: keys, roles, limits, and what a refusal says."""

from __future__ import annotations

import logging
import re

import pytest
from tests.unit.serving.live import save, served

from recsmith.serving.store import Store

ROUTES = [
    ("POST", "/recommend", "reader"),
    ("POST", "/recommend/batch", "reader"),
    ("GET", "/users/u1/recommendations", "reader"),
    ("GET", "/users/u1/history", "reader"),
    ("GET", "/similar/i1", "reader"),
    ("POST", "/explain", "reader"),
    ("GET", "/model", "reader"),
    ("GET", "/items", "reader"),
    ("GET", "/items/i1", "reader"),
    ("GET", "/metrics", "reader"),
    ("POST", "/feedback", "writer"),
    ("POST", "/events", "writer"),
    ("POST", "/items", "writer"),
    ("PUT", "/items/i1", "writer"),
    ("PATCH", "/items/i1", "writer"),
    ("DELETE", "/items/nobody", "writer"),
    ("DELETE", "/users/nobody", "admin"),
    ("GET", "/admin/bundles", "admin"),
    ("POST", "/admin/bundles/none/activate", "admin"),
    ("POST", "/admin/rollback", "admin"),
    ("PUT", "/admin/experiment", "admin"),
    ("DELETE", "/admin/experiment", "admin"),
    ("GET", "/admin/rules", "admin"),
    ("PUT", "/admin/rules", "admin"),
    ("POST", "/admin/rules/dry-run", "admin"),
    ("GET", "/admin/keys", "admin"),
    ("POST", "/admin/keys", "admin"),
    ("DELETE", "/admin/keys/99", "admin"),
    ("GET", "/admin/quarantine", "admin"),
]
ORDER = ["reader", "writer", "admin"]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("access")
    url = f"sqlite:///{folder}/events.db"
    store = Store.open(url)
    secrets = {role: store.add_key(role, role) for role in ORDER}
    store.close()
    with served(
        save(folder, "first"), folder, store_url=url, auth="keys", body_bytes=20_000, list_length=200
    ) as client:
        yield client, secrets


def test_every_route_is_in_the_table(service):
    client, _ = service
    known = {(method, path.split("/")[1]) for method, path, _ in ROUTES}
    for path, about in client.get("/openapi.json").json()["paths"].items():
        for method in about:
            assert path.startswith("/health") or (method.upper(), path.split("/")[1]) in known, path


@pytest.mark.parametrize(("method", "path", "role"), ROUTES)
def test_a_route_wants_its_role(service, method, path, role):
    client, secrets = service
    for given in (None, "rs_wrong", "", "\xff", "x" * 10_000):
        headers = {} if given is None else {"X-API-Key": given.encode("latin-1")}
        answer = client.request(method, path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == 401
    for number, holder in enumerate(ORDER):
        answer = client.request(method, path, headers={"X-API-Key": secrets[holder]})
        assert (answer.status_code == 403) == (number < ORDER.index(role)), (holder, answer.text)
        assert answer.status_code != 401
        assert answer.status_code < 500


def test_open_routes_want_no_key(service):
    client, _ = service
    for path in ("/", "/health", "/health/live", "/health/ready", "/docs", "/openapi.json", "/page/app.js"):
        assert client.get(path).status_code == 200, path


def test_a_bearer_token_is_a_key(service):
    client, secrets = service
    assert client.get("/items", headers={"Authorization": f"Bearer {secrets['reader']}"}).status_code == 200


def test_a_key_is_made_used_and_revoked(service):
    client, secrets = service
    admin = {"X-API-Key": secrets["admin"]}
    made = client.post("/admin/keys", headers=admin, json={"name": "shop", "role": "reader"})
    assert made.status_code == 201
    own = {"X-API-Key": made.json()["secret"]}
    assert client.get("/items", headers=own).status_code == 200
    listed = client.get("/admin/keys", headers=admin)
    assert made.json()["secret"] not in listed.text
    number = next(k["id"] for k in listed.json()["keys"] if k["name"] == "shop")
    assert client.delete(f"/admin/keys/{number}", headers=admin).status_code == 200
    assert client.get("/items", headers=own).status_code == 401


def test_no_secret_in_any_log(service, caplog):
    client, secrets = service
    with caplog.at_level(logging.DEBUG):
        for secret in (secrets["admin"], "rs_a-wrong-secret"):
            client.get("/admin/bundles", headers={"X-API-Key": secret})
            client.get(f"/nowhere?key={secret}", headers={"X-API-Key": secret})
    text = "\n".join(str(record.__dict__) for record in caplog.records if record.name.startswith("recsmith"))
    assert "rs_" not in text


def test_a_body_that_is_too_long_is_refused_whether_or_not_its_length_is_told(service):
    client, secrets = service
    headers = {"X-API-Key": secrets["writer"], "Content-Type": "application/json"}
    long = b'{"events": [' + b" " * 30_000 + b"1]}"
    assert client.post("/events", headers=headers, content=long).status_code == 413
    parts = (long[at : at + 1000] for at in range(0, len(long), 1000))
    assert client.post("/events", headers=headers, content=parts).status_code == 413


def test_too_many_requests_are_told_to_wait(tmp_path):
    with served(save(tmp_path, "first"), tmp_path, rate_per_minute=5) as client:
        answers = [client.get("/items") for _ in range(8)]
        limited = [a for a in answers if a.status_code == 429]
        assert len(limited) >= 1  # a new minute may begin in between
        assert 1 <= int(limited[0].headers["Retry-After"]) <= 61
        assert client.get("/health/live").status_code == 200


def test_other_sites_may_not_ask_unless_they_are_named(service):
    client, _ = service
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in client.options("/recommend", headers=asked).headers


def test_a_page_of_a_named_origin_may_call_and_read_refusals(tmp_path):
    """Without the headers of CORS its browser would say no more than that the network failed."""
    page = {"Origin": "https://shop.example", "Sec-Fetch-Site": "cross-site"}
    key = {"X-API-Key": "rs_wrong"}
    settings = {"cors_origins": ["https://shop.example"], "rate_per_minute": 30, "body_bytes": 1024}
    with served(save(tmp_path, "first"), tmp_path, auth="keys", **settings) as client:
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            asked = {
                "Access-Control-Request-Method": method,
                "Access-Control-Request-Headers": "x-api-key,content-type",
            }
            preflight = client.options("/items", headers=page | asked)
            assert preflight.status_code == 200, preflight.text
            assert preflight.headers["access-control-allow-origin"] == "https://shop.example"
        refused = [client.get("/items", headers=page | key)]
        refused.append(client.post("/events", json={"events": ["x" * 2000]}, headers=page | key))
        refused += [client.get("/nowhere", headers=page | key)]
        while refused[-1].status_code != 429:
            refused.append(client.get("/items", headers=page | key))
        assert {401, 413, 429} <= {answer.status_code for answer in refused}
        for answer in refused:
            assert answer.headers["access-control-allow-origin"] == "https://shop.example"
            assert "Retry-After" in answer.headers["access-control-expose-headers"]


def test_a_forwarded_address_counts_from_a_trusted_proxy_only(tmp_path):
    bundle = save(tmp_path, "first")

    def limited(client, **headers):
        """Whether 20 requests that say to come from 20 addresses are too many; 5 of one are."""
        sent = [{"X-Forwarded-For": f"203.0.113.{n}", **headers} for n in range(20)]
        return 429 in [client.get("/items", headers=one).status_code for one in sent]

    with served(bundle, tmp_path, rate_per_minute=5) as client:
        assert limited(client)
    with served(bundle, tmp_path, rate_per_minute=5, trusted_proxies=["10.0.0.0/8"]) as client:
        assert limited(client)
    with served(bundle, tmp_path, rate_per_minute=5, trusted_proxies=["127.0.0.0/8"]) as client:
        assert not limited(client)
        same = [
            client.get("/items", headers={"X-Forwarded-For": f"198.51.100.{n}, 203.0.113.99"})
            for n in range(20)
        ]
        assert 429 in [answer.status_code for answer in same]  # the last one is what the proxy saw


def test_head_is_get_without_a_body(service):
    client, secrets = service
    admin = {"X-API-Key": secrets["admin"]}
    for path in ("/health", "/health/live", "/health/ready", "/", "/docs", "/page/app.js", "/openapi.json", "/metrics",
                 "/items", "/model", "/users/u1/history", "/admin/keys"):  # fmt: skip
        head, got = client.head(path, headers=admin), client.get(path, headers=admin)
        assert (head.status_code, head.content) == (200, b""), path
        assert head.headers["content-type"] == got.headers["content-type"]
        if path not in ("/metrics", "/health"):
            assert head.headers["content-length"] == str(len(got.content))
    assert client.head("/items").status_code == 401
    assert client.head("/recommend", headers=admin).status_code == 405
    assert client.head("/nowhere", headers=admin).status_code == 404


def test_no_answer_may_be_framed(service):
    client, secrets = service
    for path in ("/", "/docs", "/health", "/items", "/nowhere", "/page/icon.svg"):
        headers = client.get(path, headers={"X-API-Key": secrets["admin"]}).headers
        assert headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_requests_have_ids(service):
    client, _ = service
    assert client.get("/health", headers={"X-Request-ID": "mine-1"}).headers["x-request-id"] == "mine-1"
    made = client.get("/health", headers={"X-Request-ID": "no\tgood"}).headers["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{12}-[0-9a-f]+", made)


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/recommend", {"user_id": "u1", "num_recommendation": 3}, "num_recommendation"),
        ("/recommend", {"user_id": "u1", "num_recommendations": 3, "k": 3}, "k"),
        ("/recommend", {"user_id": True}, "user_id"),
        ("/recommend", {"num_recommendations": 0}, "num_recommendations"),
        ("/recommend", {"num_recommendations": 999}, "at most 200"),
        ("/recommend", {"filters": {"genres": {"like": "Drama"}}}, "'like'"),
        ("/feedback", {"user_id": "u1", "item_id": "i1", "feedback": "lik"}, "'like'"),
        ("/feedback", {"user_id": "u1", "item_id": "i1"}, "feedback"),
        ("/events", {"events": []}, "events"),
        ("/items", {"items": [{"item_id": ""}]}, "item_id"),
        ("/admin/experiment", {"name": "e", "variants": {"a": {"bundle": "../x"}}}, "variants.a.bundle"),
    ],
)
def test_bad_input_is_told_where_and_what_was_wanted(service, path, body, said):
    client, secrets = service
    method = "PUT" if path.startswith("/admin") else "POST"
    answer = client.request(method, path, json=body, headers={"X-API-Key": secrets["admin"]})
    assert answer.status_code == 422, answer.text
    assert said in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/recommend", {"filters": {"genre": "Drama"}}, "'genre'"),
        ("/feedback", {"user_id": "u1", "item_id": "i1", "feedback": 17}, "from 1 to 5"),
        ("/admin/rules", {"text": "rules: [{bosst: 1}]"}, "'boost'"),
        ("/admin/rules", {"text": "rules: [{at_most: {field: genre, n: 1}}]"}, "'genre'"),
        ("/admin/rules", {"text": "\x17"}, "YAML"),
        ("/admin/rules/dry-run", {"text": "no rules"}, "rules"),
    ],
)
def test_what_the_document_allows_and_the_service_cannot_use_is_a_conflict(service, path, body, said):
    """Its document cannot say which fields items have, what scale the model has, or what is a rule in YAML."""
    client, secrets = service
    method = "PUT" if path == "/admin/rules" else "POST"
    answer = client.request(method, path, json=body, headers={"X-API-Key": secrets["admin"]})
    assert answer.status_code == 409, answer.text
    assert said in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("GET", "/users/u1/recommendations?k=3&num_recommendations=5", "There is no query parameter of"),
        ("GET", "/users/u1/recommendations?num_recommendation=5", "Did you mean 'num_recommendations'?"),
        ("GET", "/similar/i1?k=3", "num_similar"),
        ("GET", "/items?query=x", "text"),
        ("POST", "/feedback?user_id=u1&item_id=i1&feedbak=like", "feedback"),
        ("POST", "/recommend?user_id=u1", "user_id"),
        ("DELETE", "/users/u1?dry_run=true", "dry_run"),
    ],
)
def test_a_query_parameter_that_nothing_reads_is_refused(service, method, path, said):
    client, secrets = service
    answer = client.request(method, path, headers={"X-API-Key": secrets["admin"]})
    assert answer.status_code == 422, answer.text
    assert said in answer.json()["detail"]


def test_feedback_is_in_the_body_or_in_the_query(service):
    client, secrets = service
    body = {"user_id": "u1", "item_id": "i1", "feedback": "like"}
    answer = client.post("/feedback?feedback=dislike", json=body, headers={"X-API-Key": secrets["writer"]})
    assert answer.status_code == 422
    assert "Got both" in answer.json()["detail"]


def test_what_is_no_json_is_refused(service):
    client, secrets = service
    headers = {"X-API-Key": secrets["admin"], "Content-Type": "application/json"}
    for body in (b"{", b"\xff{", '{"user_id": "é'.encode()):
        answer = client.post("/recommend", content=body, headers=headers)
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert "b'" not in answer.text
        assert 'b\\"' not in answer.text
    assert 'Got {"user_id": "é.' in answer.json()["detail"]
