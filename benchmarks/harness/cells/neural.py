"""Neural models: the same model, sizes, batches and epochs on all sides, so that speed is of the same work.

An example is a positive and its negatives for NeuMF and LightGCN. Of SASRec RecBole makes an example for each event
with the events before it, RecTools and recsmith one for each window of a history, of which every event is learned: the
targets are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness import data, quality
from harness.cell import Cell, Side

BATCH = 2048


def cells() -> list[Cell]:
    """The cells of this kind."""
    return [_neumf(), _lightgcn(), _sasrec()]


def _neumf() -> Cell:
    """Batches of pairs with one negative each: RecBole counts both, recsmith the positives."""
    epochs = 20
    ours = {
        "embedding_size": 64,
        "hidden": [128, 64],
        "dropout": 0.1,
        "batch_size": BATCH // 2,
        "epochs": epochs,
        "n_negatives": 1,
        "loss": "bce",
    }
    theirs = {
        "mf_embedding_size": 64,
        "mlp_embedding_size": 64,
        "mlp_hidden_size": [128, 64],
        "dropout_prob": 0.1,
        "train_batch_size": BATCH,
        "epochs": epochs,
    }
    sides = {
        "recsmith": _ours("neumf", **ours),
        "recbole": Side("neumf", theirs, "a table of users, where recsmith pools the history"),
    }
    return _cell("neumf", f"NeuMF, d = 64, layers 128 and 64, {epochs} epochs, one negative", sides)


def _lightgcn() -> Cell:
    epochs = 20
    ours = {"embedding_size": 64, "layers": 3, "batch_size": BATCH, "epochs": epochs, "reg": 1e-4}
    theirs = {
        "embedding_size": 64,
        "n_layers": 3,
        "reg_weight": 1e-4,
        "train_batch_size": BATCH,
        "epochs": epochs,
    }
    sides = {"recsmith": _ours("lightgcn", **ours), "recbole": Side("lightgcn", theirs)}
    return _cell("lightgcn", f"LightGCN, d = 64, 3 layers, {epochs} epochs, batches of {BATCH:,}", sides)


def _sasrec() -> Cell:
    """RecBole's own batches of 2,048 prefixes, of which a user has about 85."""
    epochs = 3
    ours = {"embedding_size": 64, "blocks": 2, "heads": 2, "max_length": 50, "windows": "all", "dropout": 0.2}
    sides = {
        "recsmith": _ours("sasrec", **ours, epochs=epochs, batch_size=48),
        "recbole": Side(
            "sasrec",
            {
                "hidden_dropout_prob": 0.2,
                "attn_dropout_prob": 0.2,
                "train_batch_size": BATCH,
                "epochs": epochs,
            },
            "an example for each event: batches of 2,048 of them",
        ),
        "rectools": Side(
            "sasrec",
            {
                "n_factors": 64,
                "n_blocks": 2,
                "n_heads": 2,
                "session_max_len": 50,
                "batch_size": 48,
                "epochs": epochs,
            },
            "the latest 50 events of a user only",
        ),
    }
    return _cell("sasrec", f"SASRec, d = 64, 2 blocks, length 50, softmax, {epochs} epochs", sides)


def _ours(model: str, **parameters: Any) -> Side:
    return Side("lists", {"model": model, **parameters})


def _cell(name: str, what: str, sides: Mapping[str, Side]) -> Cell:
    return Cell(
        name=f"{name}-ml-100k",
        what=what,
        data="MovieLens-100K, in time",
        inputs=lambda: [data.ml100k_in_time()],
        judge=quality.of_lists,
        sides=dict(sides),
        wanted=0.5,
    )
