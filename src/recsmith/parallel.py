"""One way to use several cores: fixed blocks on a thread pool, BLAS single-threaded inside them.

A block's result depends on its bounds and never on the number of threads, so a seed gives the same
digits on any machine width. The kernels are numba functions with ``nogil`` or numpy products, which
both leave the interpreter lock; unlike numba's own parallel layers they may be called from several
threads of a service at once.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from recsmith.errors import ParameterError

T = TypeVar("T")
MOST = 1024  #: worker threads at most: more is a slip

_worker = threading.local()  # ``inside`` is set in the threads of the pool
_limit_lock = threading.Lock()
_limit_depth = 0
_limiter: Any = None
_threads: int | None = None


def n_threads() -> int:
    """Number of worker threads: ``set_threads``, else ``RECSMITH_THREADS``, else the cores this process may use."""
    if _threads is not None:
        return _threads
    if wish := os.environ.get("RECSMITH_THREADS"):
        if not wish.isdecimal() or not 1 <= int(wish) <= MOST:
            raise ParameterError.of(
                "the environment", "RECSMITH_THREADS", f"a whole number from 1 to {MOST}", wish
            )
        return int(wish)
    return cores()


def in_worker() -> bool:
    """Whether this thread is one of the pool."""
    return getattr(_worker, "inside", False)


def cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_threads(count: int | None) -> None:
    """Use ``count`` worker threads (1 to 1024) from now on; None goes back to the default."""
    global _threads
    if count is not None and not 1 <= count <= MOST:
        raise ParameterError.of("set_threads", "count", f"from 1 to {MOST}, or None for the default", count)
    _threads = count


@cache
def _pool(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="recsmith", initializer=_enter_worker)


def _enter_worker() -> None:
    _worker.inside = True


def _after_fork() -> None:
    """A forked child has none of its parent's threads: it starts a pool of its own."""
    global _limit_lock, _limit_depth, _limiter
    _pool.cache_clear()
    _limit_lock, _limit_depth, _limiter = threading.Lock(), 0, None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@cache
def _blas() -> Any:
    import scipy.linalg  # noqa: F401  (brings the BLAS that numba and numpy call, so that it can be found)
    from threadpoolctl import ThreadpoolController

    # Up to 3.6 it works inside a ctypes callback, where Ctrl-C would be lost; that reaches the main thread only.
    with ThreadPoolExecutor(1) as one:
        return one.submit(ThreadpoolController).result()


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """BLAS uses one thread inside; safe to nest and to enter from several threads."""
    global _limit_depth, _limiter
    with _limit_lock:
        if _limit_depth == 0:
            _let_any_thread_limit()
            _limiter = _blas().limit(limits=1, user_api="blas")
        _limit_depth += 1
    try:
        yield
    finally:
        with _limit_lock:
            _limit_depth -= 1
            if _limit_depth == 0:
                _let_any_thread_limit()
                _limiter.restore_original_limits()
                _let_any_thread_limit()
                _limiter = None


def _let_any_thread_limit() -> None:
    """Newer versions of threadpoolctl ignore all threads but the first that set a limit; here a lock guards it."""
    for library in _blas().lib_controllers:
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)


def blocks(n: int, size: int) -> list[slice]:
    """``range(n)`` cut into slices of ``size``."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def run(function: Callable[[T], Any], tasks: Sequence[T], *, width: int | None = None) -> list[Any]:
    """``[function(task) for task in tasks]`` on the pool, results in order.

    After an error no further task is begun; the error of the earliest task is raised once those that run
    have ended. ``width`` bounds how many run at once. Called from inside a task it runs in that task's own
    thread.
    """
    width = min(width or n_threads(), n_threads(), len(tasks))
    with single_threaded_blas():
        if width <= 1 or in_worker():
            return [function(task) for task in tasks]
        return _share_out(function, tasks, width)


def _share_out(function: Callable[[T], Any], tasks: Sequence[T], width: int) -> list[Any]:
    """``width`` workers, each taking the next task that is left."""
    results: list[Any] = [None] * len(tasks)
    errors: dict[int, BaseException] = {}
    left = deque(range(len(tasks)))

    def work() -> None:
        while True:
            try:
                i = left.popleft()
            except IndexError:
                return
            try:
                results[i] = function(tasks[i])
            except BaseException as error:
                errors[i] = error
                left.clear()

    workers = [_pool(n_threads()).submit(work) for _ in range(width)]
    try:
        wait(workers)
    finally:  # an interrupt ends the work, too
        left.clear()
        wait(workers)
    if errors:
        raise errors[min(errors)]
    return results
