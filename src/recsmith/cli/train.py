"""``recsmith train``: a model, fitted and written as a bundle."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsmith.cli.console import Output, duration, facts, megabytes
from recsmith.cli.options import (
    DryRun,
    FallbackOrConfig,
    Index,
    Json,
    ModelOrConfig,
    Quiet,
    Seed,
    Set,
    Source,
    fallback_of,
    model_and_parameters,
    parameters,
    reads_log,
)
from recsmith.errors import ParameterError

if TYPE_CHECKING:
    from recsmith.bundle import Bundle
    from recsmith.estimate import Estimate
    from recsmith.experiment.recipe import Recipe


@reads_log()
def train(
    source: Source,
    model: ModelOrConfig = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", metavar="FILE", help="Model and parameters as tune and auto write them."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="BUNDLE", help="Where the bundle goes.")
    ] = None,
    settings: Set = None,
    seed: Seed = 0,
    fallback: FallbackOrConfig = None,
    index: Index = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit a model on a log and write a bundle that can be served."""
    from recsmith.experiment.train import as_bundle

    output = Output(as_json, quiet)
    recipe = _recipe(model, config, parameters(settings), fallback)
    name, pipeline = recipe.model, replace(recipe.pipeline(), index=index)
    if dry_run:
        from recsmith import estimate
        from recsmith.cli.sizes import show_estimate

        shape = source.shape()
        work = {
            "load": estimate.of_cost(estimate.load_cost(shape)),
            f"fit {name}": estimate.of_fit(pipeline.model, shape, estimate.log_bytes(shape)),
        }
        show_estimate(output, shape, work)
        return
    target = checked_target(out)
    log = source.load()
    from recsmith.estimate import of_fit

    expected = of_fit(pipeline.model, log.shape)
    output.note(f"{log!r}\nExpected: about {duration(expected.seconds)}, {megabytes(expected.memory_mb)}.")
    with output.bars() as bars, bars.bar(f"fit {name}") as bar:
        bundle = as_bundle(pipeline, log, seed=seed, monitor=bar)
    bundle.save(target)
    _say(output, bundle, target, expected)


def _recipe(
    model: str | None, config: Path | None, settings: Mapping[str, Any], fallback: str | None
) -> Recipe:
    """What is to be fitted: the config file or the model named, and what the options change of it."""
    from recsmith.experiment.config import read_recipe
    from recsmith.experiment.recipe import Recipe

    if (model is None) == (config is None):
        raise ParameterError(
            "Say what to fit: either a MODEL or --config FILE. A config file names its model itself."
        )
    if config is not None:
        found = read_recipe(config)
        name, own = found.model, dict(found.parameters)
        behind: dict[str, Any] = {
            "fallback": found.fallback,
            "fallback_parameters": dict(found.fallback_parameters),
        }
    else:
        name, own = model_and_parameters(str(model))
        behind = fallback_of("popular")
    behind = behind if fallback is None else fallback_of(fallback)
    return Recipe(model=name, parameters={**own, **settings}, **behind)


def checked_target(out: Path | None) -> Path:
    """Where the bundle goes; what ``save`` would refuse after the fit is refused before it."""
    from recsmith.bundle_format import check_target

    if out is None:
        raise ParameterError("Say where the bundle goes: --out bundles/NAME (or --dry-run to fit nothing).")
    check_target(out)
    from recsmith.cli.stream import check_folder

    check_folder(out)
    return out


def _say(output: Output, bundle: Bundle, target: Path, expected: Estimate) -> None:
    """What was made, and what it took beside what was expected."""
    manifest = bundle.manifest()
    used, peak = bundle.info["fit_seconds"], bundle.info["fit_peak_mb"]
    payload: dict[str, Any] = {
        "bundle": str(target),
        "model": manifest["model"],
        "fallback": manifest["fallback"],
        "weighting": manifest["weighting"],
        "data": manifest["data"],
        "seed": bundle.info["seed"],
        "used": {"seconds": used, "peak_mb": peak},
        "expected": expected.as_dict(),
    }
    config = ", ".join(f"{key}={value}" for key, value in manifest["model"]["config"].items())
    shown = facts(
        f"{bundle.model_name} -> {target}",
        {
            "parameters": config or "none",
            "log": f"{bundle.data.n_users:,} users, {bundle.data.n_items:,} items, {len(bundle.data):,} events",
            "fallback": bundle.fallback_name or "none",
            "time": f"{duration(used)} (expected {duration(expected.seconds)})",
            "peak memory": f"{megabytes(peak)} (expected {megabytes(expected.memory_mb)})",
            "next": shlex.join(
                ["recsmith", "recommend", str(target), "--user", str(bundle.data.users.ids[0])]
            ),
        },
    )
    output.show(payload, shown)
