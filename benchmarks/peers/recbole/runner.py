"""Run RecBole: build and train a model on a log, and recommend for every user by its full-sort scores."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.dataloader import TrainDataLoader
from recbole.data.interaction import Interaction
from recbole.sampler import Sampler
from recbole.utils import get_model, get_trainer, init_seed

sys.path.append(str(Path(__file__).resolve().parents[1]))

from lists import log_matrix, log_pairs
from worker import Arrays, Job, Result, Settings, complete_settings, measured, serve

_BLOCK = 256  # users scored at once

MODELS: dict[str, tuple[str, Settings]] = {
    "item_knn": ("ItemKNN", {"k": 100, "shrink": 0.0, "knn_method": "item"}),
    "ease": ("EASE", {"reg_weight": 250.0}),
    "slim": ("SLIMElastic", {"alpha": 0.2, "l1_ratio": 0.02, "positive_only": True, "hide_item": True}),
    "bpr": (
        "BPR",
        {"embedding_size": 64, "epochs": 20, "learning_rate": 0.001, "train_batch_size": 2048},
    ),
    "popular": ("Pop", {}),
}


def lists(name: str) -> Job:
    """The job that trains the model ``name`` and recommends ``n`` items to every user."""
    model_name, defaults = MODELS[name]

    def job(arrays: Arrays, given: Settings) -> Result:
        settings = complete_settings(given, {**defaults, "n": 20})
        own = {key: value for key, value in settings.items() if key != "n"}
        with tempfile.TemporaryDirectory() as folder:
            config, dataset = _dataset(model_name, own, arrays, Path(folder))
            loader = _loader(config, dataset) if name in ("bpr", "popular") else None
            with measured() as fit:
                model = get_model(model_name)(config, dataset)
                if loader is not None:
                    trainer = get_trainer(config["MODEL_TYPE"], model_name)(config, model)
                    trainer.fit(loader, saved=False, verbose=False)
            model.eval()
            with measured() as recommend:
                items = _recommend(model, dataset, arrays, settings["n"])
        return Result({"fit": fit, "recommend": recommend}, {"items": items}, settings)

    return job


def _dataset(model_name: str, own: Settings, arrays: Arrays, folder: Path) -> tuple[Config, Any]:
    """The log as RecBole reads it: an atomic file with a row per event."""
    users, items = log_pairs(arrays)
    (folder / "log").mkdir()
    pd.DataFrame({"user_id:token": users, "item_id:token": items}).to_csv(
        folder / "log" / "log.inter", sep="\t", index=False
    )
    sys.argv = sys.argv[:1]  # RecBole reads the command line
    config = Config(
        model=model_name,
        dataset="log",
        config_dict={
            **own,
            "data_path": str(folder),
            "checkpoint_dir": str(folder / "saved"),
            "load_col": {"inter": ["user_id", "item_id"]},
            "seed": 0,
            "reproducibility": True,
            "use_gpu": False,
            "show_progress": False,
            "state": "ERROR",
            "eval_step": 0,
        },
    )
    init_seed(0, reproducibility=True)
    dataset = create_dataset(config)
    dataset._change_feat_format()
    return config, dataset


def _loader(config: Config, dataset: Any) -> TrainDataLoader:
    """Batches of the whole log with a uniform negative for each event."""
    sampler = Sampler(["train"], [dataset], "uniform", 1.0).set_phase("train")
    return TrainDataLoader(config, dataset, sampler, shuffle=True)


@torch.no_grad()
def _recommend(model: Any, dataset: Any, arrays: Arrays, n: int) -> Any:
    """Full-sort scores in blocks, seen items masked, the best by ``topk``: as ``full_sort_topk`` does."""
    n_users, n_items = (int(size) for size in arrays["shape"])
    seen = log_matrix(arrays)
    known = np.flatnonzero(np.diff(seen.indptr) > 0)
    user_of = dataset.token2id(dataset.uid_field, known.astype(str))
    tokens = dataset.field2id_token[dataset.iid_field]
    item_of = np.array([-1, *(int(token) for token in tokens[1:])])
    column_of = np.zeros(n_items, dtype=np.int64)
    column_of[item_of[1:]] = np.arange(1, len(item_of))
    items = np.full((n_users, n), -1, dtype=np.int32)
    block = 1 if model.__class__.__name__ == "Pop" else _BLOCK
    for start in range(0, len(known), block):
        rows = known[start : start + block]
        asked = Interaction({dataset.uid_field: torch.as_tensor(user_of[start : start + block])})
        scores = model.full_sort_predict(asked).view(len(rows), -1).float()
        scores[:, 0] = -torch.inf
        part = seen[rows]
        owner = np.repeat(np.arange(len(rows)), np.diff(part.indptr))
        scores[owner, column_of[part.indices]] = -torch.inf
        best = torch.topk(scores, n, dim=1)
        items[rows] = np.where(best.values.numpy() > -np.inf, item_of[best.indices.numpy()], -1)
    return items


if __name__ == "__main__":
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as working_folder:  # its trainer writes a log where it stands
        os.chdir(working_folder)
        serve("recbole", {name: lists(name) for name in MODELS})
