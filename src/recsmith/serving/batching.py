"""Requests that wait together are worked on together, in one thread; callers take turns."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Generic, TypeAlias, TypeVar

from recsmith.errors import RecsmithError

A = TypeVar("A")
B = TypeVar("B")
T = TypeVar("T")
_Waiting: TypeAlias = "tuple[A, asyncio.Future[B]]"


class OverloadedError(RecsmithError):
    """More requests wait than may."""


def each(
    work: Callable[[Sequence[A]], Sequence[B | Exception]], requests: Sequence[A]
) -> Sequence[B | Exception]:
    """What ``work`` gives for requests; where it fails, for each by itself, so that the others have their results."""
    try:
        return work(requests)
    except Exception as error:
        if len(requests) == 1:
            return [error]
    return [each(work, [request])[0] for request in requests]


class Turns(Generic[T]):
    """What waits, by caller: the one whose work has cost least so far is next (start-time fair queueing).

    A caller who comes anew begins where the others are: nobody saves up turns.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, deque[tuple[T, float]]] = {}
        self._spent: dict[str, float] = {}  # by each caller since all were idle, and what they began with
        self._next: list[tuple[float, int, str]] = []  # a heap with each caller who waits, once
        self._now = 0.0  # what the caller had spent whose turn it was last
        self._size, self._count = 0, itertools.count()

    def __len__(self) -> int:
        return self._size

    def add(self, caller: str, one: T, cost: float) -> None:
        """Let it wait."""
        if caller not in self._waiting:
            self._waiting[caller] = deque()
            self._spent[caller] = max(self._spent.get(caller, 0.0), self._now)
            self._push(caller)
        self._waiting[caller].append((one, cost))
        self._size += 1

    def take(self, most: int, budget: float) -> list[T]:
        """The next ones: at least one where any waits, at most ``most``, until they cost ``budget`` together."""
        if not self._size:
            self._spent, self._now = {}, 0.0
        out: list[T] = []
        spent = 0.0
        while self._size and len(out) < most and (not out or spent < budget):
            self._now, _, caller = heapq.heappop(self._next)
            one, cost = self._waiting[caller].popleft()
            self._spent[caller] += cost
            self._size -= 1
            spent += cost
            out.append(one)
            if self._waiting[caller]:
                self._push(caller)
            else:
                del self._waiting[caller]
        return out

    def displace(self, caller: str) -> T | None:
        """Take back the newest of whoever has most waiting, to let ``caller`` in; None where they have as many."""
        longest = max(self._waiting, key=lambda name: len(self._waiting[name]))
        if len(self._waiting[longest]) <= len(self._waiting.get(caller, ())) + 1:
            return None
        self._size -= 1
        return self._waiting[longest].pop()[0]

    def _push(self, caller: str) -> None:
        heapq.heappush(self._next, (self._spent[caller], next(self._count), caller))


class Batcher(Generic[A, B]):
    """Hands what waits to ``work`` at once, as soon as the thread is free.

    There is no delay: a request that comes alone is worked on alone. While a batch is worked on the next one
    gathers, so batches grow with the load.
    """

    def __init__(
        self,
        work: Callable[[Sequence[A]], Sequence[B | Exception]],
        name: str,
        together: int,
        waiting: int,
        budget: float,
    ) -> None:
        """``work`` gives a result or an error for each of up to ``together`` requests that cost ``budget``.

        At most ``waiting`` wait; where more come, the newest of the caller with most of them gives way.
        """
        self._work, self._together, self._most, self._budget = work, together, waiting, budget
        self.waiting: Turns[_Waiting[A, B]] = Turns()  #: what has not been begun
        self._handed: SimpleQueue[tuple[asyncio.AbstractEventLoop, list[_Waiting[A, B]]] | None] = (
            SimpleQueue()
        )
        self._busy = False
        self._thread = threading.Thread(target=self._serve, name=f"recsmith-{name}", daemon=True)
        self._thread.start()

    async def submit(self, request: A, caller: str = "", cost: float = 1.0) -> B:
        """Wait for the result.

        Raises
        ------
        OverloadedError
            Too many wait.
        """
        if len(self.waiting) >= self._most:
            displaced = self.waiting.displace(caller)
            if displaced is None:
                raise self._overloaded()
            if not displaced[1].done():
                displaced[1].set_exception(self._overloaded())
        loop = asyncio.get_running_loop()
        future: asyncio.Future[B] = loop.create_future()
        self.waiting.add(caller, (request, future), cost)
        if not self._busy:
            self._busy = True
            loop.call_soon(self._next, loop)
        return await future

    def close(self) -> None:
        """Finish what is under way and end the thread."""
        self._handed.put(None)
        self._thread.join()

    def _overloaded(self) -> OverloadedError:
        return OverloadedError(
            f"{self._most} requests wait for an answer already. Send it again in a second."
        )

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        while taken := self.waiting.take(self._together, self._budget):
            if batch := [one for one in taken if not one[1].done()]:
                self._handed.put((loop, batch))
                return
        self._busy = False

    def _serve(self) -> None:
        """The thread."""
        for loop, batch in iter(self._handed.get, None):
            results = each(self._work, [request for request, _ in batch])
            loop.call_soon_threadsafe(self._finish, loop, batch, results)

    def _finish(
        self, loop: asyncio.AbstractEventLoop, batch: list[_Waiting[A, B]], results: Sequence[B | Exception]
    ) -> None:
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        self._next(loop)
