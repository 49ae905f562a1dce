"""What is measured: each cell is a job, the same for recsmith and one peer, and what it must reach."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

Arrays = dict[str, Any]
Job = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Cell:
    """One comparison."""

    name: str
    what: str
    peer: str
    ours: Job  #: job of the recsmith runner and its settings
    theirs: Job
    data: Callable[[], list[Arrays]]  #: the inputs of one run; their seconds add up
    quality: Callable[[Arrays, Arrays], dict[str, float]]  #: of (input, output), by our definitions
    wanted: float  #: the ratio of medians, recsmith / peer, that is to be reached


def _extra(*parts: str) -> Path:
    return Path(os.environ["RECSMITH_EXTRA_DATA"]).joinpath(*parts)


@cache
def _gowalla() -> Arrays:
    """Train as CSR and test pairs sorted by user."""
    train = pl.read_parquet(_extra("lightgcn-gowalla", "train.parquet")).sort("user", "item")
    test = pl.read_parquet(_extra("lightgcn-gowalla", "test.parquet")).sort("user", "item")
    n_users = int(max(train["user"].max(), test["user"].max())) + 1  # type: ignore[arg-type, type-var]
    n_items = int(max(train["item"].max(), test["item"].max())) + 1  # type: ignore[arg-type, type-var]
    users = train["user"].to_numpy()
    return {
        "indptr": np.searchsorted(users, np.arange(n_users + 1)).astype(np.int32),
        "indices": train["item"].to_numpy().astype(np.int32),
        "data": np.ones(len(users), dtype=np.float32),
        "shape": np.array([n_users, n_items]),
        "test_users": test["user"].to_numpy().astype(np.int32),
        "test_items": test["item"].to_numpy().astype(np.int32),
    }


@cache
def _gowalla_factors() -> Arrays:
    """Gowalla with factors that were trained on it."""
    from recsmith.models.factorization.ials import ImplicitALS

    arrays = _gowalla()
    model = ImplicitALS(reg=10, alpha=39).fit(_as_dataset(arrays), rng=0)
    return {**arrays, "user_factors": model.user_factors_, "item_factors": model.item_factors_}


@cache
def _gowalla_lists() -> Arrays:
    arrays = _gowalla_factors()
    lists = pipeline_of(arrays).recommend(_as_dataset(arrays).queries(), 20)
    return {"items": lists.items, "test_users": arrays["test_users"], "test_items": arrays["test_items"]}


def pipeline_of(arrays: Arrays) -> Any:
    """A pipeline of implicit ALS with given factors."""
    from recsmith.models.factorization.ials import ImplicitALS
    from recsmith.recommend import Pipeline

    users, items = (np.ascontiguousarray(arrays[name]) for name in ("user_factors", "item_factors"))
    model = ImplicitALS(embedding_size=users.shape[1])
    model.user_factors_, model.item_factors_, model.gram_ = users, items, items.T @ items
    return Pipeline(model=model, n_items=len(items))


def _as_dataset(arrays: Arrays) -> Any:
    from recsmith.data.dataset import Dataset
    from recsmith.data.ids import IdMap

    n_users, n_items = (int(n) for n in arrays["shape"])
    return Dataset.build(
        users=IdMap(pl.Series(np.arange(n_users)), "user"),
        items=IdMap(pl.Series(np.arange(n_items)), "item"),
        user=np.repeat(np.arange(n_users), np.diff(arrays["indptr"])),
        item=arrays["indices"],
    )


@cache
def _ml100k_folds() -> list[Arrays]:
    """The five official folds, with ids from zero."""
    ratings = pl.read_parquet(_extra("ml-100k", "ratings.parquet"))
    users, items = ratings["user"].to_numpy() - 1, ratings["item"].to_numpy() - 1
    values, fold = ratings["rating"].to_numpy().astype(np.float32), ratings["fold"].to_numpy()
    folds = []
    for k in range(1, 6):
        parts = {}
        for side, rows in (("train", fold != k), ("test", fold == k)):
            parts |= {
                f"{side}_users": users[rows].astype(np.int32),
                f"{side}_items": items[rows].astype(np.int32),
                f"{side}_ratings": values[rows],
            }
        folds.append(parts)
    return folds


def _list_quality(arrays: Arrays, items: Any) -> dict[str, float]:
    from recsmith.evaluation.metrics import ranking

    offsets = np.searchsorted(arrays["test_users"], np.arange(len(items) + 1))
    values = ranking.score(*ranking.hits(items, offsets, arrays["test_items"]), ["ndcg@20", "recall@20"])
    judged = np.diff(offsets) > 0
    return {name: float(column[judged].mean()) for name, column in values.items()}


def _factor_quality(arrays: Arrays, output: Arrays) -> dict[str, float]:
    """Lists from the factors by one and the same code."""
    return _list_quality(arrays, pipeline_of(output).recommend(_as_dataset(arrays).queries(), 20).items)


def _rmse(arrays: Arrays, output: Arrays) -> dict[str, float]:
    return {"rmse": float(np.sqrt(np.mean((output["predictions"] - arrays["test_ratings"]) ** 2)))}


#: The formula of Surprise's KNNBaseline.
_KNN_BASELINE = {
    "similarity": "pearson_baseline",
    "shrinkage": 100,
    "amplification": 1,
    "damping": 0,
    "reg_user": 15,
    "reg_item": 10,
}

_ALL = (
    Cell(
        "als-fit",
        "implicit ALS on Gowalla, d = 64, 15 iterations, 3 conjugate-gradient steps",
        "implicit",
        ("als_fit", {"embedding_size": 64, "epochs": 15, "reg": 10, "alpha": 39}),
        ("als_fit", {"factors": 64, "iterations": 15, "regularization": 10, "alpha": 40}),
        lambda: [_gowalla()],
        _factor_quality,
        1.0,
    ),
    Cell(
        "recommend",
        "top 20 of all 29,858 Gowalla users from the same factors, seen items hidden",
        "implicit",
        ("recommend", {"k": 20}),
        ("recommend", {"k": 20}),
        lambda: [_gowalla_factors()],
        lambda arrays, output: _list_quality(arrays, output["items"]),
        0.85,
    ),
    Cell(
        "metrics",
        "precision, recall, NDCG, MAP, MRR and hit rate of those lists",
        "rectools",
        ("metrics", {"k": 20}),
        ("metrics", {"k": 20}),
        lambda: [_gowalla_lists()],
        lambda arrays, output: {name: float(output[name]) for name in ("ndcg", "recall", "map")},
        1.0,
    ),
    Cell(
        "sgd",
        "biased matrix factorization by SGD, d = 50, 40 epochs, MovieLens-100K, five official folds",
        "surprise",
        ("rating", {"model": "biased-mf", "embedding_size": 50, "epochs": 40, "learning_rate": 0.02}),
        ("svd", {"n_factors": 50, "n_epochs": 40, "reg_all": 0.08}),
        _ml100k_folds,
        _rmse,
        1 / 3,
    ),
    Cell(
        "item-knn",
        "item kNN around baselines, MovieLens-100K, five official folds",
        "surprise",
        ("rating", {"model": "item-knn", **_KNN_BASELINE, "rating_neighbors": 40}),
        ("knn_baseline", {"user_based": False}),
        _ml100k_folds,
        _rmse,
        1 / 5,
    ),
    Cell(
        "user-knn",
        "user kNN around baselines, MovieLens-100K, five official folds",
        "surprise",
        ("rating", {"model": "user-knn", **_KNN_BASELINE, "neighbors": 40}),
        ("knn_baseline", {"user_based": True}),
        _ml100k_folds,
        _rmse,
        1 / 5,
    ),
)
CELLS = {cell.name: cell for cell in _ALL}
