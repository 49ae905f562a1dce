"""Run Cornac: fit a model, then recommend for every user or predict the test pairs."""

from __future__ import annotations

import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from cornac.data import Dataset
from cornac.models import BPR, EASE, MF, MostPop

sys.path.append(str(Path(__file__).resolve().parents[1]))

from lists import log_pairs, padded
from worker import Arrays, Job, Result, Settings, complete_settings, measured, serve

MODELS: dict[str, tuple[Any, Settings]] = {
    "ease": (EASE, {"lamb": 500.0, "posB": False}),
    "bpr": (
        BPR,
        {
            "k": 64,
            "max_iter": 100,
            "learning_rate": 0.001,
            "lambda_reg": 0.01,
            "use_bias": True,
            "seed": None,
        },
    ),
    "popular": (MostPop, {}),
}
MF_DEFAULTS: Settings = {
    "k": 50,
    "max_iter": 40,
    "learning_rate": 0.01,
    "lambda_reg": 0.02,
    "use_bias": True,
    "seed": None,
}
_QUIET = (EASE, BPR)  # models that talk unless told not to


def lists(name: str) -> Job:
    """The job that fits the model ``name`` and recommends ``n`` items to every user."""
    model_class, defaults = MODELS[name]

    def job(arrays: Arrays, given: Settings) -> Result:
        settings = complete_settings({**given, "n": given.get("n", 20)}, {**defaults, "n": 20})
        own = {key: value for key, value in settings.items() if key != "n"}
        n_users, n_items = (int(size) for size in arrays["shape"])
        log = _dataset(*log_pairs(arrays), arrays["data"], n_users, n_items)
        model = model_class(**own, **({"verbose": False} if model_class in _QUIET else {}))
        with measured() as fit:
            model.fit(log)
        with measured() as recommend:
            found = [
                model.recommend(user, k=settings["n"], remove_seen=True, train_set=log)
                for user in range(n_users)
            ]
        items = padded(found, n_users, settings["n"])
        return Result({"fit": fit, "recommend": recommend}, {"items": items}, settings)

    return job


def mf(arrays: Arrays, given: Settings) -> Result:
    """Biased matrix factorization by stochastic gradient descent, without a seed on all threads."""
    settings = complete_settings(given, MF_DEFAULTS)
    users, items = arrays["test_users"], arrays["test_items"]
    n_users = int(max(arrays["train_users"].max(), users.max())) + 1
    n_items = int(max(arrays["train_items"].max(), items.max())) + 1
    log = _dataset(arrays["train_users"], arrays["train_items"], arrays["train_ratings"], n_users, n_items)
    model = MF(**settings)
    with measured() as fit:
        model.fit(log)
    with measured() as predict:
        found = [model.rate(int(u), int(i)) for u, i in zip(users, items, strict=True)]
    return Result({"fit": fit, "predict": predict}, {"predictions": np.array(found, np.float64)}, settings)


def _dataset(users: Any, items: Any, values: Any, n_users: int, n_items: int) -> Dataset:
    """Cornac's own structure, in which every index stands for itself."""
    identity = OrderedDict((n, n) for n in range(n_users)), OrderedDict((n, n) for n in range(n_items))
    triples = (np.asarray(users, np.int64), np.asarray(items, np.int64), np.asarray(values, np.float64))
    return Dataset(n_users, n_items, *identity, triples, seed=0)


if __name__ == "__main__":
    serve("cornac", {**{name: lists(name) for name in MODELS}, "mf": mf})
