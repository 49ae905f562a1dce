"""Who may pass: host and origin, the kind and size of the body, the key, the rate; and what a failure becomes."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recsmith.serving.access import allows, needed
from recsmith.serving.events import Role
from recsmith.serving.origins import EVERY, Origins
from recsmith.serving.problems import of_error, problem
from recsmith.serving.runtime import Runtime
from recsmith.serving.settings import Settings

log = logging.getLogger("recsmith.requests")
_WITHOUT_BODY = ("GET", "OPTIONS")  # HEAD has become GET


class _TooLongError(Exception):
    """The body is longer than it may be."""


class Guard:
    """ASGI middleware right around the routes. CORS is outside of it, so that a page may read why it was refused."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings
        hosts = settings.allowed_hosts
        if hosts is None:
            hosts = (EVERY,) if settings.auth == "keys" else ()
        self.origins = Origins(hosts, settings.cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        refused = self._refusal(scope, dict(scope["headers"]))
        if refused is not None:
            await refused(scope, receive, send)
            return
        try:
            await self.app(scope, self._limited(receive), noted)
        except _TooLongError:
            if not begun:
                await self._too_long(scope["path"])(scope, receive, send)
        except ClientDisconnect:  # there is nobody to answer; it is counted as what it was
            await problem(408, "The request did not come whole.", instance=scope["path"])(
                scope, receive, send
            )
        except Exception as error:
            if begun:
                log.exception("a request failed after its answer had begun")
            else:
                await of_error(error, scope["path"])(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Mapping[bytes, bytes]) -> ASGIApp | None:
        """A response to a request that may not pass."""
        path, method = scope["path"], scope["method"]
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self.settings.body_bytes:
            return self._too_long(path)
        role = needed(method, path)
        if role is None or method == "OPTIONS":
            return None
        refused = self._elsewhere(scope, headers) or _not_json(method, path, headers)
        return refused or self._without_right(scope, headers, role)

    def _elsewhere(self, scope: Scope, headers: Mapping[bytes, bytes]) -> ASGIApp | None:
        """The refusal of a request under a foreign host name or, where authentication is off, from a foreign page."""
        host, server = headers.get(b"host", b""), scope.get("server")
        if not self.origins.knows(host, server[0] if server else None):
            detail = (
                f"This service does not answer to the host name {host.decode('latin-1')[:100]!r}. Use localhost, or "
                "add the name to the setting 'allowed_hosts'."
            )
            return problem(421, detail, instance=scope["path"])
        if self.settings.auth == "off" and self.origins.is_foreign(headers):
            detail = (
                "A page of another origin may not call this service, as authentication is off. Add its origin to the "
                "setting 'cors_origins'."
            )
            return problem(403, detail, instance=scope["path"])
        return None

    def _without_right(self, scope: Scope, headers: Mapping[bytes, bytes], role: Role) -> ASGIApp | None:
        """The refusal of a caller without the key for ``role``, or of one who calls too often."""
        path, client = scope["path"], scope.get("client")
        parts: Runtime | None = getattr(scope["app"].state, "runtime", None)
        if parts is None:
            return problem(503, "The service is not ready.", instance=path, headers={"Retry-After": "1"})
        caller = f"address {client[0]}" if client else "unknown"
        if self.settings.auth == "keys":
            secret = headers.get(b"x-api-key", b"").decode("latin-1")
            if not secret and headers.get(b"authorization", b"")[:7].lower() == b"bearer ":
                secret = headers[b"authorization"][7:].decode("latin-1")
            key = parts.keys.find(secret) if secret else None
            if key is None:
                detail = "This key is not valid." if secret else "Give an API key in the header X-API-Key."
                authenticate = {"WWW-Authenticate": "Bearer"}
                return self._over(parts, caller, path) or problem(
                    401, detail, instance=path, headers=authenticate
                )
            if not allows(key, role):
                detail = f"This needs a key of the role {role!r}, and yours is a {key.role!r}."
                return problem(403, detail, instance=path)
            caller = f"key {key.id}"
        scope["caller"] = caller
        return self._over(parts, caller, path)

    def _over(self, parts: Runtime, caller: str, path: str) -> ASGIApp | None:
        wait = parts.limit.exceeded(caller)
        if wait is None:
            return None
        detail = f"More than {self.settings.rate_per_minute} requests in this minute. Wait {wait} s."
        return problem(429, detail, instance=path, headers={"Retry-After": str(wait)})

    def _too_long(self, path: str) -> ASGIApp:
        detail = f"The body is longer than {self.settings.body_bytes} bytes. Send less at once."
        return problem(413, detail, instance=path)

    def _limited(self, receive: Receive) -> Receive:
        """``receive`` that stops a body which grows too long; its length need not be given beforehand."""
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.settings.body_bytes:
                raise _TooLongError
            return message

        return limited


def _not_json(method: str, path: str, headers: Mapping[bytes, bytes]) -> ASGIApp | None:
    """The refusal of a body that does not say that it is JSON: pages may send no such body to other origins unasked."""
    if method in _WITHOUT_BODY:
        return None
    given = headers.get(b"content-type")
    if given is None and headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers:
        return None  # there is no body
    if given is not None and given.partition(b";")[0].strip().lower() == b"application/json":
        return None
    shown = "none" if given is None else repr(given.decode("latin-1")[:100])
    detail = f"The header Content-Type: expected application/json, got {shown}."
    return problem(415, detail, instance=path, headers={"Accept": "application/json"})
