"""What goes over the wire. Ids are text; a number is taken for the text that spells it."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    WithJsonSchema,
    model_validator,
)

from recsmith.serving.filters import Filter
from recsmith.serving.json_values import Metadata

BUNDLE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
_LONGEST_ID = 512
_MOST_IDS = 10_000
_CONTEXT_BYTES = 16_384
_LAST_SECOND = 253_402_300_799  # 9999-12-31


def _as_text(value: Any) -> Any:
    """An integer id as text; a bool is no id."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


TEXT_ID = {"type": "string", "minLength": 1, "maxLength": _LONGEST_ID, "pattern": "^[^\\u0000]*$"}
Id = Annotated[
    str,
    BeforeValidator(_as_text),
    Field(min_length=1, max_length=_LONGEST_ID, pattern=r"^[^\x00]*$"),
    WithJsonSchema({"anyOf": [TEXT_ID, {"type": "integer"}]}),
]
Ids = Annotated[list[Id], Field(max_length=_MOST_IDS)]
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00]*$")]


BundleName = Annotated[str, Field(pattern=BUNDLE_NAME)]


def _is_filter(given: dict[str, Any]) -> dict[str, Any]:
    Filter.parse(given)
    return given


class Wire(BaseModel):
    """What a request may hold; an unknown name is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Context(BaseModel):
    """What is known of the moment. Other names may be given, and matched by the ``when`` of a rule."""

    model_config = ConfigDict(extra="allow", frozen=True)

    recent_items: Ids = []
    """Items looked at in this session, oldest first, that were not sent as feedback."""

    @model_validator(mode="after")
    def _short(self) -> Context:
        text = json.dumps(self.model_extra, ensure_ascii=False, default=str)
        if (length := len(text.encode("utf-8", "surrogatepass"))) > _CONTEXT_BYTES:
            raise ValueError(
                f"expected at most {_CONTEXT_BYTES} bytes of JSON besides recent_items, got {length}"
            )
        return self


_NO_CONTEXT = Context()


class RecommendRequest(Wire):
    """Who wants a list, and of what."""

    user_id: Id | None = None
    """None: an anonymous session, known by ``context.recent_items``."""
    num_recommendations: int = Field(default=10, ge=1, le=1000)
    exclude_items: Ids = Field(default_factory=list)
    include_items: Ids | None = None
    """These alone may be recommended; unknown ids are passed over."""
    filters: Annotated[dict[str, Any], AfterValidator(_is_filter)] | None = None
    """Conditions on item metadata: ``{"genres": {"contains": "Comedy"}}``."""
    context: Context = Field(default_factory=lambda: _NO_CONTEXT)
    explain: StrictBool = False
    """Give for each item the items of the history that brought it, and what rules did."""
    include_seen: StrictBool = False
    """Also items that the user has had."""
    explore: StrictBool = True
    """Let a policy fill the places of exploration, where the service has them."""


class RecommendBatch(Wire):
    """Several requests, answered together."""

    requests: list[RecommendRequest] = Field(min_length=1, max_length=1000)


class Feedback(Wire):
    """What a user said of an item, in one word or one number."""

    user_id: Id
    item_id: Id
    feedback: StrictBool | float | Name = Field(union_mode="left_to_right")
    """A type of event (like, dislike, click, purchase, skip, view), a rating, or true or false: like or dislike."""
    recomm_id: Name | None = None
    event_id: Name | None = None


class EventIn(Wire):
    """An event."""

    user_id: Id
    item_id: Id
    event_type: Name
    event_id: Name | None = None
    """The same id is stored once, however often it is sent; without one the event cannot be sent again safely."""
    value: float | None = None
    """The rating of a ``rating``, else what the sender means by it."""
    timestamp: float | None = Field(default=None, ge=0, le=_LAST_SECOND)
    """Unix seconds; None: now."""
    recomm_id: Name | None = None

    @model_validator(mode="after")
    def _rated(self) -> EventIn:
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError("value must be a finite number")
        if self.event_type == "rating" and self.value is None:
            raise ValueError("an event of the type rating needs a value")
        return self


class EventBatch(BaseModel):
    """Events to store; each is looked at by itself, and a bad one does not stop the others."""

    model_config = ConfigDict(extra="forbid")

    events: list[Any] = Field(min_length=1, max_length=10_000)


class ItemPatch(Wire):
    """What changes of an item: a field that is given replaces the one of its name, and null removes it."""

    metadata: Metadata | None = None
    """None: it stays as it is."""
    available: StrictBool | None = None
    """None: it stays as it is; a new item is available."""


class ItemIn(ItemPatch):
    """An item to add, or what changes of one."""

    item_id: Id


class ItemPut(Wire):
    """All that is known of an item."""

    metadata: Metadata = {}
    available: StrictBool = True


class ItemBatch(Wire):
    """Items to add or change."""

    items: list[ItemIn] = Field(min_length=1, max_length=10_000)


class WhyNot(Wire):
    """Which item is missed in whose list."""

    user_id: Id | None = None
    item_id: Id
    num_recommendations: int = Field(default=10, ge=1, le=1000)
    context: Context = Context()


class KeyIn(Wire):
    """A new API key."""

    name: Name
    role: Literal["reader", "writer", "admin"]


class RulesIn(Wire):
    """Rules as YAML text."""

    text: str = Field(max_length=100_000)


class RecommendedItem(BaseModel):
    """A place of a list."""

    item_id: str
    score: float | None
    rank: int
    source: str
    metadata: dict[str, Any]


class Recommendations(BaseModel):
    """A list, and where it comes from."""

    user_id: str | None
    recommendations: list[RecommendedItem]
    explanation: str
    timestamp: float
    recomm_id: str
    model_version: str


class SimilarItem(BaseModel):
    """An item that is like another."""

    item_id: str
    similarity: float
    metadata: dict[str, Any]


class Similar(BaseModel):
    """Items that are like one."""

    item_id: str
    similar_items: list[SimilarItem]


class Problem(BaseModel):
    """An error as RFC 9457 gives it."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None
    request_id: str | None = None
    """Of a failure that is not the sender's: what the log says of it stands under this id."""
    errors: list[dict[str, Any]] | None = None
