"""What a worker has while it runs, and how it starts and stops."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from recsmith import parallel
from recsmith.errors import ParameterError, StorageError
from recsmith.serving import work
from recsmith.serving.access import Keys, RateLimit
from recsmith.serving.answers import Numbers
from recsmith.serving.batching import Batcher, OverloadedError, each
from recsmith.serving.database import Patience
from recsmith.serving.events import NewEvent
from recsmith.serving.exposures import ExposureLog
from recsmith.serving.schemas import RecommendRequest
from recsmith.serving.service import Service, Told
from recsmith.serving.settings import Settings
from recsmith.serving.shared import Shared
from recsmith.serving.store import Store
from recsmith.serving.telemetry import Metrics

T = TypeVar("T")
log = logging.getLogger("recsmith.serving")
_CHANGES_KEPT = 100_000
_AT_ONCE = 4_000  # cost of the lists that are made in one go, in some 10 ms
_EVENTS_AT_ONCE = 1_000  # events of one transaction, but for a batch that alone has more
_SWITCH_SECONDS = 0.001  # a thread lets others on: the writer of exposures must not hold up answers


class Runtime:
    """The parts of a worker."""

    def __init__(self, settings: Settings, bundle: Path, metrics: Metrics) -> None:
        """Open the store and load the bundle; raises as ``Service`` and ``Store.open`` do."""
        parallel.set_threads(settings.threads)
        sys.setswitchinterval(_SWITCH_SECONDS)
        self.settings, self.metrics, self._numbers = settings, metrics, Numbers()
        self._counts = [metrics.answers.labels(source) for source in ("model", "cache")]
        patience = Patience(read_s=settings.store_read_seconds, write_s=settings.store_write_seconds)
        self.store = Store.open(settings.store_url, patience)
        self.shared = (
            None if settings.redis_url is None else Shared(settings.redis_url, metrics.unreadable.inc)
        )
        self.service = Service(self.store, settings, bundle, self.shared)
        self.keys = Keys(self.store.keys)
        self.service.sync.on_keys = self.keys.take
        self.limit = RateLimit(settings.rate_per_minute, self.shared)
        self.exposures = ExposureLog(self.store, metrics.dropped.inc)
        waiting = settings.waiting
        self.answers: Batcher[RecommendRequest, Told] = Batcher(
            self._answer, "answers", settings.together, waiting, _AT_ONCE
        )
        self.expensive: Batcher[Callable[[], Any], Any] = Batcher(_call, "expensive", 1, waiting, 1)
        self.writes: Batcher[Sequence[NewEvent], list[bool]] = Batcher(
            self._write, "writes", 256, waiting, _EVENTS_AT_ONCE
        )
        self._exit = ExitStack()  # BLAS has one thread for all lists, in place of being set anew for each
        self._exit.enter_context(parallel.single_threaded_blas())

    async def recommend(self, request: RecommendRequest, caller: str) -> bytes:
        """The body of an answer; it is in the exposure log afterwards.

        Raises
        ------
        ParameterError
            It is longer, or costs more, than the settings allow.
        OverloadedError
            Too many wait.
        """
        told = self.service.kept(request) or await self._made(request, caller)
        return self.finish(request, told)

    async def _made(self, request: RecommendRequest, caller: str) -> Told:
        price = self._price(request)
        work.check([price], self.settings.max_work)
        if price <= work.QUICK:
            return await self.answers.submit(request, caller, price)
        (told,) = await self._piece([request], caller, price)
        if isinstance(told, Exception):
            raise told
        return told

    def prices(self, requests: Sequence[RecommendRequest]) -> list[int | Exception]:
        """What each of several requests costs, or what is wrong with it.

        Raises
        ------
        ParameterError
            All of them cost more together than the settings allow.
        """
        out = [self._price_or_error(request) for request in requests]
        work.check(_costs(out), self.settings.max_work)
        return out

    async def batch(
        self, requests: Sequence[RecommendRequest], prices: Sequence[int | Exception], caller: str
    ) -> AsyncIterator[bytes | Exception]:
        """The bodies of the answers to several requests with their ``prices``, or what is wrong with a request.

        They are made some at a time, in turn with others, and none is held here once it was given.
        """
        costs = _costs(prices)
        for rows in work.pieces(costs):
            good = [
                r for r, price in zip(requests[rows], prices[rows], strict=True) if isinstance(price, int)
            ]
            try:
                told = iter(await self._piece(good, caller, sum(costs[rows])) if good else ())
            except OverloadedError as error:
                told = iter([error] * len(good))
            for request, price in zip(requests[rows], prices[rows], strict=True):
                one = next(told) if isinstance(price, int) else price
                yield self.finish(request, one) if isinstance(one, Told) else one

    async def aside(self, caller: str, k: int, function: Callable[..., T], *arguments: Any) -> T:
        """``function(service, *arguments)``, which looks at all items for ``k``; lists do not wait for it."""
        price = k + work.scan(self.service.active.main.catalogue.n_items)
        result: T = await self.expensive.submit(partial(function, self.service, *arguments), caller, price)
        return result

    async def _piece(
        self, requests: Sequence[RecommendRequest], caller: str, price: float
    ) -> Sequence[Told | Exception]:
        told: Sequence[Told | Exception]
        told = await self.expensive.submit(partial(each, self._answer, requests), caller, price)
        return told

    def _price(self, request: RecommendRequest) -> int:
        most = self.settings.list_length
        if request.num_recommendations > most:
            raise ParameterError.of(
                "recommend", "num_recommendations", f"at most {most}", request.num_recommendations
            )
        return work.cost(request, self.service.active.main.catalogue.n_items)

    def _price_or_error(self, request: RecommendRequest) -> int | Exception:
        try:
            return self._price(request)
        except ParameterError as error:
            return error

    def finish(self, request: RecommendRequest, told: Told) -> bytes:
        """Number an answer and log it."""
        recomm_id, now = self._numbers.next(), time.time()
        self.exposures.add(told.answer.exposure(request.user_id, recomm_id, now, told.mark))
        for shadow in told.shadows:
            self.exposures.add(shadow.exposure(request.user_id, recomm_id, now, told.mark, shadow=True))
        self._counts[told.cached].inc()
        return told.answer.body(request.user_id, recomm_id, now, degraded=told.degraded)

    def recover(self) -> None:
        """Find out whether what failed works again; requests do not wait for it."""
        self.service.recover()
        if self.shared is not None:
            self.shared.recover()
        if self.store.failing is not None or self.exposures.failing is not None:
            with suppress(StorageError):  # ``failing`` says it
                self.store.try_write()

    def prune(self) -> None:
        """Delete changes that every worker has read long ago; one that has not reads everything anew."""
        with suppress(StorageError):  # it comes again
            self.store.prune_changes(_CHANGES_KEPT)

    def close(self) -> None:
        """Finish what is under way, write what waits."""
        self.answers.close()
        self.expensive.close()
        self.writes.close()
        self.exposures.close()
        self.store.close()
        if self.shared is not None:
            self.shared.close()
        self._exit.close()

    def _answer(self, requests: Sequence[RecommendRequest]) -> list[Told | Exception]:
        self.metrics.batch.observe(len(requests))
        told = self.service.answer(requests)
        self.metrics.degraded.set(self.service.degraded is not None)
        return told

    def _write(self, batches: Sequence[Sequence[NewEvent]]) -> Sequence[list[bool] | Exception]:
        """One transaction for all that wait; while the store takes no writes they are refused without a wait."""
        try:
            stored = self._stored([event for batch in batches for event in batch])
        except StorageError as error:
            log.error("events cannot be stored: %s", error)
            return [error] * len(batches)
        self.service.recover()
        self.service.refresh()  # so that the next list need not wait for it
        self.metrics.events.labels("stored").inc(sum(stored))
        self.metrics.events.labels("repeated").inc(len(stored) - sum(stored))
        out: list[list[bool] | Exception] = []
        start = 0
        for batch in batches:
            out.append(stored[start : start + len(batch)])
            start += len(batch)
        return out

    def _stored(self, events: Sequence[NewEvent]) -> list[bool]:
        """``Store.add_events``, with some of the lists that were shown meanwhile in the same transaction."""
        try:
            with self.exposures.next() as shown:
                if self.store.failing is not None:
                    raise StorageError(self.store.failing)
                return self.store.add_events(events, shown)
        except ParameterError:  # of an event, which is raised again, or of a list, which costs no event
            return self.store.add_events(events)


def _costs(prices: Sequence[int | Exception]) -> list[int]:
    return [0 if isinstance(price, Exception) else price for price in prices]


def _call(functions: Sequence[Callable[[], Any]]) -> list[Any]:
    return [function() for function in functions]
