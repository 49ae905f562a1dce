"""Redis, for what workers share and may lose: answers and the counts of the rate limit."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import orjson
import redis

from recsmith.errors import ParameterError
from recsmith.serving.answers import Answer

log = logging.getLogger("recsmith.serving")
_PREFIX = "recsmith:"
_ANSWERS = _PREFIX + "answer:2:"  # the number changes with the form of what is kept
_AGAIN_SECONDS = 5.0  # before a server that was gone is asked again
_PATIENCE_SECONDS = 0.25


class Shared:
    """A Redis server that may be gone: then nothing is found and nothing is kept, and the service goes on."""

    def __init__(self, url: str) -> None:
        """Raise ``ParameterError`` where ``url`` is none of Redis."""
        try:
            self._redis = redis.Redis.from_url(
                url, socket_timeout=_PATIENCE_SECONDS, socket_connect_timeout=_PATIENCE_SECONDS
            )
        except ValueError as error:
            raise ParameterError.of("the service", "redis_url", "redis://HOST:PORT/NUMBER", url) from error
        self._gone_until = 0.0

    @property
    def there(self) -> bool:
        """Whether the server answered lately."""
        return time.monotonic() >= self._gone_until

    def get(self, keys: Sequence[Hashable]) -> list[Answer | None]:
        """Answers under keys."""
        found = self._ask(lambda: self._redis.mget([_name(key) for key in keys]))
        return [None if text is None else _decoded(text) for text in found or [None] * len(keys)]

    def put(self, answers: Mapping[Hashable, Answer], seconds: int) -> None:
        """Keep answers for some seconds."""

        def send() -> None:
            with self._redis.pipeline(transaction=False) as pipe:
                for key, answer in answers.items():
                    pipe.set(_name(key), _encoded(answer), ex=seconds)
                pipe.execute()

        self._ask(send)

    def add(self, name: str, counts: Mapping[str, int], seconds: int) -> dict[str, int]:
        """Add counts to what all workers count under ``name``, and give the sums."""

        def send() -> dict[str, int]:
            with self._redis.pipeline(transaction=False) as pipe:
                for who, count in counts.items():
                    pipe.hincrby(_PREFIX + name, who, count)
                pipe.expire(_PREFIX + name, seconds)
                return dict(zip(counts, pipe.execute(), strict=False))

        return (self._ask(send) or {}) if counts else {}

    def close(self) -> None:
        """Let go of the connections."""
        self._redis.close()

    def _ask(self, question: Any) -> Any:
        """What a question gives; None while the server is gone."""
        if not self.there:
            return None
        try:
            return question()
        except (redis.RedisError, OSError) as error:
            log.warning("Redis is out of reach, and is asked again in %g s: %s", _AGAIN_SECONDS, error)
            self._gone_until = time.monotonic() + _AGAIN_SECONDS
            return None


def _name(key: Hashable) -> str:
    text = repr(key).encode("utf-8", "surrogatepass")
    return f"{_ANSWERS}{hashlib.blake2b(text, digest_size=20).hexdigest()}"


def _encoded(answer: Answer) -> bytes:
    return orjson.dumps(
        [
            answer.recommendations,
            answer.explanation,
            answer.shown,
            answer.model_version,
            answer.experiment,
            answer.variant,
        ]
    )


def _decoded(text: bytes) -> Answer:
    recommendations, *rest = orjson.loads(text)
    return Answer(orjson.Fragment(orjson.dumps(recommendations)), *rest)
