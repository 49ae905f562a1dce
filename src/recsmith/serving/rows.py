"""From what is to be stored to rows of the tables. What one of the databases cannot hold is refused for both."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from typing import Any

import polars as pl

from recsmith.errors import ParameterError
from recsmith.serving.events import Exposure, Item, ItemChange, NewEvent, digest
from recsmith.serving.json_values import MAX_BYTES

EVENT = tuple(
    field.name for field in fields(NewEvent) if not field.kw_only
)  #: columns of an event, in its order
EXPOSURE = tuple(
    field.name for field in fields(Exposure) if not field.kw_only
)  #: columns of an exposure, in its order

#: Columns of the frames of events and of exposures.
EVENT_FRAME = {
    "user_id": pl.String,
    "item_id": pl.String,
    "event": pl.String,
    "value": pl.Float64,
    "timestamp": pl.Int64,
    "recomm_id": pl.String,
    "placed": pl.Int64,
}
EXPOSURE_FRAME = {
    "recomm_id": pl.String,
    "user_id": pl.String,
    "experiment": pl.String,
    "variant": pl.String,
    "model_version": pl.String,
    "timestamp": pl.Int64,
    "shadow": pl.Boolean,
    "items": pl.String,
}

_SHOWN = 80  # characters of a bad value that a message repeats
_MAX_INT = 2**63


def event_row(key: str, event: NewEvent) -> dict[str, Any]:
    """The row of an event whose ``digest`` is ``key``."""
    row = {name: getattr(event, name) for name in EVENT}
    _check_texts("NewEvent", row)
    if event.value is not None and not math.isfinite(event.value):
        raise ParameterError.of("NewEvent", "value", "a finite number or None", event.value)
    _check_time("NewEvent", event.timestamp)
    return {**row, "event_key": key, "user_key": digest(event.user_id)}


def exposure_row(exposure: Exposure) -> dict[str, Any]:
    """The row of an exposure."""
    row = {name: getattr(exposure, name) for name in EXPOSURE}
    _check_texts("Exposure", row)
    _check_time("Exposure", exposure.timestamp)
    return {**row, "user_key": digest(exposure.user_id), "mark": exposure.mark}


def item_row(item: Item) -> dict[str, Any]:
    """The row of an item."""
    return {
        "item_key": digest(item.item_id),
        "item_id": checked_text("Item", "item_id", item.item_id),
        "metadata": checked_json("Item", "metadata", item.metadata),
        "available": item.available,
        "state": item.state,
    }


def merged(change: ItemChange, old: Item | None) -> Item:
    """An item after a change; ``old`` None: there was none.

    Raises
    ------
    ParameterError
        The metadata is not JSON, or longer than ``MAX_BYTES`` of it.
    """
    old = Item(change.item_id, {}, True) if old is None else old
    metadata = {**old.metadata, **(change.metadata or {})}
    size = len(checked_json("Item", "metadata", metadata))
    if size > MAX_BYTES:
        raise ParameterError.of("Item", "metadata", f"at most {MAX_BYTES} bytes of JSON", size)
    available = old.available if change.available is None else change.available
    return Item(change.item_id, metadata, available, old.state)


def checked_text(owner: str, name: str, text: str) -> str:
    """``text``, where both databases can hold it.

    Raises
    ------
    ParameterError
        It has a NUL character or half of a surrogate pair.
    """
    if "\0" in text:
        raise ParameterError.of(owner, name, "text without NUL characters", text[:_SHOWN])
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ParameterError.of(owner, name, "text that UTF-8 can write", text[:_SHOWN]) from None
    return text


def checked_json(owner: str, name: str, value: Any) -> str:
    """``value`` as JSON text, ASCII only.

    Raises
    ------
    ParameterError
        It holds something that JSON has no word for.
    """
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ParameterError.of(owner, name, f"JSON ({error})", repr(value)[:_SHOWN]) from None


def _check_texts(owner: str, row: dict[str, Any]) -> None:
    for name, value in row.items():
        if isinstance(value, str):
            checked_text(owner, name, value)


def _check_time(owner: str, timestamp: int) -> None:
    if not -_MAX_INT <= timestamp < _MAX_INT:
        raise ParameterError.of(owner, "timestamp", "Unix seconds within 64 bits", timestamp)
