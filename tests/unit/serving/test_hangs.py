"""PostgreSQL that does not answer: stopped, locked by another session, or without a connection to give."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest
import sqlalchemy as sa
from tests.unit.serving.live import ids, save, served
from tests.unit.serving.test_faults import wait_for

from recsmith.errors import StorageError
from recsmith.serving.database import Patience
from recsmith.serving.events import NewEvent
from recsmith.serving.store import Store

LIMITS = {"store_read_seconds": 0.3, "store_write_seconds": 0.5}
_LONG_S = 30  # much more than any limit, and less than the tests wait


def event(event_id):
    return NewEvent(event_id, "u", "i", "view", None, 100, None)


def processes(postgres):
    """The server's processes, the one that accepts connections first."""
    first = psutil.Process(int((Path(postgres.pgdata) / "postmaster.pid").read_text().split()[0]))
    return [first, *first.children(recursive=True)]


@contextmanager
def frozen(postgres):
    """The server is stopped (SIGSTOP): what is sent to it arrives, and nothing comes back."""
    stopped = processes(postgres)
    for process in stopped:
        process.suspend()
    try:
        yield
    finally:
        for process in stopped:
            process.resume()


@contextmanager
def locked(postgres_url):
    """Another session holds the events."""
    with psycopg.connect(postgres_url) as connection:
        connection.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        yield


@contextmanager
def used_up(postgres_url):
    """The server ends the connections that there are, and gives no other."""
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute("ALTER ROLE shop CONNECTION LIMIT 0")
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'shop'")
        try:
            yield
        finally:
            admin.execute("ALTER ROLE shop CONNECTION LIMIT -1")


@pytest.fixture
def shop_url(postgres_url):
    """The same for a user with limits, which the administrator has not."""
    schema = postgres_url.rpartition("search_path%3D")[2]
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        if not admin.execute("SELECT FROM pg_roles WHERE rolname = 'shop'").rowcount:
            admin.execute("CREATE ROLE shop LOGIN")
        admin.execute(f"ALTER SCHEMA {schema} OWNER TO shop")
    return postgres_url.replace("//postgres:@", "//shop:@")


def ends(call):
    """What a call raises, in time; without one it is an error of the test, and not its end."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).exception(timeout=_LONG_S)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return save(tmp_path_factory.mktemp("bundles"), "first", reg=50)


def test_a_frozen_server_holds_nobody(postgres, postgres_url):
    store = Store.open(postgres_url, Patience(read_s=0.2, write_s=0.3))
    store.add_events([event("before")])
    calls = (store.mark, lambda: store.history(["u"], 1), lambda: store.add_events([event("new")]))
    with ExitStack() as stack:
        stack.enter_context(frozen(postgres))
        for call in calls:
            error = ends(call)
            assert isinstance(error, StorageError)
            assert "Nothing is half-written" in str(error)
        assert store.failing is not None
    assert store.add_events([event("new"), event("before")]) == [True, False]
    assert store.failing is None
    store.close()


def test_a_lock_of_another_session_holds_nobody(postgres_url):
    store = Store.open(postgres_url, Patience(read_s=0.2, write_s=0.3))
    with locked(postgres_url):
        for call in (lambda: store.history(["u"], 1), lambda: store.add_events([event("new")])):
            assert "statement timeout" in str(ends(call))
        assert store.mark() == 0  # what is not locked is read, through the same connections
    assert store.add_events([event("new")]) == [True]
    store.close()


def test_a_commit_without_an_answer_is_said_to_be_unknown_and_may_be_made_again(postgres, postgres_url):
    store = Store.open(postgres_url, Patience(read_s=0.2, write_s=0.3))
    hold = ExitStack()

    def freeze(_connection):
        hold.enter_context(frozen(postgres))

    sa.event.listen(sa.Engine, "commit", freeze)
    try:
        error = ends(lambda: store.add_events([event("a")]))
    finally:
        sa.event.remove(sa.Engine, "commit", freeze)
        hold.close()
    assert isinstance(error, StorageError)
    assert "may be stored or not" in str(error)
    store.add_events([event("a")])
    assert [found.event_id for found in store.history(["u"], 9)["u"]] == ["a"]
    store.close()


def test_a_transaction_whose_client_went_silent_frees_its_locks(postgres_url):
    silent = Store.open(postgres_url, Patience(read_s=0.2, write_s=0.2))
    other = Store.open(postgres_url, Patience(read_s=0.2, write_s=_LONG_S))
    inside, done = threading.Event(), threading.Event()

    def wait(_connection, _cursor, statement, *_rest):
        if "INSERT INTO events" in statement and not inside.is_set():
            inside.set()
            done.wait(_LONG_S)

    sa.event.listen(sa.Engine, "after_cursor_execute", wait)
    try:
        with ThreadPoolExecutor(1) as pool:
            late = pool.submit(silent.add_events, [event("silent")])
            assert inside.wait(_LONG_S)
            assert other.add_events([event("other")]) == [True]
            done.set()
            assert isinstance(late.exception(_LONG_S), StorageError)
    finally:
        done.set()
        sa.event.remove(sa.Engine, "after_cursor_execute", wait)
    for store in (silent, other):
        store.close()


def like(client, user, item, event_id):
    return client.post(
        "/feedback", json={"user_id": user, "item_id": item, "feedback": "like", "event_id": event_id}
    )


def recommended(client, user):
    return client.post("/recommend", json={"user_id": user, "num_recommendations": 40})


@pytest.mark.parametrize("fault", ["frozen", "locked", "used up"])
def test_lists_go_on_feedback_is_refused_and_health_says_it(
    bundle, tmp_path, postgres, postgres_url, shop_url, fault
):
    faults = {
        "frozen": lambda: frozen(postgres),
        "locked": lambda: locked(postgres_url),
        "used up": lambda: used_up(postgres_url),
    }
    with served(bundle, tmp_path, store_url=shop_url, **LIMITS) as client:
        like(client, "known", "i1", "e1").raise_for_status()
        assert "i1" not in ids(recommended(client, "known"))
        assert client.get("/health/ready?for=writes").status_code == 200
        with faults[fault]():
            refused = like(client, "known", "i3", "e2")
            assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)
            answers = [recommended(client, user) for user in ("known", "u7", "known", "u8")]
            wait_for(lambda: client.get("/health").json()["lists"] == "degraded")
            answers += [recommended(client, user) for user in ("known", "u9")]
            assert "i1" not in ids(answers[0])
            assert "i1" not in ids(answers[-2])
            assert all(len(ids(answer)) > 20 for answer in answers)
            assert answers[-1].json()["degraded"] is True
            health = client.get("/health").json()
            assert (health["status"], health["writes"]) == ("degraded", "failing")
            assert client.get("/health/ready").status_code == 200
            assert client.get("/health/ready?for=writes").status_code == 503
            assert client.get("/health/live").json() == {"status": "ok"}
        wait_for(lambda: client.get("/health").json()["status"] == "ok")
        assert like(client, "known", "i3", "e2").status_code == 200
        answer = recommended(client, "known")
        assert not {"i1", "i3"} & set(ids(answer))
        assert "degraded" not in answer.json()


def test_while_the_store_is_silent_nobody_waits_for_it(bundle, tmp_path, postgres, postgres_url):
    """The first to ask finds it out; after that the store is asked behind the answers only."""
    with served(bundle, tmp_path, store_url=postgres_url, store_read_seconds=0.3) as client:
        service = client.app.state.runtime.service
        with frozen(postgres):
            wait_for(lambda: service.degraded is not None)
            asked = []

            def count(*_event):
                if "answers" in threading.current_thread().name:
                    asked.append(1)

            sa.event.listen(sa.Engine, "engine_connect", count)
            sa.event.listen(sa.Engine, "do_connect", count)
            try:
                for n in range(50):
                    assert recommended(client, f"u{n}").json()["degraded"] is True
            finally:
                sa.event.remove(sa.Engine, "engine_connect", count)
                sa.event.remove(sa.Engine, "do_connect", count)
            assert not asked


def test_an_erased_user_stays_erased_while_the_store_cannot_be_read(bundle, tmp_path, postgres, postgres_url):
    with served(bundle, tmp_path, store_url=postgres_url, **LIMITS) as client:
        client.delete("/users/u7").raise_for_status()
        nobody = ids(recommended(client, "somebody new"))
        with frozen(postgres):
            wait_for(lambda: client.get("/health").json()["lists"] == "degraded")
            assert ids(recommended(client, "u7")) == nobody
