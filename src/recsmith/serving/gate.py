"""What surrounds every request: its id, the headers of its answer that protect browsers, and what is counted of it."""

from __future__ import annotations

import logging
import re
import time
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recsmith.serving.answers import Numbers
from recsmith.serving.settings import Settings
from recsmith.serving.telemetry import Metrics, Traces, request_id

log = logging.getLogger("recsmith.requests")
_GIVEN_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_SAFE = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]


def _with_slashes_kept(scope: Scope) -> str:
    """The decoded path, in which a slash that was sent as %2F belongs to an id; ``PathId`` decodes it."""
    path: str = scope["path"]
    raw = scope.get("raw_path") or b""
    if b"%2f" not in raw.lower() and "%" not in path:
        return path
    kept = re.sub(rb"%2[fF]", b"%252F", raw.partition(b"?")[0].replace(b"%25", b"%2525"))
    return unquote(kept.decode("latin-1"), errors="replace")


class Gate:
    """ASGI middleware around all others, so that their answers are counted and marked, too."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics, traces: Traces) -> None:
        self.app, self.settings, self.metrics, self.traces = app, settings, metrics, traces
        self.counters: dict[tuple[str, int], tuple[Any, Any]] = {}
        self.numbers = Numbers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; what comes back gets its id. HEAD is what GET would give, without the body."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        head = scope["method"] == "HEAD"
        inner = {**scope, "path": _with_slashes_kept(scope), "method": "GET" if head else scope["method"]}
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        own = given if _GIVEN_ID.fullmatch(given) else self.numbers.next().encode()
        token = request_id.set(own.decode())
        status = 500

        async def marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", own),
                    *(pair for pair in _SAFE if pair[0] not in present),
                ]
            elif head:
                message["body"] = b""
            await send(message)

        try:
            with self.traces.span(f"{scope['method']} {inner['path'][:100]}"):
                await self.app(inner, receive, marked)
        finally:
            self._count(scope["method"], inner, status, time.perf_counter() - start)
            request_id.reset(token)

    def _counters(self, name: str, status: int) -> tuple[Any, Any]:
        """The counters of a route and a status, looked up once."""
        found = self.counters.get((name, status))
        if found is None:
            found = self.metrics.requests.labels(name, str(status)), self.metrics.seconds.labels(name)
            self.counters[name, status] = found
        return found

    def _count(self, method: str, scope: Scope, status: int, seconds: float) -> None:
        route: Any = scope.get("route")
        name = getattr(route, "path_format", None) or getattr(route, "path", None) or "none"
        count, times = self._counters(name, status)
        count.inc()
        times.observe(seconds)
        if self.settings.request_log == "all" or (self.settings.request_log == "errors" and status >= 400):
            fields = {
                "method": method,
                "route": name,
                "status": status,
                "seconds": round(seconds, 6),
            }
            log.info("request", extra={"fields": fields})
