"""What a worker has while it runs, and how it starts and stops."""

from __future__ import annotations

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
from recsmith.serving.events import NewEvent
from recsmith.serving.exposures import ExposureLog
from recsmith.serving.schemas import RecommendRequest
from recsmith.serving.service import Service, Told
from recsmith.serving.settings import Settings
from recsmith.serving.shared import Shared
from recsmith.serving.store import Store
from recsmith.serving.telemetry import Metrics

_CHANGES_KEPT = 100_000
_SWITCH_SECONDS = 0.001  # a thread lets others on: the writer of exposures must not hold up answers


class Runtime:
    """The parts of a worker."""

    def __init__(self, settings: Settings, bundle: Path, metrics: Metrics) -> None:
        """Open the store and load the bundle; raises as ``Service`` and ``Store.open`` do."""
        parallel.set_threads(settings.threads)
        sys.setswitchinterval(_SWITCH_SECONDS)
        self.settings, self.metrics, self._numbers = settings, metrics, Numbers()
        self.store = Store.open(settings.store_url)
        self.shared = None if settings.redis_url is None else Shared(settings.redis_url)
        self.service = Service(self.store, settings, bundle, self.shared)
        self.keys = Keys(self.store.keys)
        self.service.on_keys = self.keys.reload
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
        return told.answer.body(request.user_id, recomm_id, now)

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

    def _write(self, batches: Sequence[Sequence[NewEvent]]) -> list[list[bool]]:
        """One transaction for all that wait."""
        stored = self.store.add_events([event for batch in batches for event in batch])
        self.service.store_is_back()
        self.metrics.events.labels("stored").inc(sum(stored))
        self.metrics.events.labels("repeated").inc(len(stored) - sum(stored))
        out, start = [], 0
        for batch in batches:
            out.append(stored[start : start + len(batch)])
            start += len(batch)
        return out
