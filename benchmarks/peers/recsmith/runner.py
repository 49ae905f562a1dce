"""Run recsmith's side of each cell, by the same rules as the peers' runners: any registered model, any parameters."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

sys.path.append(str(Path(__file__).resolve().parents[1]))

from lists import log_pairs
from worker import Arrays, Result, Settings, complete_settings, measured, serve

from recsmith.data.dataset import Dataset
from recsmith.data.ids import IdMap
from recsmith.evaluation.metrics import ranking
from recsmith.models.factorization.ials import ImplicitALS
from recsmith.models.registry import create
from recsmith.recommend import Pipeline


def lists(arrays: Arrays, given: Settings) -> Result:
    """Fit the model ``model`` and recommend ``k`` items to every user of the log."""
    model, settings = _model(given, {"k": 20})
    data = dataset(*log_pairs(arrays), tuple(arrays["shape"]))
    with measured() as fit:
        pipeline = Pipeline(model=model).fit(data, rng=0)
    with measured() as recommend:
        found = pipeline.recommend(data.queries(), settings["k"])
    return Result({"fit": fit, "recommend": recommend}, {"items": found.items}, settings)


def ratings(arrays: Arrays, given: Settings) -> Result:
    """Fit the rating predictor ``model`` and predict the test pairs."""
    model, settings = _model(given, {})
    n_users = int(max(arrays["train_users"].max(), arrays["test_users"].max())) + 1
    n_items = int(max(arrays["train_items"].max(), arrays["test_items"].max())) + 1
    data = dataset(arrays["train_users"], arrays["train_items"], (n_users, n_items), arrays["train_ratings"])
    with measured() as fit:
        model.fit(data, rng=0)
    with measured() as predict:
        predictions = model.predict(data.queries(), arrays["test_users"], arrays["test_items"]).mean
    return Result({"fit": fit, "predict": predict}, {"predictions": predictions}, settings)


def recommend(arrays: Arrays, given: Settings) -> Result:
    """Top k of all users from given factors, seen items hidden."""
    settings = complete_settings(given, {"k": 20})
    data = dataset(*log_pairs(arrays), tuple(arrays["shape"]))
    pipeline = pipeline_of(arrays["user_factors"], arrays["item_factors"])
    with measured() as measure:
        found = pipeline.recommend(data.queries(), settings["k"])
    return Result({"recommend": measure}, {"items": found.items}, settings)


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


def pipeline_of(user_factors: Any, item_factors: Any) -> Pipeline:
    """A pipeline of implicit ALS with given factors."""
    users, items = np.ascontiguousarray(user_factors), np.ascontiguousarray(item_factors)
    model = ImplicitALS(embedding_size=users.shape[1])
    model.user_factors_, model.item_factors_, model.gram_ = users, items, items.T @ items
    return Pipeline(model=model, n_items=len(items))


def dataset(users: Any, items: Any, shape: tuple[int, ...], values: Any = None) -> Dataset:
    """Index arrays as a Dataset whose raw ids are the indices."""
    return Dataset.build(
        users=IdMap(pl.Series(np.arange(int(shape[0]))), "user"),
        items=IdMap(pl.Series(np.arange(int(shape[1]))), "item"),
        user=users,
        item=items,
        value=values,
        rating_scale=None if values is None else (1.0, 5.0),
    )


def _model(given: Settings, defaults: Settings) -> tuple[Any, Settings]:
    """The model that ``given`` names, with what is left of it as parameters; and every setting that has effect."""
    settings = {**defaults, **given}
    parameters = {name: value for name, value in given.items() if name not in {"model", *defaults}}
    model = create(settings["model"], **parameters)
    return model, {**model.config.model_dump(mode="json"), **settings}


JOBS = {"lists": lists, "ratings": ratings, "recommend": recommend, "metrics": metrics}

if __name__ == "__main__":
    serve("recsmith", JOBS)
