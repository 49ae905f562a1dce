"""What a rule may say: the kinds of rules, their keys and values. ``rules`` reads a file of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, TypeAlias

from pydantic import ConfigDict, Field, model_validator

from recsmith.config import Config
from recsmith.serving.filters import Filter

Scalar: TypeAlias = str | bool | int | float

_MOST = 1000.0  # of what raises a relevance, which is at most 1 without


class Where(Config):
    """Items by their metadata."""

    where: dict[str, Any]
    """A filter, as ``filters`` describes it."""


class WhereOrId(Config):
    """Items by their metadata, or by id."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    where: dict[str, Any] | None = None
    """A filter, as ``filters`` describes it."""


class Exclude(WhereOrId):
    """Items that no list holds."""

    items: tuple[str, ...] | None = None
    """Their ids. One that nobody knows hides nothing."""

    @model_validator(mode="after")
    def _one(self) -> Exclude:
        if (self.where is None) == (self.items is None):
            raise ValueError("either 'where' or 'items'")
        return self


class Pin(WhereOrId):
    """An item at a fixed place."""

    item: str | None = None
    """Its id. Nothing is pinned while nobody knows it."""
    slot: int = Field(ge=1)
    """Its place, from 1. Where an earlier pin has it, the next free one."""
    always: bool = False
    """Also for a user who has had the item, skipped it or does not like it; otherwise its place goes to the next."""

    @model_validator(mode="after")
    def _one(self) -> Pin:
        if (self.where is None) == (self.item is None):
            raise ValueError("either 'where' or 'item'")
        return self


class AlreadyBought(Config):
    """Items that the user had."""

    hide: bool = True
    """Leave them out."""
    events: tuple[str, ...] = Field(default=("purchase",), min_length=1)
    """Kinds of events that count."""
    days: float | None = Field(default=None, gt=0)
    """For how long they are left out; null: for ever."""


class Boost(Where):
    """Items that rank higher, or lower, than the model has them.

    The factor acts on the place among the candidates: the best of c candidates has relevance 1, the next
    1 - 1/c, the last 1/c. So a factor means the same for scores of any scale and sign, and for candidates of the
    model and of the fallback, whose scores cannot be compared: ``by: 2`` takes an item from the middle to the top.
    """

    by: float = Field(gt=0, le=_MOST)
    """Factor of the relevance: above 1 raises, below 1 lowers."""


class Freshness(Config):
    """Newer items rank higher: ``weight * 0.5 ** (age / half_life_days)`` is added to the relevance of ``Boost``."""

    field: str
    """Metadata with Unix seconds, ISO 8601 dates or years. An item without it gets nothing."""
    half_life_days: float = Field(ge=0.001)
    """Age at which half of the weight is left."""
    weight: float = Field(gt=0, le=_MOST)
    """What a brand-new item gets. 1 is the way from the last candidate to the first."""


class AtMost(Config):
    """A list holds at most so many items of one value, as long as there are others to fill it."""

    field: str
    """Metadata; an item with several values counts for each."""
    n: int = Field(ge=1)
    """How many."""


class Diversity(Config):
    """Lists whose items are not all alike."""

    mmr: float = Field(ge=0, le=1)
    """Weight of the relevance against being different from the items above: 1 changes nothing."""


class Rule(Config):
    """One rule: a kind with its values, perhaps a name and a condition."""

    name: str | None = Field(default=None, min_length=1)
    """What traces call it; its kind and number where it has none."""
    when: dict[str, Scalar | tuple[Scalar, ...]] = Field(default_factory=dict)
    """Keys of the request's context and the value that each must have, or a list of values."""
    only_available: bool | None = None
    """Leave out what cannot be had. So it is without this rule; false lets everything in."""
    include: Where | None = None
    """Items that alone may be in a list."""
    exclude: Exclude | None = None
    """See ``Exclude``."""
    already_bought: AlreadyBought | None = None
    """See ``AlreadyBought``."""
    boost: Boost | None = None
    """See ``Boost``."""
    freshness: Freshness | None = None
    """See ``Freshness``."""
    pin: Pin | None = None
    """See ``Pin``."""
    at_most: AtMost | None = None
    """See ``AtMost``."""
    diversity: Diversity | None = None
    """See ``Diversity``."""

    @model_validator(mode="after")
    def _one_kind(self) -> Rule:
        if sum(getattr(self, kind) is not None for kind in KINDS) != 1:
            raise ValueError(f"a rule with exactly one of {', '.join(KINDS)}")
        return self

    @property
    def kind(self) -> str:
        """The key that says what the rule does."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def reranks(self) -> bool:
        """Whether the rule may bring up an item that would else not be in the list."""
        return self.kind in ("boost", "freshness", "pin", "at_most", "diversity")

    @cached_property
    def filter(self) -> Filter | None:
        """The items that the rule is about, where it says so by metadata. Raises as ``Filter.parse``."""
        about = self.include or self.exclude or self.boost or self.pin
        return None if about is None or about.where is None else Filter.parse(about.where, "'where'")

    @property
    def fields(self) -> frozenset[str]:
        """The metadata that the rule looks at."""
        named = self.freshness or self.at_most
        if named is not None:
            return frozenset({named.field})
        return frozenset() if self.filter is None else self.filter.fields

    def holds(self, context: Mapping[str, Any]) -> bool:
        """Whether a request with this context is meant."""
        return all(
            context.get(key) in (wanted if isinstance(wanted, tuple) else (wanted,))
            for key, wanted in self.when.items()
        )


KINDS = tuple(name for name in Rule.model_fields if name not in ("name", "when"))
