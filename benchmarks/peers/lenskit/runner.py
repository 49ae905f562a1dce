"""Run LensKit: train a pipeline, then recommend for every user or predict the test pairs; and its metrics."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from lenskit.als import BiasedMFScorer, ImplicitMFScorer
from lenskit.basic import BiasScorer, PopScorer
from lenskit.batch import predict as batch_predict
from lenskit.batch import recommend as batch_recommend
from lenskit.data import ItemList, ItemListCollection, from_interactions_df
from lenskit.knn import ItemKNNScorer, SLIMScorer, UserKNNScorer
from lenskit.knn.ease import EASEScorer
from lenskit.metrics import NDCG, Hit, Precision, Recall, RecipRank, RunAnalysis
from lenskit.parallel import initialize
from lenskit.pipeline import predict_pipeline, topn_pipeline

sys.path.append(str(Path(__file__).resolve().parents[1]))

from lists import log_pairs, padded
from worker import Arrays, Job, Result, Settings, complete_settings, measured, serve

MODELS: dict[str, tuple[Any, Settings]] = {
    "als": (
        ImplicitMFScorer,
        {
            "embedding_size": 64,
            "epochs": 15,
            "regularization": 0.1,
            "weight": 40.0,
            "user_embeddings": "prefer",
        },
    ),
    "item_knn": (
        ItemKNNScorer,
        {"max_nbrs": 20, "min_nbrs": 1, "save_nbrs": None, "feedback": "implicit"},
    ),
    "user_knn": (UserKNNScorer, {"max_nbrs": 20, "min_nbrs": 1, "feedback": "implicit"}),
    "ease": (EASEScorer, {"regularization": 300.0}),
    "slim": (SLIMScorer, {"l1_reg": 1.0, "l2_reg": 1.0, "max_iters": 100}),
    "popular": (PopScorer, {}),
}
RATINGS: dict[str, tuple[Any, Settings]] = {
    "biased_mf": (
        BiasedMFScorer,
        {"embedding_size": 50, "epochs": 10, "regularization": 0.1, "user_embeddings": "prefer"},
    ),
    "bias": (BiasScorer, {"damping": 5.0}),
}


def lists(name: str) -> Job:
    """The job that trains the scorer ``name`` in a top-n pipeline and recommends ``k`` items to every user."""
    scorer_class, defaults = MODELS[name]

    def job(arrays: Arrays, given: Settings) -> Result:
        settings = complete_settings(given, {**defaults, "k": 20, "n_jobs": 1})
        own = {key: value for key, value in settings.items() if key not in ("k", "n_jobs")}
        users, items = log_pairs(arrays)
        log = from_interactions_df(pd.DataFrame({"user_id": users, "item_id": items}))
        pipeline = topn_pipeline(scorer_class(**own), n=settings["k"])
        with measured() as fit:
            pipeline.train(log)
        n_users = int(arrays["shape"][0])
        with measured() as recommend:
            found = batch_recommend(
                pipeline, list(range(n_users)), n=settings["k"], n_jobs=settings["n_jobs"]
            )
        by_user = {key.user_id: answer.ids() for key, answer in found}
        ordered = (by_user.get(user, np.zeros(0, np.int32)) for user in range(n_users))
        return Result(
            {"fit": fit, "recommend": recommend},
            {"items": padded(ordered, n_users, settings["k"])},
            settings,
        )

    return job


def ratings(name: str) -> Job:
    """The job that trains the scorer ``name`` and predicts the test pairs."""
    scorer_class, defaults = RATINGS[name]

    def job(arrays: Arrays, given: Settings) -> Result:
        settings = complete_settings(given, {**defaults, "n_jobs": 1})
        own = {key: value for key, value in settings.items() if key != "n_jobs"}
        frames = {
            part: pd.DataFrame(
                {
                    "user_id": arrays[f"{part}_users"],
                    "item_id": arrays[f"{part}_items"],
                    "rating": arrays[f"{part}_ratings"],
                }
            )
            for part in ("train", "test")
        }
        log = from_interactions_df(frames["train"])
        asked = ItemListCollection.from_df(frames["test"].drop(columns="rating"), key="user_id")
        pipeline = predict_pipeline(scorer_class(**own))
        with measured() as fit:
            pipeline.train(log)
        with measured() as predict:
            found = batch_predict(pipeline, asked, n_jobs=settings["n_jobs"])
        scored = found.to_df().set_index(["user_id", "item_id"])["score"]
        pairs = pd.MultiIndex.from_arrays([arrays["test_users"], arrays["test_items"]])
        predictions = scored.reindex(pairs).to_numpy(np.float64)
        return Result({"fit": fit, "predict": predict}, {"predictions": predictions}, settings)

    return job


def metrics(arrays: Arrays, given: Settings) -> Result:
    """Mean metrics of ``items`` (row u is user u's list) against ``test_users``, ``test_items``."""
    settings = complete_settings(given, {"k": 20})
    k = settings["k"]
    judged = np.unique(arrays["test_users"])
    lists = ItemListCollection.from_dict(
        {int(user): ItemList(arrays["items"][user], ordered=True) for user in judged}, key="user_id"
    )
    test = pd.DataFrame({"user_id": arrays["test_users"], "item_id": arrays["test_items"]})
    truth = ItemListCollection.from_df(test, key="user_id")
    analysis = RunAnalysis(Precision(k), Recall(k), NDCG(k), RecipRank(k), Hit(k))
    with measured() as call:
        means = analysis.measure(lists, truth).list_metrics().mean()
    names = ("precision", "recall", "ndcg", "mrr", "hit_rate")
    return Result({"metrics": call}, {n: np.asarray(m) for n, m in zip(names, means, strict=True)}, settings)


if __name__ == "__main__":
    initialize(processes=2, threads=2, backend_threads=2)
    serve(
        "lenskit",
        {
            **{name: lists(name) for name in MODELS},
            **{name: ratings(name) for name in RATINGS},
            "metrics": metrics,
        },
    )
