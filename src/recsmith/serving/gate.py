"""What every request passes: its id, the size of its body, its key, the rate limit; and what is counted of it."""

from __future__ import annotations

import logging
import re
import time
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recsmith.serving.access import Keys, RateLimit, allows, needed
from recsmith.serving.answers import Numbers
from recsmith.serving.problems import of_error, problem
from recsmith.serving.settings import Settings
from recsmith.serving.telemetry import Metrics, Traces, request_id

log = logging.getLogger("recsmith.requests")
_GIVEN_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_SAFE = [
    (b"x-content-type-options", b"nosniff"),
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


class _TooLongError(Exception):
    """The body is longer than it may be."""


class Gate:
    """ASGI middleware; ``keys`` is None until the store is open."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics, traces: Traces) -> None:
        self.app, self.settings, self.metrics, self.traces = app, settings, metrics, traces
        self.counters: dict[tuple[str, int], tuple[Any, Any]] = {}
        self.numbers = Numbers()
        self.keys: Keys | None = None
        self.limit: RateLimit | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        scope["path"] = _with_slashes_kept(scope)
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        own = given if given and _GIVEN_ID.fullmatch(given) else self.numbers.next().encode()
        token = request_id.set(own.decode())
        status = 500
        begun = False

        async def told(message: Message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
                present = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", own),
                    *(pair for pair in _SAFE if pair[0] not in present),
                ]
            await send(message)

        try:
            with self.traces.span(f"{scope['method']} {scope['path'][:100]}"):
                refused = self._refusal(scope, headers)
                if refused is not None:
                    await refused(scope, receive, told)
                else:
                    await self.app(scope, self._limited(receive), told)
        except _TooLongError:
            if not begun:
                detail = f"The body is longer than {self.settings.body_bytes} bytes. Send less at once."
                await problem(413, detail, instance=scope["path"])(scope, receive, told)
        except Exception as error:
            log.exception("a request failed")
            if not begun:
                await of_error(error, scope["path"])(scope, receive, told)
        finally:
            self._count(scope, status, time.perf_counter() - start)
            request_id.reset(token)

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> ASGIApp | None:
        """A response to a request that may not pass."""
        path, settings = scope["path"], self.settings
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > settings.body_bytes:
            return problem(
                413, f"The body is longer than {settings.body_bytes} bytes. Send less at once.", instance=path
            )
        role = needed(scope["method"], path)
        if role is None or self.keys is None or scope["method"] == "OPTIONS":
            return None
        client = scope.get("client")
        caller = f"address {client[0]}" if client else "somebody"
        if settings.auth == "keys":
            secret = headers.get(b"x-api-key", b"").decode("latin-1")
            if not secret and headers.get(b"authorization", b"")[:7].lower() == b"bearer ":
                secret = headers[b"authorization"][7:].decode("latin-1")
            key = self.keys.find(secret) if secret else None
            if key is None:
                detail = "This key is not valid." if secret else "Give an API key in the header X-API-Key."
                return self._over(caller, path) or problem(
                    401, detail, instance=path, headers={"WWW-Authenticate": "Bearer"}
                )
            if not allows(key, role):
                return problem(
                    403, f"This wants a key of the role {role!r}, and yours is a {key.role!r}.", instance=path
                )
            caller = f"key {key.id}"
        return self._over(caller, path)

    def _over(self, caller: str, path: str) -> ASGIApp | None:
        wait = None if self.limit is None else self.limit.exceeded(caller)
        if wait is None:
            return None
        detail = f"More than {self.settings.rate_per_minute} requests in this minute. Wait {wait} s."
        return problem(429, detail, instance=path, headers={"Retry-After": str(wait)})

    def _limited(self, receive: Receive) -> Receive:
        """``receive`` that stops a body which grows too long; its length need not be told beforehand."""
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.settings.body_bytes:
                raise _TooLongError
            return message

        return limited

    def _counters(self, name: str, status: int) -> tuple[Any, Any]:
        """The counters of a route and a status, looked up once."""
        found = self.counters.get((name, status))
        if found is None:
            found = self.metrics.requests.labels(name, str(status)), self.metrics.seconds.labels(name)
            self.counters[name, status] = found
        return found

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        route: Any = scope.get("route")
        name = getattr(route, "path_format", None) or getattr(route, "path", None) or "none"
        count, times = self._counters(name, status)
        count.inc()
        times.observe(seconds)
        if self.settings.request_log == "all" or (self.settings.request_log == "errors" and status >= 400):
            fields = {
                "method": scope["method"],
                "route": name,
                "status": status,
                "seconds": round(seconds, 6),
            }
            log.info("request", extra={"fields": fields})
