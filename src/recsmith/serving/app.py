"""The FastAPI application: routes, gate, errors, and what starts and stops with it."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from recsmith.errors import MissingExtraError, RecsmithError
from recsmith.serving.gate import Gate
from recsmith.serving.guard import Guard
from recsmith.serving.openapi import document
from recsmith.serving.problems import of_body, of_error, of_validation, path_of, problem
from recsmith.serving.routes import admin, cloud, feedback, health, items, recommend, users
from recsmith.serving.runtime import Runtime
from recsmith.serving.settings import Settings
from recsmith.serving.telemetry import Metrics, Traces
from recsmith.version import __version__

_PAGE = Path(__file__).parent / "page"
_POLICY = (
    "default-src 'self'; {}object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_PAGE_HEADERS = {"Content-Security-Policy": _POLICY.format("")}
_DOCS_HEADERS = {"Content-Security-Policy": _POLICY.format("img-src 'self' data:; ")}  # icons of Swagger UI
_LOOK_SECONDS = 1.0
_COLLECT = 10_000, 20, 50  # kept answers are walked seldom: it takes 20 ms, and requests leave hardly a cycle
_PRUNE_EVERY = 3600  # looks
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def create(settings: Settings, bundle: Path) -> FastAPI:
    """The service of a bundle. It is ready once its start is over; see ``Runtime`` for what may go wrong then."""
    metrics, traces = Metrics(), Traces(settings.trace_endpoint)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            runtime = await asyncio.to_thread(Runtime, settings, bundle, metrics)
        except RecsmithError as error:
            app.state.failed = error
            logging.getLogger("recsmith.serving").critical("%s", error)
            raise
        gc.freeze()  # what a worker starts with stays: the collector need not look at it again
        gc.set_threshold(*_COLLECT)
        app.state.runtime = runtime
        watching = asyncio.create_task(_watch(runtime))
        yield
        watching.cancel()
        del app.state.runtime
        await asyncio.to_thread(runtime.close)
        traces.close()

    app = FastAPI(
        title="recsmith",
        version=__version__,
        description="Lists, feedback and what stands behind them. Ids are text; errors are RFC 9457 problems.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.metrics, app.state.failed = metrics, None
    for part in (recommend, feedback, users, items, admin, health):
        app.include_router(part.router)
    app.include_router(cloud.router())
    _add_page(app)
    _add_errors(app)
    app.openapi = lambda: document(app, settings)  # type: ignore[method-assign]
    _wrap(app, settings, metrics, traces)
    return app


async def _watch(runtime: Runtime) -> None:
    """Follow what others change also while nobody asks: a bundle that was activated is there before it is wanted."""
    for look in itertools.count():
        await asyncio.sleep(_LOOK_SECONDS)
        try:
            await asyncio.to_thread(runtime.recover)
            await asyncio.to_thread(runtime.service.refresh)
            await asyncio.to_thread(runtime.service.learn)
            if look % _PRUNE_EVERY == 0:
                await asyncio.to_thread(runtime.prune)
        except Exception:
            logging.getLogger("recsmith.serving").exception("a look at the store failed; the next one comes")


def _wrap(app: FastAPI, settings: Settings, metrics: Metrics, traces: Traces) -> None:
    """Put around the routes, from the inside: the guard, CORS, the gate, and what proxies say of the client."""
    app.add_middleware(Guard, settings=settings)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=_METHODS,
            allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID"],
            expose_headers=["Retry-After", "X-Request-ID"],
        )
    app.add_middleware(Gate, settings=settings, metrics=metrics, traces=traces)
    if settings.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.trusted_proxies))


def _add_page(app: FastAPI) -> None:
    """The page and the documentation, with all that they load: nothing comes from another host."""

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(_PAGE / "index.html", headers=_PAGE_HEADERS)

    @app.get("/docs", include_in_schema=False)
    async def documentation() -> Response:
        return FileResponse(_PAGE / "docs.html", headers=_DOCS_HEADERS)

    @app.get("/docs/{name}", include_in_schema=False)
    async def documentation_part(name: Literal["swagger-ui.css", "swagger-ui-bundle.js"]) -> Response:
        return FileResponse(_swagger() / name)

    app.mount("/page", StaticFiles(directory=_PAGE, check_dir=False), name="page")


def _swagger() -> Path:
    """The folder of Swagger UI, which fastapi-offline brings."""
    found = find_spec("fastapi_offline")
    if found is None or found.origin is None:
        raise MissingExtraError.of("The documentation page", "serve")
    return Path(found.origin).parent / "static"


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def parameters(request: Request, error: RequestValidationError) -> Response:
        return of_validation(error.errors(), path_of(request))

    @app.exception_handler(ValidationError)
    async def body(request: Request, error: ValidationError) -> Response:
        return of_body(error, path_of(request))

    @app.exception_handler(RecsmithError)
    async def ours(request: Request, error: RecsmithError) -> Response:
        return of_error(error, path_of(request))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        if error.status_code == 405:
            allowed = {"Allow": ", ".join(_methods(app, request.url.path))}
            return problem(405, str(error.detail), instance=path_of(request), headers=allowed)
        return problem(error.status_code, str(error.detail), instance=path_of(request), headers=error.headers)


def _methods(app: FastAPI, path: str) -> list[str]:
    """What a path may be asked with."""
    found = set()
    for template, methods in app.openapi()["paths"].items():
        if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), path):
            found |= {method.upper() for method in methods}
    return sorted(found)
