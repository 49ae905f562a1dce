"""Run implicit: fit a model and recommend for every user; or recommend from given factors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from implicit.cpu.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender
from threadpoolctl import threadpool_limits

sys.path.append(str(Path(__file__).resolve().parents[1]))

from lists import log_matrix, without_seen
from worker import Arrays, Job, Result, Settings, complete_settings, measured, serve

THREADS = 2
MODELS: dict[str, tuple[Any, Settings]] = {
    "als": (
        AlternatingLeastSquares,
        {
            "factors": 64,
            "iterations": 15,
            "regularization": 0.01,
            "alpha": 1.0,
            "use_cg": True,
            "random_state": 0,
        },
    ),
    "bpr": (
        BayesianPersonalizedRanking,
        {
            "factors": 64,
            "iterations": 100,
            "learning_rate": 0.01,
            "regularization": 0.01,
            "verify_negative_samples": True,
            "random_state": 0,
        },
    ),
    "cosine": (CosineRecommender, {"K": 20}),
    "bm25": (BM25Recommender, {"K": 20, "K1": 1.2, "B": 0.75}),
}


def lists(name: str) -> Job:
    """The job that fits the model ``name`` and recommends ``k`` items to every user."""
    model_class, defaults = MODELS[name]

    def job(arrays: Arrays, given: Settings) -> Result:
        settings = complete_settings(given, {**defaults, "k": 20})
        own = {key: value for key, value in settings.items() if key != "k"}
        log = log_matrix(arrays)
        # implicit asks for single-threaded BLAS and runs its own threads over the rows; its recommend wants the same.
        with threadpool_limits(1, user_api="blas"):
            model = model_class(num_threads=THREADS, **own)
            with measured() as fit:
                model.fit(log, show_progress=False)
            with measured() as recommend:
                items, scores = model.recommend(np.arange(log.shape[0]), log, N=settings["k"])
        return Result({"fit": fit, "recommend": recommend}, {"items": without_seen(items, scores)}, settings)

    return job


def from_factors(arrays: Arrays, given: Settings) -> Result:
    """Top ``k`` for every row of ``user_factors``, without the items of the log.

    One call for all users is faster than batches, and needs no more memory: implicit splits the users among its
    threads in blocks of 100 either way.
    """
    settings = complete_settings(given, {"k": 20})
    log = log_matrix(arrays)
    with threadpool_limits(1, user_api="blas"):
        model = AlternatingLeastSquares(factors=arrays["item_factors"].shape[1], num_threads=THREADS)
        model.user_factors = arrays["user_factors"]
        model.item_factors = arrays["item_factors"]
        with measured() as call:
            items, scores = model.recommend(np.arange(log.shape[0]), log, N=settings["k"])
    return Result({"recommend": call}, {"items": without_seen(items, scores)}, settings)


if __name__ == "__main__":
    serve("implicit", {**{name: lists(name) for name in MODELS}, "recommend": from_factors})
