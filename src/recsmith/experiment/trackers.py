"""The trackers that an experiment asks for, each behind a buffer, so that none of them can break a run."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from recsmith.errors import MissingExtraError
from recsmith.experiment.config import Experiment, Tracking
from recsmith.protocols import Tracker
from recsmith.tracking.buffered import Buffered
from recsmith.tracking.jsonl import JsonLines
from recsmith.tracking.several import Several

Say = Callable[[str], None]


def check_extras(tracking: Tracking) -> None:
    """Raise ``MissingExtraError`` before the work where a library is missing."""
    asked = {"mlflow": tracking.mlflow, "wandb": tracking.wandb}
    for name, wanted in asked.items():
        if wanted is not None and find_spec(name) is None:
            raise MissingExtraError.of(f"Tracking by {name}", "track")
    if tracking.maps:
        from recsmith.plots.embeddings import check_extra

        check_extra(tracking.maps)


def open_trackers(experiment: Experiment, folder: Path, say: Say) -> Several:
    """JSON lines, and what else the experiment asks for."""
    return Several([JsonLines(folder), *remote_trackers(experiment, folder, say)])


def remote_trackers(experiment: Experiment, folder: Path, say: Say) -> list[Buffered]:
    """Those that are more than a file."""
    tracking, name, found = experiment.tracking, experiment.name, list[Buffered]()
    if (mlflow := tracking.mlflow) is not None:

        def by_mlflow() -> Tracker:
            from recsmith.tracking.mlflow_tracker import MLflowTracker

            return MLflowTracker(folder, name, **mlflow.model_dump())

        found.append(Buffered("MLflow", by_mlflow, folder / "outbox-mlflow.jsonl", say))
    if (wandb := tracking.wandb) is not None:

        def by_wandb() -> Tracker:
            from recsmith.tracking.wandb_tracker import WandBTracker

            return WandBTracker(folder, name, **wandb.model_dump())

        found.append(Buffered("Weights & Biases", by_wandb, folder / "outbox-wandb.jsonl", say))
    return found
