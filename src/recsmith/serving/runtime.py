"""What a worker has while it runs, and how it starts and stops."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from recsmith import parallel
from recsmith.errors import StorageError
from recsmith.serving.access import Keys, RateLimit
from recsmith.serving.answers import Numbers
from recsmith.serving.batching import Batcher
from recsmith.serving.database import Patience
from recsmith.serving.events import NewEvent
from recsmith.serving.exposures import ExposureLog
from recsmith.serving.schemas import RecommendRequest
from recsmith.serving.service import Service, Told
from recsmith.serving.settings import Settings
from recsmith.serving.shared import Shared
from recsmith.serving.store import Store
from recsmith.serving.telemetry import Metrics

log = logging.getLogger("recsmith.serving")
_CHANGES_KEPT = 100_000
_SWITCH_SECONDS = 0.001  # a thread lets others on: the writer of exposures must not hold up answers


class Runtime:
    """The parts of a worker."""

    def __init__(self, settings: Settings, bundle: Path, metrics: Metrics) -> None:
        """Open the store and load the bundle; raises as ``Service`` and ``Store.open`` do."""
        parallel.set_threads(settings.threads)
        sys.setswitchinterval(_SWITCH_SECONDS)
        self.settings, self.metrics, self._numbers = settings, metrics, Numbers()
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
        self.answers: Batcher[RecommendRequest, Told] = Batcher(
            self._answer, "answers", settings.together, settings.waiting
        )
        self.writes: Batcher[Sequence[NewEvent], list[bool]] = Batcher(
            self._write, "writes", 256, settings.waiting
        )

    async def recommend(self, request: RecommendRequest) -> bytes:
        """The body of an answer; it is in the exposure log afterwards."""
        told = self.service.kept(request) or await self.answers.submit(request)
        return self.finish(request, told)

    def finish(self, request: RecommendRequest, told: Told) -> bytes:
        """Number an answer and log it."""
        recomm_id, now = self._numbers.next(), time.time()
        self.exposures.add(told.answer.exposure(request.user_id, recomm_id, now))
        for shadow in told.shadows:
            self.exposures.add(shadow.exposure(request.user_id, recomm_id, now, shadow=True))
        self.metrics.answers.labels("cache" if told.cached else "model").inc()
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
        self.writes.close()
        self.exposures.close()
        self.store.close()
        if self.shared is not None:
            self.shared.close()

    def _answer(self, requests: Sequence[RecommendRequest]) -> list[Told | Exception]:
        self.metrics.batch.observe(len(requests))
        told = self.service.answer(requests)
        self.metrics.degraded.set(self.service.degraded is not None)
        return told

    def _write(self, batches: Sequence[Sequence[NewEvent]]) -> Sequence[list[bool] | Exception]:
        """One transaction for all that wait; while the store takes no writes they are refused without a wait."""
        if (reason := self.store.failing) is not None:
            return [StorageError(reason)] * len(batches)
        try:
            stored = self.store.add_events([event for batch in batches for event in batch])
        except StorageError as error:
            log.error("events cannot be stored: %s", error)
            return [error] * len(batches)
        self.service.recover()
        self.metrics.events.labels("stored").inc(sum(stored))
        self.metrics.events.labels("repeated").inc(len(stored) - sum(stored))
        out: list[list[bool] | Exception] = []
        start = 0
        for batch in batches:
            out.append(stored[start : start + len(batch)])
            start += len(batch)
        return out
