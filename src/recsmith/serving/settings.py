"""What the service is told: by its command line, a YAML file, and variables of the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

import yaml
from pydantic import Field, field_validator

from recsmith.config import Config
from recsmith.errors import DataError, ParameterError
from recsmith.models.bandits.explore import PLACES, are_places
from recsmith.serving.origins import HostName, Network, Origin
from recsmith.variables import PREFIX, check_variables

_LONGEST_LIST = 1000
DISLIKE = 0.5  #: place on the rating scale below which an event says that the user does not want the item


class Signal(Config):
    """What an event of a type says of its user."""

    weight: float = Field(default=1.0, ge=0)
    """Confidence of the event in the history, >= 0; with 0 it is no part of it."""
    rating: float = Field(default=1.0, ge=0, le=1)
    """Place on the rating scale, 0 (lowest) to 1 (highest), where the event has no value; below 0.5 it is a dislike."""
    hides: bool = True
    """Whether the item is not recommended again."""


SIGNALS: Mapping[str, Signal] = {
    "view": Signal(weight=0.3, rating=0.7),
    "click": Signal(weight=0.5, rating=0.75),
    "like": Signal(),
    "purchase": Signal(),
    "rating": Signal(),
    "skip": Signal(weight=0, rating=0.4),
    "dislike": Signal(weight=0, rating=0),
}


class ExplorationSettings(Config):
    """Places of every list that a policy fills, to find out what is liked."""

    policy: Literal["thompson", "epsilon-greedy", "ucb1"] = "thompson"
    """Registered name; of those that look at the item alone, as what they know outlives a retraining."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Its parameters."""
    slots: int | tuple[int, ...] = 1
    """Places from 1, or how many at the end of the list."""
    candidates: int = Field(default=50, ge=2)
    """Best items of a request that the list and the policy share, >= 2."""
    reward: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(
        default_factory=lambda: {"click": 1.0, "like": 1.0, "purchase": 1.0}
    )
    """What a type of event is worth, 0 to 1; of several the largest counts."""
    wait_seconds: float = Field(default=600.0, ge=0)
    """How long an item that was shown waits for such an event, >= 0; later ones do not count."""

    @field_validator("slots")
    @classmethod
    def _places(cls, slots: int | tuple[int, ...]) -> int | tuple[int, ...]:
        if not are_places(slots):
            raise ValueError(PLACES)
        return slots


class Settings(Config):
    """Parameters of the service; each has a variable, ``RECSMITH_STORE_URL`` for ``store_url``."""

    store_url: str = "sqlite:///recsmith.db"
    """Database of events: ``sqlite:///FILE`` or ``postgresql://USER:PASSWORD@HOST/NAME``."""
    redis_url: str | None = None
    """Redis for answers that workers share and for the rate limit; None: each worker by itself."""
    store_read_seconds: float = Field(default=1.0, gt=0)
    """Seconds that a list waits for the database, > 0; then it is made from what is in memory, and says so."""
    store_write_seconds: float = Field(default=5.0, gt=0)
    """Seconds that feedback, and whatever else is stored, waits for the database, > 0; then it gets 503."""
    bundles: Path | None = None
    """Folder whose subfolders are bundles that an administrator may load."""
    rules: Path | None = None
    """YAML file of rules to start with; rules that were set over HTTP win."""
    auth: Literal["keys", "off"] = "keys"
    """keys: every route but health, page and documentation wants an API key."""
    rate_per_minute: int = Field(default=600_000, ge=1)
    """Requests of a key, or of an address without one, in a minute, >= 1."""
    body_bytes: int = Field(default=1 << 23, ge=1024)
    """Longest body of a request, >= 1024; by default 8 MiB, which hold 10,000 events or ids of any length."""
    list_length: int = Field(default=_LONGEST_LIST, ge=1, le=_LONGEST_LIST)
    """Most items of an answer, 1 to 1000."""
    history_length: int = Field(default=1000, ge=1)
    """Newest events of a user that are read, >= 1."""
    users_in_memory: int = Field(default=100_000, ge=1)
    """Users whose events a worker keeps, the latest, >= 1."""
    cache_bytes: int = Field(default=64 << 20, ge=0)
    """Memory of a worker for answers that may be given again, in bytes, >= 0; 0: none are."""
    answers_seconds: int = Field(default=300, ge=1)
    """Age at which a kept answer is made anew, >= 1."""
    waiting: int = Field(default=2000, ge=1)
    """Requests that may wait for an answer; more are refused with 503, >= 1."""
    together: int = Field(default=64, ge=1)
    """Requests answered in one go, >= 1."""
    max_work: int = Field(default=500_000, ge=1000)
    """Most work of one call, in places of a list (``recsmith.serving.work``), >= 1000; more is refused with 422."""
    max_connections: int = Field(default=2000, ge=1)
    """Connections of a worker, >= 1; when there are more, those that wait longest for a request are closed."""
    client_seconds: float = Field(default=30.0, gt=0)
    """Time for a client to send a request whole, and to take the next part of its answer, > 0; then it is let go."""
    threads: int = Field(default=1, ge=1)
    """Threads that score a batch, >= 1."""
    cors_origins: tuple[Origin, ...] = ()
    """Origins of other sites whose pages may call: ``https://shop.example``, or ``*`` for all; none by default."""
    allowed_hosts: tuple[HostName, ...] | None = None
    """Host names, without port, that are answered to beside ``localhost`` and the address itself: ``shop.example``,
    ``*.example`` for the names below it, ``*`` for all. None: all with keys, no other without; health answers always.
    """
    trusted_proxies: tuple[Network, ...] = ()
    """Addresses and networks of proxies whose ``X-Forwarded-For`` says who calls, or ``*``; none by default."""
    signals: dict[str, Signal] = Field(default_factory=lambda: dict(SIGNALS))
    """What each type of event says; other types are stored and say nothing."""
    exploration: ExplorationSettings | None = None
    """Places that a policy fills; None: lists are the recommender's alone."""
    request_log: Literal["all", "errors", "none"] = "errors"
    """Which requests leave a line in the log: all, those refused or failed, or none; what is counted are all."""
    trace_endpoint: str | None = None
    """OTLP over HTTP for OpenTelemetry traces (extra ``trace``); None: none are made."""

    @classmethod
    def load(
        cls,
        file: Path | None = None,
        environment: Mapping[str, str] | None = None,
        *,
        defaults: Mapping[str, Any] | None = None,
        **given: Any,
    ) -> Settings:
        """``defaults``, over these the settings of a YAML ``file``, the environment's, and those ``given`` but None.

        Raises
        ------
        DataError
            A file that is no YAML mapping.
        ParameterError
            An unknown name, also of a variable, or a value out of range.
        """
        values = dict(defaults or {}) | ({} if file is None else _mapping(file))
        environment = os.environ if environment is None else environment
        check_variables(environment, [PREFIX + name.upper() for name in cls.model_fields])
        for name in cls.model_fields:
            if (text := environment.get(PREFIX + name.upper())) is not None:
                values[name] = _parsed(name, text)
        values |= {name: value for name, value in given.items() if value is not None}
        return cls.make("the service", **values)


def _parsed(name: str, text: str) -> Any:
    """A variable's value: text, or what YAML makes of it where a setting is no text."""
    kind = Settings.model_fields[name].annotation
    if kind in (str, str | None, Path | None) or get_origin(kind) is Literal:
        return text or None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise ParameterError.of("the environment", PREFIX + name.upper(), "YAML", text) from None


def _mapping(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise DataError(f"There is no file {file}.")
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read as YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(values, dict):
        raise DataError(f"{file}: wanted settings, a line 'name: value' each. Got {type(values).__name__}.")
    return values
