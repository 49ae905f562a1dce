"""Run irspack: fit a recommender and recommend for every user."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("IRSPACK_NUM_THREADS_DEFAULT", "2")

import numpy as np
from irspack.recommenders import (
    CosineKNNRecommender,
    CosineUserKNNRecommender,
    DenseSLIMRecommender,
    IALSRecommender,
    P3alphaRecommender,
    RP3betaRecommender,
    SLIMRecommender,
    TopPopRecommender,
)
from irspack.utils._util_cpp import retrieve_recommend_from_score_f32

sys.path.append(str(Path(__file__).resolve().parents[1]))

from lists import log_matrix, padded
from worker import Arrays, Job, Result, Settings, complete_settings, measured, serve

THREADS = 2
_BLOCK = 512  # users scored at once

MODELS: dict[str, tuple[Any, Settings]] = {
    "ials": (
        IALSRecommender,
        {
            "n_components": 64,
            "alpha0": 0.1,
            "reg": 0.001,
            "nu": 1.0,
            "loss_type": "IALSPP",
            "solver_type": "CG",
            "max_cg_steps": 3,
            "train_epochs": 15,
        },
    ),
    "cosine": (
        CosineKNNRecommender,
        {"top_k": 100, "shrinkage": 0.0, "normalize": True, "feature_weighting": "NONE",
         "bm25_k1": 1.2, "bm25_b": 0.75},
    ),
    "user_cosine": (CosineUserKNNRecommender, {"top_k": 100, "shrinkage": 0.0, "normalize": True}),
    "ease": (DenseSLIMRecommender, {"reg": 300.0}),
    "slim": (
        SLIMRecommender,
        {"alpha": 0.05, "l1_ratio": 0.01, "positive_only": True, "n_iter": 100, "tol": 1e-4, "top_k": None},
    ),
    "p3alpha": (P3alphaRecommender, {"alpha": 1.0, "top_k": 100, "normalize_weight": False}),
    "rp3beta": (RP3betaRecommender, {"alpha": 1.0, "beta": 0.6, "top_k": 100, "normalize_weight": False}),
    "popular": (TopPopRecommender, {}),
}  # fmt: skip


def lists(name: str) -> Job:
    """The job that learns the recommender ``name`` and recommends ``k`` items to every user."""
    model_class, defaults = MODELS[name]

    def job(arrays: Arrays, given: Settings) -> Result:
        settings = complete_settings(given, {**defaults, "k": 20})
        own = {key: value for key, value in settings.items() if key != "k"}
        log = log_matrix(arrays, np.float64)
        with measured() as fit:
            model = model_class(log, **own).learn()
        with measured() as recommend:
            found = _recommend(model, log.shape[0], settings["k"])
        items = padded(([item for item, _ in row] for row in found), log.shape[0], settings["k"])
        return Result({"fit": fit, "recommend": recommend}, {"items": items}, settings)

    return job


def _recommend(model: Any, n_users: int, k: int) -> list[list[tuple[int, float]]]:
    """Score in blocks and let irspack's own code pick the best, on all threads."""
    found: list[list[tuple[int, float]]] = []
    for start in range(0, n_users, _BLOCK):
        scores = model.get_score_remove_seen(np.arange(start, min(start + _BLOCK, n_users)))
        found += retrieve_recommend_from_score_f32(
            np.ascontiguousarray(scores, dtype=np.float32), [], k, THREADS
        )
    return found


if __name__ == "__main__":
    serve("irspack", {name: lists(name) for name in MODELS})
