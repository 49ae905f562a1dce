"""Run RecTools' ranking metrics over recommended lists."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from rectools import Columns
from rectools.metrics import MAP, MRR, NDCG, HitRate, Precision, Recall, calc_metrics
from rectools.metrics.base import MetricAtK

sys.path.append(str(Path(__file__).resolve().parents[1]))

from worker import Arrays, Result, Settings, complete_settings, measured, serve

DEFAULTS: Settings = {"k": 20, "ndcg_divide_by_achievable": True, "map_divide_by_k": False}


def metrics(arrays: Arrays, given: Settings) -> Result:
    """Mean metrics of ``items`` (row u is user u's list) against ``test_users``, ``test_items``."""
    settings = complete_settings(given, DEFAULTS)
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
    serve("RecTools", {"metrics": metrics})
