"""Run recsmith's side of each cell, by the same rules as the peers' runners."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

sys.path += [str(Path(__file__).resolve().parents[n]) for n in (1, 2)]

from cells import pipeline_of
from worker import Arrays, Result, Settings, complete_settings, measured, serve

from recsmith.data.dataset import Dataset
from recsmith.data.ids import IdMap
from recsmith.evaluation.metrics import ranking
from recsmith.models.factorization.ials import ImplicitALS
from recsmith.models.registry import create


def als_fit(arrays: Arrays, given: Settings) -> Result:
    """Implicit ALS from a Dataset to factors."""
    settings = complete_settings(given, {"embedding_size": 64, "epochs": 15, "reg": 0.01, "alpha": 1.0})
    data = _dataset(*_pairs(arrays), tuple(arrays["shape"]))
    model = ImplicitALS(**settings)
    with measured() as measure:
        model.fit(data, rng=0)
    return Result(
        {"fit": measure}, {"user_factors": model.user_factors_, "item_factors": model.item_factors_}, settings
    )


def recommend(arrays: Arrays, given: Settings) -> Result:
    """Top k of all users from given factors, seen items hidden."""
    settings = complete_settings(given, {"k": 20})
    data = _dataset(*_pairs(arrays), (len(arrays["user_factors"]), len(arrays["item_factors"])))
    pipeline = pipeline_of(arrays)
    with measured() as measure:
        lists = pipeline.recommend(data.queries(), settings["k"])
    return Result({"recommend": measure}, {"items": lists.items, "scores": lists.scores}, settings)


def metrics(arrays: Arrays, given: Settings) -> Result:
    """Six ranking metrics of given lists."""
    settings = complete_settings(given, {"k": 20})
    offsets = np.searchsorted(arrays["test_users"], np.arange(len(arrays["items"]) + 1))
    names = ("precision", "recall", "ndcg", "map", "mrr", "hit_rate")
    with measured() as measure:
        values = ranking.score(
            *ranking.hits(arrays["items"], offsets, arrays["test_items"]),
            [f"{name}@{settings['k']}" for name in names],
        )
        judged = np.diff(offsets) > 0
        means = {name: values[f"{name}@{settings['k']}"][judged].mean() for name in names}
    return Result({"metrics": measure}, {name: np.asarray(mean) for name, mean in means.items()}, settings)


def rating(arrays: Arrays, given: Settings) -> Result:
    """Fit a rating predictor and predict the test pairs."""
    settings = dict(given)
    model: Any = create(settings["model"], **{k: v for k, v in settings.items() if k != "model"})
    n_users = int(max(arrays["train_users"].max(), arrays["test_users"].max())) + 1
    n_items = int(max(arrays["train_items"].max(), arrays["test_items"].max())) + 1
    data = _dataset(arrays["train_users"], arrays["train_items"], (n_users, n_items), arrays["train_ratings"])
    with measured() as fit:
        model.fit(data, rng=0)
    with measured() as predict:
        predictions = model.predict(data.queries(), arrays["test_users"], arrays["test_items"]).mean
    return Result({"fit": fit, "predict": predict}, {"predictions": predictions}, settings)


def _pairs(arrays: Arrays) -> tuple[Any, Any]:
    """User and item of each entry of a CSR matrix."""
    return np.repeat(np.arange(len(arrays["indptr"]) - 1), np.diff(arrays["indptr"])), arrays["indices"]


def _dataset(users: Any, items: Any, shape: tuple[int, ...], ratings: Any = None) -> Dataset:
    """Index arrays as a Dataset whose raw ids are the indices."""
    return Dataset.build(
        users=IdMap(pl.Series(np.arange(shape[0])), "user"),
        items=IdMap(pl.Series(np.arange(shape[1])), "item"),
        user=users,
        item=items,
        value=ratings,
        rating_scale=None if ratings is None else (1.0, 5.0),
    )


JOBS = {"als_fit": als_fit, "recommend": recommend, "metrics": metrics, "rating": rating}

if __name__ == "__main__":
    serve("recsmith", JOBS)
