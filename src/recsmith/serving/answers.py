"""Answers: what is kept of one, and how it becomes the body of a response."""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import orjson

from recsmith.serving.events import Exposure

_OVERHEAD = 1024  # bytes of an answer besides its texts, with its key and its place in a cache


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A list as it was made for a user, without what differs from one asking to the next."""

    recommendations: bytes  #: the list as JSON
    explanation: str  #: where the list comes from, in words
    shown: str  #: what the exposure log holds of each place, as JSON; text, since many answers are kept
    model_version: str
    experiment: str | None = None
    variant: str | None = None

    @property
    def size_bytes(self) -> int:
        """What it takes in memory, about."""
        return len(self.recommendations) + len(self.explanation) + len(self.shown) + _OVERHEAD

    def body(self, user: str | None, recomm_id: str, now: float, *, degraded: bool = False) -> bytes:
        """The response as JSON; ``degraded`` says in it that newer events may be missing."""
        values: dict[str, Any] = {
            "user_id": user,
            "recommendations": orjson.Fragment(self.recommendations),
            "explanation": self.explanation,
            "timestamp": now,
            "recomm_id": recomm_id,
            "model_version": self.model_version,
        }
        if self.variant is not None:
            values["variant"] = self.variant
        if degraded:
            values["degraded"] = True
        return orjson.dumps(values)

    def exposure(
        self, user: str | None, recomm_id: str, now: float, mark: int, *, shadow: bool = False
    ) -> Exposure:
        """What the log holds of it; ``mark`` is the change up to which it knew the store."""
        return Exposure(
            recomm_id,
            user or "",
            self.model_version,
            self.experiment,
            self.variant,
            shadow,
            int(now),
            self.shown,
            mark=mark,
        )


class Numbers:
    """Ids that nobody else gives out. A worker makes its own: what it is forked from must not have drawn them."""

    def __init__(self) -> None:
        self._prefix, self._count = secrets.token_hex(6), itertools.count(1)

    def next(self) -> str:
        """Another one."""
        return f"{self._prefix}-{next(self._count):x}"


class ResponseCache:
    """The latest answers, the least recently used first to go; safe to use from many threads."""

    def __init__(self, max_bytes: int, ttl_seconds: float) -> None:
        """Answers of at most ``max_bytes`` together, none older than ``ttl_seconds``."""
        self._max_bytes, self._ttl_seconds = max_bytes, ttl_seconds
        self._lock = threading.Lock()
        self._answers: OrderedDict[bytes, tuple[float, Answer]] = OrderedDict()
        self.size_bytes = 0  #: of the answers that it holds, about

    def get(self, key: bytes) -> Answer | None:
        """The answer under a key, if it is not too old."""
        with self._lock:
            found = self._answers.get(key)
            if found is None or found[0] < time.monotonic():
                return None
            self._answers.move_to_end(key)
            return found[1]

    def put(self, key: bytes, answer: Answer) -> None:
        """Hold an answer; one that is longer than all may be is not held."""
        if answer.size_bytes > self._max_bytes:
            return
        with self._lock:
            if (old := self._answers.pop(key, None)) is not None:
                self.size_bytes -= old[1].size_bytes
            self._answers[key] = (time.monotonic() + self._ttl_seconds, answer)
            self.size_bytes += answer.size_bytes
            while self.size_bytes > self._max_bytes:
                _, (_, gone) = self._answers.popitem(last=False)
                self.size_bytes -= gone.size_bytes
