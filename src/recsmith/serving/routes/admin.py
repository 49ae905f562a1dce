"""What an administrator does: bundles, experiments, rules, keys, and what was put aside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter

from recsmith.errors import ConflictError, DataError, ParameterError
from recsmith.serving.deployment import Experiment, VariantName, listed
from recsmith.serving.problems import problem
from recsmith.serving.routes.common import PROBLEMS, StrictRoute, body_of, checked, in_thread, json, runtime
from recsmith.serving.runtime import Runtime
from recsmith.serving.schemas import BundleName, KeyIn, RulesIn

router = APIRouter(prefix="/admin", responses=PROBLEMS, route_class=StrictRoute)


_EndTest = Annotated[bool, Query(description="End the A/B test that runs.")]


@router.get("/bundles")
async def bundles(request: Request) -> Response:
    """Which bundles there are, and which answer."""
    parts = runtime(request)
    active, behind = parts.service.active, parts.service.control.behind
    out = {
        "active": active.main.version,
        "experiment": None if active.experiment is None else active.experiment.model_dump(mode="json"),
        "loaded": [d.version for d in active.deployments()],
        "bundles": await in_thread(listed, parts.settings.bundles),
    }
    if behind is not None:
        out["behind"] = {"wanted": behind.wanted, "ab_test": behind.ab_test, "reason": behind.reason}
    return json(out)


@router.post("/bundles/{name}/activate")
async def activate(
    request: Request,
    name: BundleName,
    variant: Annotated[VariantName | None, Query(description="Of the A/B test that runs.")] = None,
    end_ab_test: _EndTest = False,
) -> Response:
    """Load a bundle, check it and answer from it, in every worker; the old one serves until then.

    While an A/B test runs it goes into one of the variants, or ends the test.
    """
    control = runtime(request).service.control
    deployment = await in_thread(control.activate, name, variant=variant, end_ab_test=end_ab_test)
    return json({"status": "active", "model_version": deployment.version})


@router.post("/rollback")
async def roll_back(request: Request, end_ab_test: _EndTest = False) -> Response:
    """Answer from the bundle that was active before. While an A/B test runs, that ends it, if so wished."""
    deployment = await in_thread(runtime(request).service.control.roll_back, end_ab_test=end_ab_test)
    return json({"status": "active", "model_version": deployment.version})


@router.put("/experiment", openapi_extra=body_of(Experiment))
async def start_experiment(request: Request, end_ab_test: _EndTest = False) -> Response:
    """Answer from several bundles, a user always from the same one; shadows are logged and not shown.

    The A/B test that runs is changed by its name; one of another name ends it, if so wished.
    """
    experiment = await checked(request, TypeAdapter(Experiment))
    control = runtime(request).service.control
    await in_thread(control.start_experiment, experiment, end_ab_test=end_ab_test)
    return json({"status": "running", "experiment": experiment.model_dump(mode="json")})


@router.delete("/experiment")
async def stop_experiment(request: Request) -> Response:
    """End the A/B test: all are answered from the active bundle."""
    await in_thread(runtime(request).service.control.start_experiment, None)
    return json({"status": "off"})


@router.get("/rules")
async def rules(request: Request) -> Response:
    """The rules that are followed."""
    service = runtime(request).service
    await in_thread(service.refresh)
    return json({"version": service.rules.version, "rules": service.rules.model_dump(mode="json")})


@router.put("/rules", openapi_extra=body_of(RulesIn))
async def set_rules(request: Request) -> Response:
    """Follow new rules, in every worker, from the next answer on."""
    given = await checked(request, TypeAdapter(RulesIn))
    with _rules_that_fit():
        rules = await in_thread(runtime(request).service.control.set_rules, given.text)
    return json({"status": "active", "version": rules.version})


@router.post("/rules/dry-run", openapi_extra=body_of(RulesIn))
async def dry_run(request: Request, requests: Annotated[int, Query(ge=1, le=1000)] = 100) -> Response:
    """What new rules would change in the lists of the users who were answered last; nothing is changed."""
    given = await checked(request, TypeAdapter(RulesIn))
    with _rules_that_fit():
        found = await in_thread(runtime(request).service.dry_run, given.text, requests)
    changes = [asdict(change) for change in found.changes]
    return json({"requests": found.requests, "share": found.share, "acted": found.acted, "changes": changes})


@router.get("/keys")
async def keys(request: Request) -> Response:
    """The API keys; their secrets are not known."""
    found = await in_thread(runtime(request).store.keys)
    return json({"keys": [key.shown() for key in found]})


@router.post("/keys", status_code=201, openapi_extra=body_of(KeyIn))
async def add_key(request: Request) -> Response:
    """Make a key. Its secret is in this answer and nowhere else."""
    parts = runtime(request)
    if refused := _without_key(parts, "add NAME --role ROLE"):
        return refused
    given = await checked(request, TypeAdapter(KeyIn))
    secret = await in_thread(parts.store.add_key, given.name, given.role)
    await in_thread(parts.keys.reload)
    return json({"name": given.name, "role": given.role, "secret": secret}, 201)


@router.delete("/keys/{key_id}")
async def revoke_key(request: Request, key_id: int) -> Response:
    """Make a key invalid, in every worker."""
    parts = runtime(request)
    if refused := _without_key(parts, "revoke ID"):
        return refused
    await in_thread(parts.store.revoke_key, key_id)
    await in_thread(parts.keys.reload)
    return json({"status": "revoked", "id": key_id})


@router.get("/quarantine")
async def quarantine(request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Response:
    """Events that were put aside, the latest first, with the reasons."""
    found: list[Any] = await in_thread(runtime(request).store.quarantined, limit)
    return json(
        {
            "events": [
                {"seq": q.seq, "reason": q.reason, "event": q.payload, "timestamp": q.timestamp}
                for q in found
            ]
        }
    )


@contextmanager
def _rules_that_fit() -> Iterator[None]:
    """Text that is no set of rules is allowed by the document, which cannot say what is in it."""
    try:
        yield
    except (DataError, ParameterError) as error:
        raise ConflictError(str(error)) from error


def _without_key(parts: Runtime, command: str) -> Response | None:
    """The refusal to change keys where authentication is off: they outlive that."""
    if parts.settings.auth == "keys":
        return None
    return problem(
        403, f"Authentication is off, and only an admin's key changes keys. Use: recsmith keys {command}"
    )
