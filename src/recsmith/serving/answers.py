"""Answers: what is kept of one, and how it becomes the body of a response."""

from __future__ import annotations

import itertools
import secrets
import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import orjson

from recsmith.serving.events import Exposure


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A list as it was made for a user, without what differs from one asking to the next."""

    recommendations: orjson.Fragment  #: the list as JSON
    explanation: str  #: where the list comes from, in words
    shown: str  #: what the exposure log holds of each place, as JSON; text, since many answers are kept
    model_version: str
    experiment: str | None = None
    variant: str | None = None

    def body(self, user: str | None, recomm_id: str, now: float, *, degraded: bool = False) -> bytes:
        """The response as JSON; ``degraded`` says in it that newer events may be missing."""
        values: dict[str, Any] = {
            "user_id": user,
            "recommendations": self.recommendations,
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

    def exposure(self, user: str | None, recomm_id: str, now: float, *, shadow: bool = False) -> Exposure:
        """What the log holds of it."""
        return Exposure(
            recomm_id,
            user or "",
            self.model_version,
            self.experiment,
            self.variant,
            shadow,
            int(now),
            self.shown,
        )


class Numbers:
    """Ids that nobody else gives out. A worker makes its own: what it is forked from must not have drawn them."""

    def __init__(self) -> None:
        self._prefix, self._count = secrets.token_hex(6), itertools.count(1)

    def next(self) -> str:
        """Another one."""
        return f"{self._prefix}-{next(self._count):x}"


class Kept:
    """The latest answers, least lately wanted first to go."""

    def __init__(self, size: int, seconds: float) -> None:
        """At most ``size`` answers, none older than ``seconds``."""
        self._size, self._seconds = size, seconds
        self._answers: OrderedDict[Hashable, tuple[float, Answer]] = OrderedDict()

    def get(self, key: Hashable) -> Answer | None:
        """The answer under a key, if it is not too old."""
        found = self._answers.get(key)
        if found is None or found[0] < time.monotonic():
            return None
        self._answers.move_to_end(key)
        return found[1]

    def put(self, key: Hashable, answer: Answer) -> None:
        """Keep an answer."""
        self._answers[key] = (time.monotonic() + self._seconds, answer)
        self._answers.move_to_end(key)
        while len(self._answers) > self._size:
            self._answers.popitem(last=False)
