"""What an operator sees: metrics for Prometheus, log lines as JSON, and traces where they are asked for."""

from __future__ import annotations

import logging
import os
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Any

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

from recsmith.errors import MissingExtraError
from recsmith.redaction import redacted

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters and times, never labelled by user."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        new: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter("recsmith_requests_total", "Requests.", ["route", "status"], **new)
        self.seconds = Histogram(
            "recsmith_request_seconds", "Time from request to response.", ["route"], buckets=_SECONDS, **new
        )
        self.batch = Histogram(
            "recsmith_batch_requests", "Requests answered together.", buckets=_SIZES, **new
        )
        self.answers = Counter("recsmith_answers_total", "Lists.", ["from"], **new)
        self.events = Counter("recsmith_events_total", "Events.", ["outcome"], **new)
        self.without_effect = Counter(
            "recsmith_events_without_effect_total", "Events that change no list.", ["reason"], **new
        )
        self.dropped = Counter(
            "recsmith_exposures_dropped_total", "Exposures that could not be stored.", **new
        )
        self.unreadable = Counter(
            "recsmith_redis_unreadable_total", "Values in Redis that somebody else wrote.", **new
        )
        mode: Any = {"multiprocess_mode": "max"}
        self.degraded = Gauge("recsmith_degraded", "1 while the store is out of reach.", **mode, **new)

    def text(self) -> bytes:
        """All of it, those of other workers included, as Prometheus reads it."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        multiprocess.MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)


class JsonLines(logging.Formatter):
    """A log record as a line of JSON, with the id of the request that it belongs to."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        values: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redacted(record.getMessage()),
        }
        if (current := request_id.get()) is not None:
            values["request_id"] = current
        values |= getattr(record, "fields", {})
        if record.exc_info:
            values["exception"] = redacted(self.formatException(record.exc_info))
        return orjson.dumps(values, default=str).decode("utf-8", "replace")


def set_up_logs(level: str = "INFO") -> None:
    """Send the logs of the service and of its server to standard error, as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("recsmith", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)


class Traces:
    """Spans of requests for OpenTelemetry; without an endpoint there are none."""

    def __init__(self, endpoint: str | None) -> None:
        """Raise ``MissingExtraError`` where an endpoint is given and OpenTelemetry is not installed."""
        self._tracer: Any = None
        if endpoint is None:
            return
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError:
            raise MissingExtraError.of("trace_endpoint", "trace") from None
        self._provider = TracerProvider(resource=Resource.create({"service.name": "recsmith"}))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
        self._tracer = self._provider.get_tracer("recsmith")

    def span(self, name: str, **attributes: str) -> AbstractContextManager[Any]:
        """A span around a request."""
        if self._tracer is None:
            return nullcontext()
        span: AbstractContextManager[Any] = self._tracer.start_as_current_span(name, attributes=attributes)
        return span

    def close(self) -> None:
        """Send what is left."""
        if self._tracer is not None:
            self._provider.shutdown()
