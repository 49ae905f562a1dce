"""Requests that wait together are worked on together, in one thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from recsmith.errors import RecsmithError

A = TypeVar("A")
B = TypeVar("B")


class OverloadedError(RecsmithError):
    """More requests wait than may."""


class Batcher(Generic[A, B]):
    """Hands all that waits to ``work`` at once, as soon as the thread is free.

    There is no delay: a request that comes alone is worked on alone. While a batch is worked on the next one
    gathers, so batches grow with the load.
    """

    def __init__(
        self, work: Callable[[Sequence[A]], Sequence[B | Exception]], name: str, together: int, waiting: int
    ) -> None:
        """``work`` gives a result or an error for each of up to ``together`` requests; at most ``waiting`` wait."""
        self._work, self._together, self._waiting = work, together, waiting
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"recsmith-{name}")
        self._pending: list[tuple[A, asyncio.Future[B]]] = []
        self._busy = False

    async def submit(self, request: A) -> B:
        """Wait for the result.

        Raises
        ------
        OverloadedError
            Too many wait.
        """
        if len(self._pending) >= self._waiting:
            raise OverloadedError(
                f"{self._waiting} requests wait for an answer already. Ask again in a second."
            )
        loop = asyncio.get_running_loop()
        future: asyncio.Future[B] = loop.create_future()
        self._pending.append((request, future))
        if not self._busy:
            self._busy = True
            loop.call_soon(self._start, loop)
        return await future

    def close(self) -> None:
        """Finish what is under way and end the thread."""
        self._thread.shutdown(wait=True)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        batch = self._pending[: self._together]
        del self._pending[: self._together]
        batch = [(request, future) for request, future in batch if not future.cancelled()]
        if not batch:
            self._next(loop)
            return
        done = loop.run_in_executor(self._thread, self._run, [request for request, _ in batch])
        done.add_done_callback(lambda finished: self._finish(loop, batch, finished))

    def _run(self, requests: list[A]) -> Sequence[B | Exception]:
        try:
            return self._work(requests)
        except Exception as error:
            if len(requests) == 1:
                return [error]
        return [self._run([request])[0] for request in requests]  # one of them is at fault

    def _finish(
        self, loop: asyncio.AbstractEventLoop, batch: list[Any], finished: asyncio.Future[Any]
    ) -> None:
        for (_, future), result in zip(batch, finished.result(), strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        self._next(loop)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._pending:
            self._start(loop)
        else:
            self._busy = False
