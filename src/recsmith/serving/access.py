"""Who may do what, and how often: API keys, roles and the rate limit."""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from recsmith.serving.events import ApiKey, Role, hash_secret
from recsmith.serving.shared import Shared

_ORDER: Mapping[str, int] = {"reader": 1, "writer": 2, "admin": 3}
_PUBLIC = ("/health", "/docs", "/openapi.json", "/page/", "/ping")
_WRITES = ("/feedback", "/events", "/items")
_MINUTE = 60
_SYNC_SECONDS = 0.5  # between looks at what other workers counted
_MOST_CALLERS = 100_000


def needed(method: str, path: str) -> Role | None:
    """The least role for a route; None for those that are open."""
    if path == "/" or path.startswith(_PUBLIC):
        return None
    if path.startswith("/admin") or (method == "DELETE" and not path.startswith("/items/")):
        return "admin"
    if method != "GET" and path.startswith(_WRITES):
        return "writer"
    return "reader"


class Keys:
    """The valid API keys, of which only hashes are known."""

    def __init__(self, read: Callable[[], list[ApiKey]]) -> None:
        """``read`` gives the keys of the store."""
        self._read = read
        self.reload()

    def reload(self) -> None:
        """Read them anew."""
        self.take(self._read())

    def take(self, keys: Sequence[ApiKey]) -> None:
        """Let these keys, all that there are, open what they may."""
        self._keys = {key.hash: key for key in keys if key.revoked is None}

    def find(self, secret: str) -> ApiKey | None:
        """The key of a secret; compared in constant time."""
        given = hash_secret(secret)
        key = self._keys.get(given)
        return key if key is not None and hmac.compare_digest(key.hash, given) else None


def allows(key: ApiKey, role: Role) -> bool:
    """Whether a key may do what ``role`` may."""
    return _ORDER[key.role] >= _ORDER[role]


class RateLimit:
    """Requests of a caller in a minute; workers that share Redis count together, half a second late."""

    def __init__(self, most: int, shared: Shared | None) -> None:
        """``most`` requests a minute."""
        self._most, self._shared = most, shared
        self._minute, self._counts, self._unsent, self._elsewhere = 0, {}, {}, {}  # type: ignore[var-annotated]
        self._synced, self._lock = 0.0, threading.Lock()

    def exceeded(self, caller: str) -> int | None:
        """Count a request; seconds to wait where it is one too many."""
        now = time.time()
        minute = int(now // _MINUTE)
        if minute != self._minute or len(self._counts) > _MOST_CALLERS:
            self._minute, self._counts, self._unsent, self._elsewhere = minute, {}, {}, {}
        count = self._counts[caller] = self._counts.get(caller, 0) + 1
        if self._shared is not None:
            self._unsent[caller] = self._unsent.get(caller, 0) + 1
            if time.monotonic() - self._synced > _SYNC_SECONDS:
                self._synced = time.monotonic()
                threading.Thread(target=self._sync, args=(minute,), daemon=True).start()
        if max(count, self._elsewhere.get(caller, 0)) > self._most:
            return int((minute + 1) * _MINUTE - now) + 1
        return None

    def _sync(self, minute: int) -> None:
        """Add what was counted here to what all count."""
        with self._lock:
            sent: dict[str, int] = self._unsent
            self._unsent = {}
            totals: dict[str, Any] = (
                self._shared.add(f"rate:{minute}", sent, 2 * _MINUTE) if self._shared else {}
            )
            if minute == self._minute:
                self._elsewhere.update(totals)
