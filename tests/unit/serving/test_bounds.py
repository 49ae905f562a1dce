"""What one caller can take of a worker: work, bytes, turns; and that others are answered meanwhile."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest
from tests.unit.serving.live import ids, save, served

from recsmith.errors import ParameterError, StorageError
from recsmith.serving import work
from recsmith.serving.answers import Answer, ResponseCache
from recsmith.serving.batching import Batcher, OverloadedError, Turns
from recsmith.serving.catalogue import Catalogue
from recsmith.serving.events import Exposure
from recsmith.serving.explain import reasons
from recsmith.serving.exposures import ExposureLog
from recsmith.serving.schemas import RecommendRequest

_PATIENCE = 60


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bounds")
    with served(save(folder, "first", reg=50), folder) as client:
        yield client


@pytest.fixture
def held(client, monkeypatch):
    """Lists for users ``bulk-...`` are made when the event is set, but for the first call."""
    service, release, begun = client.app.state.runtime.service, threading.Event(), threading.Event()
    answer, calls = service.answer, []

    def slow(requests):
        if any(str(r.user_id).startswith("bulk") for r in requests):
            calls.append(len(requests))
            begun.set()
            if len(calls) > 1:
                assert release.wait(_PATIENCE)
        return answer(requests)

    monkeypatch.setattr(service, "answer", slow)
    release.begun, release.calls = begun, calls
    yield release
    release.set()


def bulk(n, **about):
    return {"requests": [{"user_id": f"bulk-{i}", **about} for i in range(n)]}


# --- work ---------------------------------------------------------------------------------------------------


def test_a_batch_that_is_too_much_work_is_refused_and_the_answer_says_what_to_send(client):
    refused = client.post("/recommend/batch", json=bulk(1000, num_recommendations=1000, explain=True))
    assert refused.status_code == 422
    assert "Send some" in refused.json()["detail"]
    assert client.post("/recommend/batch", json=bulk(20, num_recommendations=1000)).status_code == 200


def test_a_batch_of_a_cloud_is_bounded_too(client):
    instances = bulk(1000, num_recommendations=1000)["requests"]
    assert client.post("/invocations", json={"instances": instances}).status_code == 422


def test_a_request_of_a_batch_that_is_too_long_has_its_problem_in_its_place(tmp_path):
    with served(save(tmp_path, "short"), tmp_path, list_length=5) as client:
        answers = client.post(
            "/recommend/batch",
            json={"requests": [{"user_id": "u1", "num_recommendations": k} for k in (5, 6, 4)]},
        ).json()["answers"]
    assert [a.get("status") for a in answers] == [None, 422, None]
    assert [len(a.get("recommendations", [])) for a in answers] == [5, 0, 4]


def test_the_cost_of_filters_is_that_of_the_items_that_they_look_at():
    many = {"any": [{"title": {"contains": f"w{n}"}} for n in range(60)]}
    request = RecommendRequest(filters=many)
    with pytest.raises(ParameterError, match="fewer conditions"):
        work.check([work.cost(request, 1_000_000)], 500_000)
    work.check([work.cost(request, 40_000)], 500_000)


def test_reasons_look_ids_up_once_for_a_list(client, monkeypatch):
    service = client.app.state.runtime.service
    lister, one = service.asked(RecommendRequest(user_id="u1"))
    looked_up, raw = [], Catalogue.raw
    monkeypatch.setattr(Catalogue, "raw", lambda self, index: looked_up.append(1) or raw(self, index))
    found = reasons(lister.deployment, one.history, list(range(40)))
    assert len(found) == 40 and any(found)
    assert len(looked_up) <= 2


# --- pieces and lanes ---------------------------------------------------------------------------------------


def test_a_large_batch_is_sent_while_it_is_made(client, held):
    with client.stream("POST", "/recommend/batch", json=bulk(200), timeout=_PATIENCE) as answer:
        parts = answer.iter_bytes()
        begin = next(parts)  # the second piece has not been made
        assert begin.startswith(b'{"answers":[')
        held.set()
        answers = json.loads(begin + b"".join(parts))["answers"]
    assert [a["user_id"] for a in answers] == [f"bulk-{i}" for i in range(200)]
    assert len(held.calls) > 2


@pytest.mark.parametrize("about", [{}, {"num_recommendations": 1000}, {"explain": True}])
def test_a_list_does_not_wait_for_expensive_ones(client, held, about):
    done = []

    def batch():
        done.append(client.post("/recommend/batch", json=bulk(200, **about), timeout=_PATIENCE))

    thread = threading.Thread(target=batch)
    thread.start()
    try:
        assert held.begun.wait(_PATIENCE)
        for user in ("u1", "nobody", None):
            ids(client.post("/recommend", json={"user_id": user}, timeout=_PATIENCE))
        assert not done
    finally:
        held.set()
        thread.join()
    assert len(done[0].json()["answers"]) == 200


def test_callers_take_turns_by_the_cost_of_their_work():
    turns = Turns()
    for n in range(4):
        turns.add("bulk", f"bulk {n}", 10)
    for n in range(3):
        turns.add("page", f"page {n}", 5)
    taken = [turns.take(1, 1)[0] for _ in range(7)]
    assert taken == ["bulk 0", "page 0", "page 1", "bulk 1", "page 2", "bulk 2", "bulk 3"]
    assert turns.take(1, 1) == []


def test_nobody_saves_up_turns():
    turns = Turns()
    for n in range(6):
        turns.add("busy", f"busy {n}", 10)
    assert turns.take(3, 100) == ["busy 0", "busy 1", "busy 2"]
    for n in range(3):
        turns.add("new", f"new {n}", 10)
    assert [turns.take(1, 1)[0].split()[0] for _ in range(6)].count("new") == 3
    turns.add("busy", "again", 10)
    turns.add("new", "again", 10)
    assert len(turns) == 2


def test_a_batch_ends_where_its_cost_does():
    turns = Turns()
    for cost in (30, 30, 30, 200, 1):
        turns.add("a", cost, cost)
    assert turns.take(64, 80) == [30, 30, 30]
    assert turns.take(64, 80) == [200]
    assert turns.take(64, 80) == [1]


def test_a_full_queue_takes_nobody_elses_share():
    release = threading.Event()

    def work_of(requests):
        assert release.wait(_PATIENCE)
        return requests

    async def scenario():
        batcher = Batcher(work_of, "test", together=1, waiting=4, budget=1)
        under_way = asyncio.create_task(batcher.submit("first", "hog"))
        await asyncio.sleep(0)
        while len(batcher.waiting):
            await asyncio.sleep(0)
        hog = [asyncio.create_task(batcher.submit(n, "hog")) for n in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await batcher.submit("one too many", "hog")
        guest = asyncio.create_task(batcher.submit("guest", "guest"))
        await asyncio.sleep(0)
        release.set()
        results = await asyncio.gather(under_way, *hog, guest, return_exceptions=True)
        await asyncio.to_thread(batcher.close)
        return results

    first, *hog, guest = asyncio.run(scenario())
    assert (first, guest) == ("first", "guest")
    assert hog[:3] == [0, 1, 2]
    assert isinstance(hog[3], OverloadedError)


# --- bytes --------------------------------------------------------------------------------------------------


def answer_of(size):
    return Answer(b"x" * size, "", "[]", "m@1")


def test_the_cache_is_bounded_in_bytes():
    cache = ResponseCache(10_000, 60)
    for n in range(10):
        cache.put(b"%d" % n, answer_of(1500))
        assert cache.get(b"0") is not None  # used lately, so it stays
        assert cache.size_bytes <= 10_000
    assert [n for n in range(10) if cache.get(b"%d" % n)] == [0, 8, 9]
    cache.put(b"9", answer_of(10))
    cache.put(b"long", answer_of(20_000))
    assert cache.get(b"long") is None
    assert cache.get(b"8") is not None


def test_answers_in_memory_stay_within_their_bytes(tmp_path):
    with served(save(tmp_path, "first"), tmp_path, cache_bytes=50_000) as client:
        cache = client.app.state.runtime.service.cache
        for user in range(60):
            ids(client.post("/recommend", json={"user_id": f"u{user}", "num_recommendations": 20}))
        assert 25_000 < cache.size_bytes <= 50_000


def test_a_long_context_is_refused_and_a_short_one_is_in_no_key_unless_a_rule_looks_at_it(client):
    cache = client.app.state.runtime.service.cache
    refused = client.post("/recommend", json={"user_id": "u9", "context": {"page": "x" * 20_000}})
    assert refused.status_code == 422
    assert "16384 bytes" in refused.json()["detail"]
    ids(client.post("/recommend", json={"user_id": "u9", "context": {"page": "x" * 10_000}}))
    before = cache.size_bytes
    ids(client.post("/recommend", json={"user_id": "u9", "context": {"page": "y" * 10_000}}))
    assert cache.size_bytes == before


def test_a_context_that_a_rule_looks_at_makes_another_list(tmp_path):
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules:\n  - {exclude: {where: {genres: Horror}}, when: {segment: kids}}\n")
    with served(save(tmp_path, "first"), tmp_path, rules=rules) as client:
        lists = [
            set(
                ids(
                    client.post(
                        "/recommend",
                        json={
                            "user_id": "u1",
                            "num_recommendations": 40,
                            "context": {"segment": segment, "page": page},
                        },
                    )
                )
            )
            for segment in ("kids", "adults", "kids")
            for page in (1, 2)
        ]
    assert lists[0] == lists[1] == lists[4] < lists[2] == lists[3]


def test_exposures_that_wait_are_bounded_in_bytes():
    lost, shown = [], "x" * 10_000

    class Gone:
        def log_exposures(self, rows):
            raise StorageError("gone")

    log = ExposureLog(Gone(), lost.append, max_bytes=100_000)
    for n in range(50):
        log.add(Exposure(f"r{n}", "u", "m", None, None, False, 1, shown))
    log.close()
    assert sum(lost) == 50
    assert len(lost) > 40  # all but some nine were lost while they waited, one by one
