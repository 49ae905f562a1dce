"""What goes into the store and comes out of it: events, exposures, items, keys and changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from typing import Any, Literal, TypeAlias

Role: TypeAlias = Literal["reader", "writer", "admin"]
ItemState: TypeAlias = Literal["merged", "replaced", "deleted"]
"""What was written of an item lies over the bundle's part of it, stands in its place, or takes the item away."""

Kind: TypeAlias = Literal["user", "item", "erased", "key", "setting"]

LAST = 2**62  #: behind every change
EXPLORE = "explore:"  #: before the name of a policy, in the source of a place that it filled


def digest(text: str) -> str:
    """128 bits of BLAKE2b as 32 hexadecimal digits, for any text.

    Indices and changes hold it in place of an id: it is short however long the id is, and does not tell the id of
    an erased user to one who does not know it.
    """
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def hash_secret(secret: str) -> str:
    """SHA-256 of an API key, which alone is kept of it.

    The secret has 256 random bits, so nobody finds it by trying, and a slow hash such as passwords need would add
    nothing.
    """
    return sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class NewEvent:
    """Something that a user did with an item."""

    event_id: str  #: given by the sender; the same one again is the same event
    user_id: str
    item_id: str
    event_type: str  #: view, click, purchase, rating, skip, ...
    value: float | None  #: a rating on the data's scale, or None
    timestamp: int  #: Unix seconds
    recomm_id: str | None  #: the answer that led to it
    live: bool = field(default=False, kw_only=True)
    """It happened when it came: its place in the history is behind all that came before, whatever the clock said."""


@dataclass(frozen=True, slots=True)
class Event(NewEvent):
    """An event as it is stored."""

    seq: int  #: rises in the order in which events were committed


@dataclass(frozen=True, slots=True)
class Exposure:
    """A list that was answered, or would have been in shadow mode."""

    recomm_id: str
    user_id: str
    model_version: str
    experiment: str | None  #: its name
    variant: str | None  #: of the experiment
    shadow: bool  #: computed, not shown
    timestamp: int  #: Unix seconds
    items: str  #: JSON, a list with item_id, score, rank, source, propensity and chance of each slot
    mark: int = field(default=LAST, kw_only=True, compare=False)
    """The change up to which the list knew the store: it is not logged after a later erasure of its user."""


@dataclass(frozen=True, slots=True)
class LoggedExposure(Exposure):
    """An exposure as it is stored."""

    seq: int  #: rises in the order in which exposures were committed


@dataclass(frozen=True, slots=True)
class Item:
    """What was written of an item."""

    item_id: str
    metadata: Mapping[str, Any]  #: JSON; null removes a field of the bundle's
    available: bool
    state: ItemState = "merged"


@dataclass(frozen=True, slots=True)
class ItemChange:
    """What is to be changed of an item; all else stays as it is."""

    item_id: str
    metadata: Mapping[str, Any] | None = (
        None  #: fields, each of which replaces what was written under its name
    )
    available: bool | None = None


@dataclass(frozen=True, slots=True)
class Quarantined:
    """An event that could not be taken."""

    seq: int
    payload: str  #: as it came
    reason: str
    timestamp: int  #: of its arrival, Unix seconds


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key, of which only a hash is known."""

    id: int
    name: str
    role: Role
    hash: str  #: ``hash_secret`` of it
    created: int  #: Unix seconds
    revoked: int | None  #: Unix seconds; None while it is valid

    def shown(self) -> dict[str, Any]:
        """What an administrator may see of it."""
        return {name: getattr(self, name) for name in ("id", "name", "role", "created", "revoked")}


@dataclass(frozen=True, slots=True)
class Change:
    """Something that a worker may have in memory is no longer what it was."""

    seq: int
    kind: Kind
    key: str
    """Item id, id of the API key, or name of the setting; of ``user`` and ``erased`` the ``digest`` of the user id."""


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes after a mark, oldest first."""

    mark: int  #: where to go on
    rows: list[Change] = field(default_factory=list)
    lost: bool = False  #: some were pruned before they were read: forget everything
