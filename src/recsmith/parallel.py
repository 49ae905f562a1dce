"""One way to use several cores: fixed blocks on a thread pool, BLAS single-threaded inside them.

A block's result depends on its bounds and never on the number of threads, so a seed gives the same
digits on any machine width. The kernels are numba functions with ``nogil`` or numpy products, which
both leave the interpreter lock; unlike numba's own parallel layers they may be called from several
threads of a service at once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")

_limit_lock = threading.Lock()
_limit_depth = 0
_limiter: Any = None
_threads: int | None = None


def n_threads() -> int:
    """Number of worker threads: ``set_threads``, else ``RECSMITH_THREADS``, else the cores this process may use."""
    if _threads is not None:
        return _threads
    wish = os.environ.get("RECSMITH_THREADS", "")
    if wish.isdigit() and int(wish) > 0:
        return int(wish)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_threads(count: int | None) -> None:
    """Use ``count`` worker threads from now on; None goes back to the default."""
    global _threads
    _threads = count


@cache
def _pool(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="recsmith")


@cache
def _blas() -> Any:
    import scipy.linalg  # noqa: F401  (brings the BLAS that numba and numpy call, so that it can be found)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """BLAS uses one thread inside; safe to nest and to enter from several threads."""
    global _limit_depth, _limiter
    with _limit_lock:
        if _limit_depth == 0:
            _limiter = _blas().limit(limits=1, user_api="blas")
        _limit_depth += 1
    try:
        yield
    finally:
        with _limit_lock:
            _limit_depth -= 1
            if _limit_depth == 0:
                _limiter.restore_original_limits()
                _limiter = None


def blocks(n: int, size: int) -> list[slice]:
    """``range(n)`` cut into slices of ``size``."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def run(function: Callable[[T], Any], tasks: Sequence[T], *, width: int | None = None) -> list[Any]:
    """``[function(task) for task in tasks]`` on the pool, results in order; the first error is raised.

    ``width`` bounds how many run at once. Called from inside a task it runs in that task's own thread.
    """
    width = min(width or n_threads(), n_threads(), len(tasks))
    with single_threaded_blas():
        if width <= 1 or threading.current_thread().name.startswith("recsmith"):
            return [function(task) for task in tasks]
        futures = [_pool(width).submit(function, task) for task in tasks]
        try:
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise
