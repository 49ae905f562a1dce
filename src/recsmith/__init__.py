"""recsmith: recommenders that are judged, saved and served by one library.

>>> import recsmith as rs
>>> data = rs.load("ml-100k")                      # or a CSV, Parquet, a folder, a frame
>>> bundle = rs.train("ease", data, reg=300)
>>> bundle.recommend(["196"], k=10)                # user_id, item_id, score, rank, source
>>> bundle.save("bundles/ease")

Public names are loaded when they are first used, so that importing the package is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from recsmith.version import __version__

if TYPE_CHECKING:
    from recsmith.bundle import Bundle
    from recsmith.data.dataset import Dataset
    from recsmith.data.load import load
    from recsmith.data.split import Split
    from recsmith.data.weighting import Weighting
    from recsmith.evaluation.protocol import evaluate
    from recsmith.evaluation.report import Report
    from recsmith.experiment.train import load_bundle, train
    from recsmith.models.registry import create
    from recsmith.parallel import set_threads
    from recsmith.recommend import Pipeline
    from recsmith.types import Queries

_PUBLIC = {
    "Bundle": "recsmith.bundle",
    "Dataset": "recsmith.data.dataset",
    "Pipeline": "recsmith.recommend",
    "Queries": "recsmith.types",
    "Report": "recsmith.evaluation.report",
    "Split": "recsmith.data.split",
    "Weighting": "recsmith.data.weighting",
    "create": "recsmith.models.registry",
    "evaluate": "recsmith.evaluation.protocol",
    "load": "recsmith.data.load",
    "load_bundle": "recsmith.experiment.train",
    "set_threads": "recsmith.parallel",
    "train": "recsmith.experiment.train",
}

__all__ = [
    "Bundle",
    "Dataset",
    "Pipeline",
    "Queries",
    "Report",
    "Split",
    "Weighting",
    "__version__",
    "create",
    "evaluate",
    "load",
    "load_bundle",
    "set_threads",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'recsmith' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
