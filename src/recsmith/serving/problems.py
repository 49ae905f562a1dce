"""Errors over HTTP, as RFC 9457 has them, and how recsmith's own errors become them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from recsmith.errors import BundleError, ConflictError, InputError, StorageError, UnknownIdError
from recsmith.serving.batching import OverloadedError
from recsmith.serving.telemetry import request_id

log = logging.getLogger("recsmith.requests")
MEDIA_TYPE = "application/problem+json"
_MOST_ERRORS = 20


def problem(
    status: int,
    detail: str,
    *,
    instance: str | None = None,
    errors: Sequence[Mapping[str, Any]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The response."""
    values: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if instance is not None:
        values["instance"] = instance
    if errors is not None:
        values["errors"] = list(errors)
    if status >= 500 and (current := request_id.get()) is not None:
        values["request_id"] = current
    body = orjson.dumps(values, default=str, option=orjson.OPT_NON_STR_KEYS)
    return Response(body, status, dict(headers or {}), MEDIA_TYPE)


def of_error(error: Exception, instance: str | None = None) -> Response:
    """What an error means to the sender. What is no fault of theirs goes to the log, and its request's id to them."""
    if isinstance(error, OverloadedError):
        return problem(503, str(error), instance=instance, headers={"Retry-After": "1"})
    if isinstance(error, StorageError):
        log.warning("the store failed a request: %s", error)
        detail = "The store cannot be used now. Try again; an event that is sent twice under one event_id counts once."
        return problem(503, detail, instance=instance, headers={"Retry-After": "5"})
    if isinstance(error, UnknownIdError):
        return problem(404, str(error), instance=instance)
    if isinstance(error, BundleError | ConflictError):
        return problem(409, str(error), instance=instance)
    if isinstance(error, InputError):
        return problem(422, str(error), instance=instance)
    log.error("a request failed", exc_info=error)
    return problem(500, "The service failed; its log says how, under this request's id.", instance=instance)


def of_validation(found: Sequence[Mapping[str, Any]], instance: str | None = None) -> Response:
    """A body or a parameter that is not what it should be: where, what was expected, what was found."""
    errors = [
        {
            "where": ".".join(map(str, error["loc"])),
            "expected": error["msg"].removeprefix("Value error, "),
            "got": _short(error.get("input")),
        }
        for error in found[:_MOST_ERRORS]
    ]
    first = errors[0]
    detail = f"{first['where'] or 'the body'}: {first['expected']}. Got {first['got']}."
    return problem(422, detail, instance=instance, errors=errors)


def of_body(error: ValidationError, instance: str | None = None) -> Response:
    """A body that a model refused."""
    return of_validation(error.errors(include_url=False, include_context=False), instance)


def path_of(request: Request) -> str:
    """The path without the query, for ``instance``."""
    return request.url.path


def _short(value: Any) -> str:
    """What was sent, as far as it fits; a body that is no JSON as it came."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else repr(value)
    text = text if len(text) <= 80 else f"{text[:77]}..."
    return text.encode("utf-8", "backslashreplace").decode()
