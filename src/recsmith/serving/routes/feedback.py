"""What users did: single words of feedback, and batches of events."""

from __future__ import annotations

import secrets
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter, ValidationError

from recsmith.errors import ConflictError, ParameterError, RecsmithError
from recsmith.serving.events import NewEvent
from recsmith.serving.problems import of_body
from recsmith.serving.routes.common import (
    PROBLEMS,
    StrictRoute,
    body_of,
    checked,
    in_query,
    in_thread,
    json,
    json_text,
    runtime,
)
from recsmith.serving.runtime import Runtime
from recsmith.serving.schemas import EventBatch, EventIn, Feedback

router = APIRouter(responses=PROBLEMS, route_class=StrictRoute)
_FEEDBACK: TypeAdapter[Feedback] = TypeAdapter(Feedback)
_EVENTS: TypeAdapter[EventBatch] = TypeAdapter(EventBatch)
_EVENT: TypeAdapter[EventIn] = TypeAdapter(EventIn)
_UNKNOWN_ITEM = "The catalogue does not hold this item, so it changes no list before a model knows it."


@router.post("/feedback", openapi_extra=body_of(Feedback))
@in_query(*Feedback.model_fields)
async def feedback(request: Request) -> Response:
    """Store what a user said of an item. Once it is answered it is not lost.

    Without a body the same names are read from the query.
    """
    parts = runtime(request)
    if await request.body():
        if request.query_params:
            raise ParameterError("feedback is given in the body or in the query. Got both.")
        given = await checked(request, _FEEDBACK)
    else:
        given = _FEEDBACK.validate_python(_from_query(request))
    kind, value = _meaning(given.feedback, parts)
    event = _event(EventIn(
        user_id=given.user_id, item_id=given.item_id, event_type=kind, value=value,
        recomm_id=given.recomm_id, event_id=given.event_id,
    ))  # fmt: skip
    (stored,) = await parts.writes.submit([event])
    out: dict[str, Any] = {"status": "stored" if stored else "repeated", "event_id": event.event_id}
    if notes := _notes(parts, [0], [event]):
        out["note"] = notes[0]["note"]
    return json(out)


@router.post("/events", openapi_extra=body_of(EventBatch))
async def events(request: Request) -> Response:
    """Store up to 10,000 events. Bad ones are put aside with the reason, and do not stop the others.

    Of those that are stored and change no list, of an unknown type say, the answer has a note.
    """
    parts = runtime(request)
    batch = await checked(request, _EVENTS)
    good, bad, numbers = [], [], []
    for number, given in enumerate(batch.events):
        try:
            good.append(_event(_EVENT.validate_python(given)))
            numbers.append(number)
        except (ValidationError, RecsmithError) as error:
            bad.append({"number": number, "reason": _reason(error), "event": given})
    if bad:
        await in_thread(_put_aside, parts, bad)
    stored = await parts.writes.submit(good) if good else []
    outcome: dict[str, Any] = {
        "status": "stored" if not bad else "partly",
        "stored": sum(stored),
        "repeated": len(stored) - sum(stored),
        "quarantined": [{"number": b["number"], "reason": b["reason"]} for b in bad],
    }
    if notes := _notes(parts, numbers, good):
        outcome["notes"] = notes
    return json(outcome)


def _notes(parts: Runtime, numbers: Sequence[int], events: Sequence[NewEvent]) -> list[dict[str, Any]]:
    """What to say of events that change no list: ``numbers`` of those that it is said of, and a ``note``; counted."""
    found: dict[str, list[int]] = defaultdict(list)
    known = parts.service.event_types
    there = parts.service.active.main.catalogue.index([event.item_id for event in events]) >= 0
    for number, event, in_catalogue in zip(numbers, events, there.tolist(), strict=True):
        if event.event_type not in known:
            found[_unknown_type(event.event_type, known)].append(number)
            parts.metrics.without_effect.labels("unknown type").inc()
        elif not in_catalogue:
            found[_UNKNOWN_ITEM].append(number)
            parts.metrics.without_effect.labels("unknown item").inc()
    return [{"numbers": said_of, "note": note} for note, said_of in found.items()]


def _unknown_type(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, sorted(known), n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return (
        f"No signal is set for events of the type {name!r}, so it is stored and changes no list.{hint} "
        f"Known: {', '.join(sorted(known))}."
    )


def _put_aside(parts: Runtime, bad: list[dict[str, Any]]) -> None:
    rows = []
    for one in bad:
        given = one["event"]
        user = given.get("user_id") if isinstance(given, dict) else None
        rows.append((json_text(given), one["reason"], str(user) if isinstance(user, str | int) else None))
    parts.store.quarantine(rows)
    parts.metrics.events.labels("quarantined").inc(len(bad))


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        detail: str = orjson.loads(of_body(error).body)["detail"]
        return detail
    return str(error)


def _event(given: EventIn) -> NewEvent:
    return NewEvent(
        event_id=given.event_id or secrets.token_hex(16),
        user_id=given.user_id,
        item_id=given.item_id,
        event_type=given.event_type,
        value=given.value,
        timestamp=int(time.time() if given.timestamp is None else given.timestamp),
        recomm_id=given.recomm_id,
        live=given.timestamp is None,
    )


def _from_query(request: Request) -> dict[str, Any]:
    """Query parameters; a feedback that spells a number or true and false is one."""
    values: dict[str, Any] = dict(request.query_params)
    text = values.get("feedback")
    if text in ("true", "false"):
        values["feedback"] = text == "true"
    elif text is not None:
        with suppress(ValueError):
            values["feedback"] = float(text)
    return values


def _meaning(feedback: bool | float | str, parts: Runtime) -> tuple[str, float | None]:
    """Type and value of an event."""
    if isinstance(feedback, bool):
        return ("like" if feedback else "dislike"), None
    if isinstance(feedback, str):
        known = parts.settings.signals
        if feedback not in known or feedback == "rating":
            raise ParameterError.unknown("feedback", feedback, [name for name in known if name != "rating"])
        return feedback, None
    low, high = parts.service.active.main.reader.scale
    if not low <= feedback <= high:
        raise ConflictError.of("feedback", "feedback", f"a rating from {low:g} to {high:g}", feedback)
    return "rating", feedback
