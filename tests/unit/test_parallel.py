"""Blocks on a thread pool: order, errors, nesting, settings, and BLAS put back as it was."""

from __future__ import annotations

import multiprocessing
import threading

import numpy as np
import pytest
import threadpoolctl
from tests.support.waiting import PATIENCE_S

from recsmith import parallel
from recsmith.errors import ParameterError


@pytest.fixture(autouse=True)
def two_threads():
    parallel.set_threads(2)
    yield
    parallel.set_threads(None)


def blas_threads() -> set[int]:
    """Of the libraries whose number holds for the process; with OpenMP (faiss) each thread has its own."""
    return {
        lib["num_threads"]
        for lib in threadpoolctl.threadpool_info()
        if lib["user_api"] == "blas" and lib["threading_layer"] != "openmp"
    }


def test_results_are_in_order():
    second_ended = threading.Event()

    def work(i):
        if i == 0:
            second_ended.wait(PATIENCE_S)
        if i == 1:
            second_ended.set()
        return i * i

    assert parallel.run(work, range(20)) == [i * i for i in range(20)]


def test_nothing_to_do():
    assert parallel.run(lambda i: i, []) == []


def test_both_threads_work_at_once():
    meeting = threading.Barrier(2, timeout=PATIENCE_S)
    assert sorted(parallel.run(lambda _: meeting.wait(), range(2))) == [0, 1]


def test_width_bounds_how_many_run():
    parallel.set_threads(4)
    running, most, lock, pair = 0, 0, threading.Lock(), threading.Barrier(2, timeout=PATIENCE_S)

    def work(_):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        pair.wait()  # two at a time get past it
        with lock:
            running -= 1

    parallel.run(work, range(12), width=2)
    assert most == 2


def test_error_stops_the_rest_and_waits_for_what_runs():
    begun, ended, meeting = [], [], threading.Barrier(2, timeout=PATIENCE_S)

    def work(i):
        begun.append(i)
        if i < 2:
            meeting.wait()
        else:
            threading.Event().wait(0.01)  # the error has 500 of these to be noticed
        if i == 1:
            raise ValueError("task 1")
        ended.append(i)

    with pytest.raises(ValueError, match="task 1"):
        parallel.run(work, range(500))
    assert len(begun) < 500
    assert sorted([*ended, 1]) == sorted(begun)  # nothing runs on behind the caller's back


def test_the_earliest_error_is_raised():
    second_ends = threading.Event()

    def work(i):
        if i == 0:
            second_ends.wait(PATIENCE_S)
        second_ends.set()
        raise ValueError(f"task {i}")

    with pytest.raises(ValueError, match="task 0"):
        parallel.run(work, range(2))


def test_nested_run_stays_in_its_thread():
    def outer(i):
        me = threading.get_ident()
        return [parallel.run(lambda j: (i, j, threading.get_ident() == me), range(3))]

    for i, (inner,) in enumerate(parallel.run(outer, range(4))):
        assert inner == [(i, j, True) for j in range(3)]


def test_a_thread_of_the_caller_may_have_any_name():
    names = []

    def caller():
        parallel.run(lambda _: names.append(threading.current_thread().name), range(4))

    thread = threading.Thread(target=caller, name="recsmith-api")
    thread.start()
    thread.join()
    assert "recsmith-api" not in names


def test_blas_is_single_inside_and_put_back():
    np.ones((4, 4)) @ np.ones((4, 4))
    before = blas_threads()
    assert parallel.run(lambda _: blas_threads(), range(2)) == [{1}, {1}]
    assert blas_threads() == before
    with pytest.raises(RuntimeError), parallel.single_threaded_blas(), parallel.single_threaded_blas():
        assert blas_threads() == {1}
        raise RuntimeError
    assert blas_threads() == before


def test_blas_is_put_back_after_concurrent_entries():
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        inside, leave = threading.Barrier(3, timeout=PATIENCE_S), threading.Event()
        seen = []

        def enter(order):
            with parallel.single_threaded_blas():
                inside.wait()
                if order:
                    leave.wait(PATIENCE_S)
                seen.append(blas_threads())

        threads = [threading.Thread(target=enter, args=(order,)) for order in (0, 1)]
        for thread in threads:
            thread.start()
        inside.wait()
        threads[0].join()  # the first one in is the first one out
        leave.set()
        threads[1].join()
        assert seen == [{1}, {1}]
        assert blas_threads() == before


def test_blocks_cover_the_range():
    assert parallel.blocks(7, 3) == [slice(0, 3), slice(3, 6), slice(6, 7)]
    assert parallel.blocks(0, 3) == []


def test_settings(monkeypatch):
    assert parallel.n_threads() == 2
    parallel.set_threads(None)
    monkeypatch.setenv("RECSMITH_THREADS", "3")
    assert parallel.n_threads() == 3
    parallel.set_threads(5)
    assert parallel.n_threads() == 5
    parallel.set_threads(None)
    monkeypatch.delenv("RECSMITH_THREADS")
    assert parallel.n_threads() >= 1


@pytest.mark.parametrize("count", [0, -1, 1025])
def test_no_thread_and_far_too_many_are_refused(count):
    with pytest.raises(ParameterError, match="set_threads must be from 1 to 1024"):
        parallel.set_threads(count)
    assert parallel.n_threads() == 2


@pytest.mark.parametrize("wish", ["0", "many", "-2", "1.5", "10000"])
def test_environment_that_is_no_number_is_refused(wish, monkeypatch):
    parallel.set_threads(None)
    monkeypatch.setenv("RECSMITH_THREADS", wish)
    with pytest.raises(ParameterError, match="RECSMITH_THREADS"):
        parallel.n_threads()


def _in_child(queue):
    queue.put(parallel.run(lambda i: i + 1, range(4)))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_its_parents_threads():
    parallel.run(lambda i: i, range(4))  # the parent's pool is warm
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(queue,))
    child.start()
    try:
        assert queue.get(timeout=PATIENCE_S) == [1, 2, 3, 4]
    finally:
        child.join(PATIENCE_S)
        if child.is_alive():
            child.kill()
            child.join()


def test_an_interrupt_is_not_lost_while_the_blas_is_looked_for(monkeypatch):
    """Python gives it to the main thread; threadpoolctl up to 3.6 works in a callback, which would drop it."""
    found = []
    monkeypatch.setattr(
        "threadpoolctl.ThreadpoolController", lambda: found.append(threading.current_thread())
    )
    parallel._blas.__wrapped__()
    assert found != [threading.main_thread()]
    assert len(found) == 1
