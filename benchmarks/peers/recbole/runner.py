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

_TRAINING: Settings = {"epochs": 20, "learning_rate": 0.001, "train_batch_size": 2048}
MODELS: dict[str, tuple[str, Settings]] = {
    "item_knn": ("ItemKNN", {"k": 100, "shrink": 0.0, "knn_method": "item"}),
    "ease": ("EASE", {"reg_weight": 250.0}),
    "slim": ("SLIMElastic", {"alpha": 0.2, "l1_ratio": 0.02, "positive_only": True, "hide_item": True}),
    "bpr": (
        "BPR",
        {"embedding_size": 64, "epochs": 20, "learning_rate": 0.001, "train_batch_size": 2048},
    ),
    "popular": ("Pop", {}),
    "neumf": (
        "NeuMF",
        {
            "mf_embedding_size": 64,
            "mlp_embedding_size": 64,
            "mlp_hidden_size": [128, 64],
            "dropout_prob": 0.1,
            **_TRAINING,
        },
    ),
    "lightgcn": ("LightGCN", {"embedding_size": 64, "n_layers": 2, "reg_weight": 1e-5, **_TRAINING}),
    "sasrec": (
        "SASRec",
        {
            "hidden_size": 64,
            "inner_size": 256,
            "n_layers": 2,
            "n_heads": 2,
            "hidden_dropout_prob": 0.5,
            "attn_dropout_prob": 0.5,
            "MAX_ITEM_LIST_LENGTH": 50,
            "loss_type": "CE",
            "train_neg_sample_args": None,
            **_TRAINING,
        },
    ),
}
UNTRAINED = ("item_knn", "ease", "slim")  # they learn when they are built


def lists(name: str) -> Job:
    """The job that trains the model ``name`` and recommends ``n`` items to every user."""
    model_name, defaults = MODELS[name]

    def job(arrays: Arrays, given: Settings) -> Result:
        settings = complete_settings(given, {**defaults, "n": 20})
        own = {key: value for key, value in settings.items() if key != "n"}
        with tempfile.TemporaryDirectory() as folder:
            config, dataset = _dataset(model_name, own, arrays, Path(folder))
            loader = None if name in UNTRAINED else _loader(config, dataset)
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
    log = {"user_id:token": users, "item_id:token": items, "timestamp:float": np.arange(len(users))}
    pd.DataFrame(log).to_csv(folder / "log" / "log.inter", sep="\t", index=False)
    sys.argv = sys.argv[:1]  # RecBole reads the command line
    config = Config(
        model=model_name,
        dataset="log",
        config_dict={
            **own,
            "data_path": str(folder),
            "checkpoint_dir": str(folder / "saved"),
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
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
    """Batches of the whole log, with a uniform negative for each event where the model wants one."""
    if config["train_neg_sample_args"]["distribution"] == "none":
        return TrainDataLoader(config, dataset, None, shuffle=True)
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
        asked = Interaction(
            {
                dataset.uid_field: torch.as_tensor(user_of[start : start + block]),
                **_histories(dataset, model, seen[rows], column_of),
            }
        )
        scores = _scores(model, asked, len(tokens)).view(len(rows), -1).float()
        scores[:, 0] = -torch.inf
        part = seen[rows]
        owner = np.repeat(np.arange(len(rows)), np.diff(part.indptr))
        scores[owner, column_of[part.indices]] = -torch.inf
        best = torch.topk(scores, n, dim=1)
        items[rows] = np.where(best.values.numpy() > -np.inf, item_of[best.indices.numpy()], -1)
    return items


def _scores(model: Any, asked: Interaction, n_items: int) -> torch.Tensor:
    """Scores of all items; a model that has no way for that is asked pair by pair, as RecBole's trainer does."""
    try:
        return model.full_sort_predict(asked)
    except NotImplementedError:
        pairs = asked.repeat_interleave(n_items)
        pairs.update(Interaction({model.ITEM_ID: torch.arange(n_items).repeat(len(asked))}))
        return model.predict(pairs)


def _histories(dataset: Any, model: Any, seen: Any, column_of: Any) -> dict[str, torch.Tensor]:
    """The latest events of each user, for a model of sequences."""
    if not hasattr(model, "ITEM_SEQ"):
        return {}
    length = model.max_seq_length
    items = np.zeros((seen.shape[0], length), dtype=np.int64)
    lengths = np.minimum(np.diff(seen.indptr), length)
    for row, (stop, n) in enumerate(zip(seen.indptr[1:], lengths, strict=True)):
        items[row, :n] = column_of[seen.indices[stop - n : stop]]
    return {model.ITEM_SEQ: torch.as_tensor(items), model.ITEM_SEQ_LEN: torch.as_tensor(lengths).long()}


if __name__ == "__main__":
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as working_folder:  # its trainer writes a log where it stands
        os.chdir(working_folder)
        serve("recbole", {name: lists(name) for name in MODELS})
