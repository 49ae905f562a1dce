"""Run scikit-surprise's rating predictors: fit on train ratings, then predict the test pairs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from surprise import SVD, AlgoBase, BaselineOnly, Dataset, KNNBaseline, Reader, SVDpp, Trainset

sys.path.append(str(Path(__file__).resolve().parents[1]))

from worker import Arrays, Result, Settings, complete_settings, measured, serve

SVD_DEFAULTS: Settings = {
    "n_factors": 50,
    "n_epochs": 40,
    "lr_all": 0.005,
    "reg_all": 0.08,
    "biased": True,
    "init_mean": 0.0,
    "init_std_dev": 0.1,
    "random_state": 0,
    "rating_scale": [1, 5],
}

SVDPP_DEFAULTS: Settings = {
    "n_factors": 20,
    "n_epochs": 20,
    "lr_all": 0.007,
    "reg_all": 0.02,
    "cache_ratings": True,
    "random_state": 0,
    "rating_scale": [1, 5],
}

BASELINE_DEFAULTS: Settings = {"n_epochs": 10, "reg_u": 15, "reg_i": 10, "rating_scale": [1, 5]}

KNN_DEFAULTS: Settings = {
    "k": 40,
    "min_k": 1,
    "similarity": "pearson_baseline",
    "user_based": True,
    "shrinkage": 100,
    "min_support": 1,
    "baseline_method": "als",
    "baseline_epochs": 10,
    "baseline_reg_user": 15,
    "baseline_reg_item": 10,
    "rating_scale": [1, 5],
}


def svd(arrays: Arrays, given: Settings) -> Result:
    """Biased matrix factorization by stochastic gradient descent."""
    settings = complete_settings(given, SVD_DEFAULTS)
    own = {name: value for name, value in settings.items() if name != "rating_scale"}
    return _fit_and_predict(SVD(**own), arrays, settings)


def svdpp(arrays: Arrays, given: Settings) -> Result:
    """SVD++: the factors of what a user rated are added to his own. Caching the ratings is its faster way."""
    settings = complete_settings(given, SVDPP_DEFAULTS)
    own = {name: value for name, value in settings.items() if name != "rating_scale"}
    return _fit_and_predict(SVDpp(**own), arrays, settings)


def baseline(arrays: Arrays, given: Settings) -> Result:
    """Mean plus biases by alternating least squares."""
    settings = complete_settings(given, BASELINE_DEFAULTS)
    own = {name: value for name, value in settings.items() if name != "rating_scale"}
    return _fit_and_predict(BaselineOnly({"method": "als", **own}, verbose=False), arrays, settings)


def knn_baseline(arrays: Arrays, given: Settings) -> Result:
    """Nearest neighbours around baseline estimates."""
    settings = complete_settings(given, KNN_DEFAULTS)
    similarity = {
        "name": settings["similarity"],
        "user_based": settings["user_based"],
        "shrinkage": settings["shrinkage"],
        "min_support": settings["min_support"],
    }
    baseline = {
        "method": settings["baseline_method"],
        "n_epochs": settings["baseline_epochs"],
        "reg_u": settings["baseline_reg_user"],
        "reg_i": settings["baseline_reg_item"],
    }
    algorithm = KNNBaseline(
        k=settings["k"],
        min_k=settings["min_k"],
        sim_options=similarity,
        bsl_options=baseline,
        verbose=False,
    )
    return _fit_and_predict(algorithm, arrays, settings)


def _fit_and_predict(algorithm: AlgoBase, arrays: Arrays, settings: Settings) -> Result:
    """Time the fit and the predictions apart."""
    trainset = _trainset(arrays, settings)
    testset = _triples(arrays, "test")
    with measured() as fit:
        algorithm.fit(trainset)
    with measured() as predict:
        predictions = algorithm.test(testset)
    estimates = np.array([prediction.est for prediction in predictions], np.float64)
    return Result({"fit": fit, "predict": predict}, {"predictions": estimates}, settings)


def _trainset(arrays: Arrays, settings: Settings) -> Trainset:
    """Put the train ratings in surprise's own structure, made as its cross-validation folds are made."""
    lowest, highest = settings["rating_scale"]
    dataset = Dataset(Reader(rating_scale=(lowest, highest)))
    return dataset.construct_trainset([(*triple, None) for triple in _triples(arrays, "train")])


def _triples(arrays: Arrays, part: str) -> list[tuple[int, int, float]]:
    """Give the ratings of one part as plain Python (user, item, rating) triples."""
    columns = (arrays[f"{part}_{name}"].tolist() for name in ("users", "items", "ratings"))
    return list(zip(*columns, strict=True))


if __name__ == "__main__":
    serve(
        "scikit-surprise",
        {"svd": svd, "svdpp": svdpp, "baseline": baseline, "knn_baseline": knn_baseline},
    )
