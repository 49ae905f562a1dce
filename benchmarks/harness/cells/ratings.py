"""Predicted ratings: one algorithm, one size and one number of epochs on all sides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness import data, quality
from harness.cell import Arrays, Cell, Side

#: The formula of Surprise's KNNBaseline.
_KNN_BASELINE = {
    "similarity": "pearson_baseline",
    "shrinkage": 100,
    "amplification": 1,
    "damping": 0,
    "reg_user": 15,
    "reg_item": 10,
}
_FOLDS = ("ml-100k", "five official folds", data.ml100k_folds)
_ML1M = ("ml-1m", "first of five random folds", data.ml1m_fold)
_Log = tuple[str, str, Callable[[], Sequence[Arrays]]]


def cells() -> list[Cell]:
    """The cells of this kind."""
    return [
        *(_biased_mf(log) for log in (_FOLDS, _ML1M)),
        _svdpp(_FOLDS),
        _cell(
            "rating-baseline",
            "mean plus user and item bias, alternating",
            _FOLDS,
            {
                "recsmith": ("ratings", {"model": "rating-baseline", "reg_user": 15, "reg_item": 10}),
                "surprise": ("baseline", {"reg_u": 15, "reg_i": 10}),
                "lenskit": Side("bias", {"damping": 5.0}, "item bias first, then user bias: no alternation"),
            },
        ),
        _cell(
            "item-knn-ratings",
            "item kNN around baselines, k = 40",
            _FOLDS,
            {
                "recsmith": ("ratings", {"model": "item-knn", **_KNN_BASELINE, "rating_neighbors": 40}),
                "surprise": ("knn_baseline", {"user_based": False}),
            },
        ),
        _cell(
            "user-knn-ratings",
            "user kNN around baselines, k = 40",
            _FOLDS,
            {
                "recsmith": ("ratings", {"model": "user-knn", **_KNN_BASELINE, "neighbors": 40}),
                "surprise": ("knn_baseline", {"user_based": True}),
            },
        ),
        *(_bayesian(log, "ids", histories=False) for log in (_FOLDS, _ML1M)),
        _bayesian(_FOLDS, "svdpp_flipped", histories=True),
    ]


def _biased_mf(log: _Log) -> Cell:
    """Sizes and epochs are equal; each side has its own learning rate and penalty, as they scale them differently."""
    ours: dict[str, Any] = {"model": "biased-mf", "embedding_size": 50, "epochs": 40, "learning_rate": 0.02}
    return _cell(
        "biased-mf",
        "biased matrix factorization by SGD, d = 50, 40 epochs",
        log,
        {
            "recsmith": ("ratings", ours),
            "surprise": ("svd", {"n_factors": 50, "n_epochs": 40, "reg_all": 0.08}),
            "cornac": ("mf", {"k": 50, "max_iter": 40, "learning_rate": 0.01, "lambda_reg": 0.08}),
            "lenskit": Side(
                "biased_mf",
                {"embedding_size": 50, "epochs": 40, "regularization": 5.0},
                "the same model by alternating least squares",
            ),
        },
    )


def _svdpp(log: _Log) -> Cell:
    return _cell(
        "svdpp",
        "SVD++ by SGD, d = 20, 20 epochs",
        log,
        {
            "recsmith": ("ratings", {"model": "svdpp", "embedding_size": 20, "epochs": 20}),
            "surprise": ("svdpp", {"n_factors": 20, "n_epochs": 20}),
        },
    )


def _bayesian(log: _Log, job: str, histories: bool) -> Cell:
    """Both draw 300 times in all and keep what comes after the start: recsmith in two chains."""
    ours = {
        "model": "bayesian-mf",
        "embedding_size": 10,
        "chains": 2,
        "epochs": 150,
        "likelihood": "gaussian",
        "implicit": histories,
        "flipped": histories,
    }
    what = "ids, SVD++ and flipped blocks" if histories else "ids only"
    return _cell(
        "bayesian-svdpp" if histories else "bayesian-mf",
        f"Bayesian factorization by Gibbs sampling, d = 10, 300 draws, {what}",
        log,
        {
            "recsmith": ("ratings", ours),
            "myfm": (job, {"rank": 10, "n_iter": 300, "n_kept_samples": 295}),
        },
    )


def _cell(name: str, what: str, log: _Log, sides: Mapping[str, tuple[str, dict[str, Any]] | Side]) -> Cell:
    data_name, split, inputs = log
    return Cell(
        name=f"{name}-{data_name}",
        what=f"{what}; {split}",
        data={"ml-100k": "MovieLens-100K", "ml-1m": "MovieLens-1M"}[data_name],
        inputs=inputs,
        judge=quality.of_ratings,
        sides={n: side if isinstance(side, Side) else Side(*side) for n, side in sides.items()},
    )
