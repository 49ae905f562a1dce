"""What routes share: the parts of the worker, bodies that are checked at once, and JSON."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from json import dumps
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import Path, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, BeforeValidator, TypeAdapter, WithJsonSchema
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from recsmith.errors import ParameterError, RecsmithError
from recsmith.serving.problems import of_error
from recsmith.serving.runtime import Runtime
from recsmith.serving.schemas import TEXT_ID, Id

log = logging.getLogger("recsmith.serving")
M = TypeVar("M", bound=BaseModel)
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
in_thread = run_in_threadpool

BODIES: list[type[BaseModel]] = []  #: of all routes
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": meaning,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status, meaning in {
        400: "Not JSON",
        401: "No valid key",
        403: "A key of a lesser role, or a page of another origin while authentication is off",
        404: "Not known",
        409: "Does not fit what the service holds: a bundle or rules that cannot be used, a field that no item has",
        413: "Too long",
        415: "A body that is not application/json",
        421: "A host name that is not in allowed_hosts",
        422: "Not what this document says",
        429: "Too many requests",
        503: "Try again soon",
    }.items()
}


def _as_sent(value: str) -> str:
    """Undo what the gate did to an encoded slash."""
    return value.replace("%2F", "/").replace("%25", "%")


PathId = Annotated[Id, BeforeValidator(_as_sent), WithJsonSchema(TEXT_ID), Path()]
"""An id in a path, in which a slash is sent as %2F."""


def in_query(*names: str) -> Callable[[Endpoint], Endpoint]:
    """Mark a route that reads these names from the query by itself."""

    def marked(endpoint: Endpoint) -> Endpoint:
        endpoint.in_query = names  # type: ignore[attr-defined]
        return endpoint

    return marked


class StrictRoute(APIRoute):
    """A route that refuses a query parameter which it does not know: none is passed over in silence."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler behind a look at the query."""
        handler = super().get_route_handler()
        known = {parameter.alias for parameter in self.dependant.query_params}
        known |= set(getattr(self.endpoint, "in_query", ()))

        async def strict(request: Request) -> Response:
            if request.scope["query_string"]:
                for name in request.query_params:
                    if name not in known:
                        raise ParameterError.unknown(f"query parameter of {self.path}", name, known)
            return await handler(request)

        return strict


def runtime(request: Request) -> Runtime:
    """The parts of this worker."""
    parts: Runtime = request.app.state.runtime
    return parts


def caller(request: Request) -> str:
    """Who sent a request, as the gate knows them: their key, or their address."""
    name: str = request.scope.get("caller", "")
    return name


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """The documentation of a body that the route checks itself; its schema becomes a component of the document."""
    BODIES.append(model)
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


async def checked(request: Request, adapter: TypeAdapter[M]) -> M:
    """The body; ``ValidationError`` becomes a problem."""
    return adapter.validate_json(await request.body())


def json(value: Any, status: int = 200) -> Response:
    """A response of JSON."""
    text = orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY)
    return Response(text, status, media_type="application/json")


def json_text(value: Any) -> str:
    """What somebody sent, as JSON again, whatever it is: a number may be longer than 64 bits."""
    return dumps(value, ensure_ascii=True)


def streamed(name: str, bodies: AsyncIterator[bytes | Exception]) -> Response:
    """An object with a list under ``name``, sent while it is made; an error becomes the problem in its place."""

    async def parts() -> AsyncIterator[bytes]:
        before = b'{"%s":[' % name.encode()
        async for body in bodies:
            yield before + (body if isinstance(body, bytes) else _failed(body))
            before = b","
        yield b"]}"

    return StreamingResponse(parts(), media_type="application/json")


def _failed(error: Exception) -> bytes:
    if not isinstance(error, RecsmithError):
        log.error("a request of several failed", exc_info=error)
    return bytes(of_error(error).body)


def raw(body: bytes) -> Response:
    """A response of JSON that is there already."""
    return Response(body, media_type="application/json")
