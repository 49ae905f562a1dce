"""Run RecTools: fit a model and recommend for every user; and its ranking metrics over given lists."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from implicit.cpu.als import AlternatingLeastSquares
from implicit.cpu.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender
from rectools import Columns
from rectools.dataset import Dataset
from rectools.metrics import MAP, MRR, NDCG, HitRate, Precision, Recall, calc_metrics
from rectools.metrics.base import MetricAtK
from rectools.models import (
    EASEModel,
    ImplicitALSWrapperModel,
    ImplicitBPRWrapperModel,
    ImplicitItemKNNWrapperModel,
    PopularModel,
    SASRecModel,
)
from threadpoolctl import threadpool_limits

sys.path.append(str(Path(__file__).resolve().parents[1]))

from lists import laid_out, log_pairs
from worker import Arrays, Job, Result, Settings, complete_settings, measured, serve

THREADS = 2
METRICS: Settings = {"k": 20, "ndcg_divide_by_achievable": True, "map_divide_by_k": False}


def _als(own: Settings) -> Any:
    return ImplicitALSWrapperModel(AlternatingLeastSquares(num_threads=THREADS, **own))


def _bpr(own: Settings) -> Any:
    return ImplicitBPRWrapperModel(BayesianPersonalizedRanking(num_threads=THREADS, **own))


def _cosine(own: Settings) -> Any:
    return ImplicitItemKNNWrapperModel(CosineRecommender(num_threads=THREADS, **own))


def _bm25(own: Settings) -> Any:
    return ImplicitItemKNNWrapperModel(BM25Recommender(num_threads=THREADS, **own))


def _sasrec(own: Settings) -> Any:
    torch.set_num_threads(THREADS)
    return SASRecModel(**own, loss="softmax", deterministic=True, recommend_torch_device="cpu")


#: Job -> how the model is made, its settings, and the BLAS threads it is fastest with: implicit wants 1.
MODELS: dict[str, tuple[Any, Settings, int]] = {
    "als": (
        _als,
        {"factors": 64, "iterations": 15, "regularization": 0.01, "alpha": 1.0, "random_state": 0},
        1,
    ),
    "bpr": (
        _bpr,
        {"factors": 64, "iterations": 100, "learning_rate": 0.01, "regularization": 0.01, "random_state": 0},
        1,
    ),
    "cosine": (_cosine, {"K": 20}, 1),
    "bm25": (_bm25, {"K": 20, "K1": 1.2, "B": 0.75}, 1),
    "ease": (lambda own: EASEModel(**own), {"regularization": 500.0}, THREADS),
    "popular": (lambda own: PopularModel(**own), {}, THREADS),
    "sasrec": (
        _sasrec,
        {
            "n_factors": 256,
            "n_blocks": 2,
            "n_heads": 4,
            "dropout_rate": 0.2,
            "session_max_len": 100,
            "lr": 0.001,
            "batch_size": 128,
            "epochs": 3,
        },
        THREADS,
    ),
}


def lists(name: str) -> Job:
    """The job that fits the model ``name`` and recommends ``k`` items to every user."""
    make, defaults, blas_threads = MODELS[name]

    def job(arrays: Arrays, given: Settings) -> Result:
        settings = complete_settings(given, {**defaults, "k": 20})
        own = {key: value for key, value in settings.items() if key != "k"}
        users, items = log_pairs(arrays)
        n_users = int(arrays["shape"][0])
        log = Dataset.construct(
            pd.DataFrame(
                {
                    Columns.User: users,
                    Columns.Item: items,
                    Columns.Weight: np.float32(1),
                    Columns.Datetime: pd.Timestamp("2020-01-01")
                    + pd.to_timedelta(np.arange(len(users)), "s"),
                }
            )
        )
        known = np.unique(users)
        with warnings.catch_warnings(), threadpool_limits(blas_threads, user_api="blas"):
            warnings.simplefilter("ignore")
            model = make(own)
            with measured() as fit:
                model.fit(log)
            with measured() as recommend:
                found = model.recommend(known, log, k=settings["k"], filter_viewed=True)
        laid = laid_out(
            found[Columns.User].to_numpy(), found[Columns.Item].to_numpy(), n_users, settings["k"]
        )
        return Result({"fit": fit, "recommend": recommend}, {"items": laid}, settings)

    return job


def metrics(arrays: Arrays, given: Settings) -> Result:
    """Mean metrics of ``items`` (row u is user u's list) against ``test_users``, ``test_items``."""
    settings = complete_settings(given, METRICS)
    reco = _recommendations(arrays)
    interactions = pd.DataFrame({Columns.User: arrays["test_users"], Columns.Item: arrays["test_items"]})
    wanted = _metrics(settings)
    with measured() as call:
        means = calc_metrics(wanted, reco=reco, interactions=interactions)
    return Result({"metrics": call}, {name: np.asarray(mean) for name, mean in means.items()}, settings)


def _recommendations(arrays: Arrays) -> pd.DataFrame:
    """Lay the recommended lists out in RecTools' long form, ranks counted from 1."""
    items = arrays["items"]
    users, length = items.shape
    return pd.DataFrame(
        {
            Columns.User: np.repeat(np.arange(users), length),
            Columns.Item: items.ravel(),
            Columns.Rank: np.tile(np.arange(1, length + 1), users),
        }
    )


def _metrics(settings: Settings) -> dict[str, MetricAtK]:
    """Make the six metrics, each at the same depth."""
    k = settings["k"]
    return {
        "precision": Precision(k=k),
        "recall": Recall(k=k),
        "ndcg": NDCG(k=k, divide_by_achievable=settings["ndcg_divide_by_achievable"]),
        "map": MAP(k=k, divide_by_k=settings["map_divide_by_k"]),
        "mrr": MRR(k=k),
        "hit_rate": HitRate(k=k),
    }


if __name__ == "__main__":
    serve("RecTools", {**{name: lists(name) for name in MODELS}, "metrics": metrics})
