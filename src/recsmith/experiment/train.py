"""``train``: a named model with its fallback, fitted and put in a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recsmith.bundle import Bundle
from recsmith.data.dataset import Dataset
from recsmith.data.weighting import Weighting
from recsmith.errors import ParameterError
from recsmith.models.bandits.registry import policy_class
from recsmith.models.registry import create, model_class, name_of
from recsmith.protocols import Monitor
from recsmith.recommend import DEFAULT_MEMORY_MB, Pipeline
from recsmith.resources import measure

WEIGHTING_PARAMETERS = frozenset(Weighting.model_fields)


def make_pipeline(
    model: str,
    *,
    fallback: str | None = "popular",
    fallback_parameters: dict[str, Any] | None = None,
    memory_mb: int = DEFAULT_MEMORY_MB,
    **parameters: Any,
) -> Pipeline:
    """A pipeline that is not fitted yet.

    ``parameters`` are the model's own and those of ``Weighting`` (``confidence, half_life, half_life_unit,
    min_events``). Where a model has one of the same name (``half_life`` of popular), it is the model's. A model that
    weighs the history itself, such as a blend by its parts, takes ``min_events`` alone.

    Raises
    ------
    ParameterError
        An unknown model or parameter (the nearest one is offered), or a value out of range.
    """
    own = set(model_class(model).config_class.model_fields)
    known = own | weighting_parameters(model)
    for name in parameters:
        if name not in known:
            raise ParameterError.unknown(f"parameter of {model}", name, known)
    shared = {k: v for k, v in parameters.items() if k in WEIGHTING_PARAMETERS and k not in own}
    rest = {k: v for k, v in parameters.items() if k not in shared}
    return Pipeline(
        model=create(model, **rest),  # type: ignore[arg-type]
        fallback=None
        if fallback is None or fallback == model
        else create(fallback, **(fallback_parameters or {})),  # type: ignore[arg-type]
        weighting=Weighting.make("the history weighting", **_fixed(model), **shared),
        memory_mb=memory_mb,
    )


def weighting_parameters(model: str) -> frozenset[str]:
    """Those of ``Weighting`` that a model takes beside its own."""
    return frozenset({"min_events"}) if model_class(model).weighs_history else WEIGHTING_PARAMETERS


def _fixed(model: str) -> dict[str, Any]:
    """How the history of a model that weighs it itself reaches it."""
    return {"confidence": "raw"} if model_class(model).weighs_history else {}


def train(
    model: str,
    data: Dataset,
    *,
    seed: int = 0,
    monitor: Monitor | None = None,
    fallback: str | None = "popular",
    fallback_parameters: dict[str, Any] | None = None,
    **parameters: Any,
) -> Bundle:
    """Fit a registered model on a log.

    Parameters
    ----------
    model
        A name of the registry: ``recsmith train --help`` lists them.
    data
        What to learn from.
    seed
        The same seed gives the same digits, for any number of threads.
    monitor
        Is told of progress and may stop the fit.
    fallback
        The model that answers where this one has no evidence; None for none.
    fallback_parameters
        Its parameters: ``{"half_life": 14}`` makes popular forget.
    parameters
        Those of the model and of ``Weighting``.

    Raises
    ------
    ParameterError, DataError
        Bad parameters, or a log that the model cannot learn from.
    """
    if not isinstance(data, Dataset):
        raise ParameterError.of(
            "train", "data", "a Dataset, which recsmith.load(source) gives", type(data).__name__
        )
    pipeline = make_pipeline(model, fallback=fallback, fallback_parameters=fallback_parameters, **parameters)
    return as_bundle(pipeline, data, seed=seed, monitor=monitor)


def as_bundle(pipeline: Pipeline, data: Dataset, *, seed: int = 0, monitor: Monitor | None = None) -> Bundle:
    """Fit a pipeline on a log and bundle it."""
    with measure() as usage:
        fitted = pipeline.fit(data, rng=seed, monitor=monitor)
    return Bundle(
        model_name=name_of(fitted.model),
        pipeline=fitted,
        data=data,
        fallback_name=None if fitted.fallback is None else name_of(fitted.fallback),
        info={"seed": seed, "fit_seconds": round(usage.seconds, 3), "fit_peak_mb": usage.peak_mb},
    )


def load_bundle(path: str | Path) -> Bundle:
    """Read a bundle that was saved; every file is checked, and no code in it is run.

    Raises
    ------
    BundleError
        Missing, damaged, unsafe, or of a newer format.
    """
    return Bundle.load(path, model_class, policies=policy_class)
