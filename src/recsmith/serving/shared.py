"""Redis, for what workers share and may lose: answers and the counts of the rate limit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import orjson
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from recsmith.errors import ParameterError
from recsmith.serving.answers import Answer

log = logging.getLogger("recsmith.serving")
_PREFIX = "recsmith:"
_ANSWERS = _PREFIX + "answer:3:"  # the number changes with the form of what is kept
_PATIENCE_SECONDS = 0.25
T = TypeVar("T")


class Shared:
    """A Redis server that may be gone: then nothing is found and nothing is kept, and the service goes on.

    Once it did not answer, no request asks it before ``recover`` has reached it. What was written there by somebody
    else is not found.
    """

    def __init__(self, url: str, unreadable: Callable[[int], None]) -> None:
        """``unreadable`` is told of values that are none of recsmith.

        Raises
        ------
        ParameterError
            ``url`` is none of Redis.
        """
        try:
            self._redis = redis.Redis.from_url(
                url,
                socket_timeout=_PATIENCE_SECONDS,
                socket_connect_timeout=_PATIENCE_SECONDS,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError:
            raise ParameterError.of("the service", "redis_url", "redis://HOST:PORT/NUMBER", url) from None
        self._unreadable = unreadable
        self.there = True  #: whether the server answered the last time

    def recover(self) -> None:
        """Find out whether a server that did not answer does again."""
        if self.there:
            return
        try:
            self._redis.ping()
        except (redis.RedisError, OSError):
            return
        self.there = True
        log.info("Redis is back")

    def get(self, keys: Sequence[bytes]) -> list[Answer | None]:
        """Answers under keys."""
        nothing: Sequence[Any] = [None] * len(keys)
        texts = self._ask(lambda: self._redis.mget([_name(key) for key in keys]), nothing)
        found = [None if text is None else _decoded(text) for text in texts]
        self._count_unreadable(
            sum(text is not None and answer is None for text, answer in zip(texts, found, strict=True))
        )
        return found

    def put(self, answers: Mapping[bytes, Answer], seconds: int) -> None:
        """Keep answers for some seconds."""

        def send() -> None:
            with self._redis.pipeline(transaction=False) as pipe:
                for key, answer in answers.items():
                    pipe.set(_name(key), _encoded(answer), ex=seconds)
                pipe.execute()

        self._ask(send, None)

    def add(self, name: str, counts: Mapping[str, int], seconds: int) -> dict[str, int]:
        """Add counts to what all workers count under ``name``, and give the sums."""

        def send() -> list[Any]:
            with self._redis.pipeline(transaction=False) as pipe:
                for who, count in counts.items():
                    pipe.hincrby(_PREFIX + name, who, count)
                pipe.expire(_PREFIX + name, seconds)
                return pipe.execute(raise_on_error=False)

        sums: dict[str, Any] = dict(zip(counts, self._ask(send, []), strict=False)) if counts else {}
        self._count_unreadable(sum(not isinstance(value, int) for value in sums.values()))
        return {who: value for who, value in sums.items() if isinstance(value, int)}

    def close(self) -> None:
        """Let go of the connections."""
        self._redis.close()

    def _ask(self, question: Callable[[], T], otherwise: T) -> T:
        """What a question gives, or ``otherwise`` while the server is gone."""
        if not self.there:
            return otherwise
        try:
            return question()
        except (redis.RedisError, OSError) as error:
            log.warning("Redis is out of reach, and the service goes on without it: %s", error)
            self.there = False
            return otherwise

    def _count_unreadable(self, values: int) -> None:
        if values:
            self._unreadable(values)


def _name(key: bytes) -> str:
    return _ANSWERS + key.hex()


def _encoded(answer: Answer) -> bytes:
    return orjson.dumps(
        [
            orjson.Fragment(answer.recommendations),
            answer.explanation,
            answer.shown,
            answer.model_version,
            answer.experiment,
            answer.variant,
        ]
    )


def _decoded(text: bytes) -> Answer | None:
    """The answer that was encoded; None where it is something else."""
    try:
        recommendations, explanation, shown, version, experiment, variant = orjson.loads(text)
        slots = orjson.loads(shown)
    except (TypeError, ValueError):
        return None
    lists = isinstance(recommendations, list) and isinstance(slots, list)
    texts = isinstance(explanation, str) and isinstance(version, str)
    names = all(name is None or isinstance(name, str) for name in (experiment, variant))
    if not (lists and texts and names and all(isinstance(slot, dict) for slot in (*recommendations, *slots))):
        return None
    return Answer(orjson.dumps(recommendations), explanation, shown, version, experiment, variant)
