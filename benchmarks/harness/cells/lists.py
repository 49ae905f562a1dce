"""Lists of 20 for every user of a log: one algorithm with equal settings on all sides.

Where libraries write the same thing differently, the settings are translated, and the translation stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness import data, quality
from harness.cell import Arrays, Cell, Side

K = 20


@dataclass(frozen=True)
class _Log:
    """A log and the sizes that suit it: the best published ones, or the libraries' own examples."""

    key: str
    name: str
    load: Callable[[], Arrays]
    n_users: int
    embedding_size: int
    ials_reg: float
    ials_alpha: float
    neighbors: int
    ease_reg: float
    slim: tuple[float, float]
    walk_neighbors: int
    beta: float


ML100K = _Log("ml-100k", "MovieLens-100K", data.ml100k_lists, 943, 32, 10, 1, 100, 300, (100, 1), 100, 0.4)
ML1M = _Log("ml-1m", "MovieLens-1M", data.ml1m_lists, 6040, 64, 10, 1, 100, 300, (200, 5), 200, 0.4)
GOWALLA = _Log("gowalla", "Gowalla", data.gowalla, 29858, 64, 10, 39, 100, 80, (50, 0.1), 777, 0.001)


def cells() -> list[Cell]:
    """The cells of this kind, the small logs first."""
    logs = (ML100K, ML1M, GOWALLA)
    dense = (ML100K, ML1M)  # a square matrix of the items is at home in memory
    return [
        *(_popular(log) for log in logs),
        *(_ials(log) for log in logs),
        *(_item_knn(log) for log in logs),
        *(_bm25(log) for log in logs),
        *(_user_knn(log) for log in logs),
        *(_ease(log) for log in dense),
        *(_slim(log) for log in dense),
        *(_p3alpha(log) for log in dense),
        *(_rp3beta(log) for log in logs),
        *(_bpr(log) for log in dense),
    ]


def _popular(log: _Log) -> Cell:
    sides = {
        "recsmith": _ours("popular"),
        "rectools": Side("popular"),
        "lenskit": Side("popular"),
        "irspack": Side("popular"),
        "cornac": Side("popular"),
        "recbole": Side("popular"),
    }
    return _cell("popular", "items by number of events", log, sides)


def _ials(log: _Log) -> Cell:
    """The alpha of implicit counts the 1 of every pair; irspack divides the loss by alpha (``nu`` 0: plain L2)."""
    d, reg, alpha = log.embedding_size, log.ials_reg, log.ials_alpha
    implicit = {"factors": d, "iterations": 15, "regularization": reg, "alpha": alpha + 1}
    sides = {
        "recsmith": _ours("ials", embedding_size=d, epochs=15, reg=reg, alpha=alpha),
        "implicit": Side("als", implicit),
        "rectools": Side("als", implicit, "wraps implicit"),
        "lenskit": Side(
            "als",
            {"embedding_size": d, "epochs": 15, "regularization": reg, "weight": alpha},
            "each step solved exactly (Cholesky)",
        ),
        "irspack": Side(
            "ials",
            {
                "n_components": d,
                "train_epochs": 15,
                "alpha0": 1 / alpha,
                "reg": reg / alpha,
                "nu": 0.0,
                "loss_type": "ORIGINAL",
            },
        ),
    }
    return _cell("ials", f"implicit ALS, d = {d}, 15 iterations, 3 conjugate-gradient steps", log, sides)


def _item_knn(log: _Log) -> Cell:
    """implicit, RecTools and irspack count an item among its own neighbours: one more is asked of them."""
    k = log.neighbors
    sides = {
        "recsmith": _ours("item-knn", **_PLAIN, neighbors=k),
        "implicit": Side(
            "cosine", {"K": k + 1}, "keeps the best of each item of the history, not of each candidate"
        ),
        "rectools": Side("cosine", {"K": k + 1}, "wraps implicit"),
        "lenskit": Side(
            "item_knn", {"max_nbrs": k, "save_nbrs": k}, "keeps the best of each item of the history"
        ),
        "irspack": Side("cosine", {"top_k": k + 1}),
        "recbole": Side("item_knn", {"k": k}),
    }
    return _cell(
        "item-knn", f"item kNN, cosine, {k} neighbours", log, _without(sides, log, "recbole", "gowalla")
    )


def _bm25(log: _Log) -> Cell:
    k = log.neighbors
    sides = {
        "recsmith": _ours(
            "item-knn", **{**_PLAIN, "weighting": "bm25"}, bm25_k1=1.2, bm25_b=0.75, neighbors=k
        ),
        "implicit": Side("bm25", {"K": k + 1}),
        "rectools": Side("bm25", {"K": k + 1}, "wraps implicit"),
        "irspack": Side("cosine", {"top_k": k + 1, "feature_weighting": "BM_25"}),
    }
    return _cell("item-knn-bm25", f"item kNN, BM25 and cosine, {k} neighbours", log, sides)


def _user_knn(log: _Log) -> Cell:
    """Here and in LensKit the neighbours are looked for when a list is asked for, in irspack while it fits."""
    k = log.neighbors
    sides = {
        "recsmith": _ours("user-knn", **_PLAIN, neighbors=k),
        "lenskit": Side("user_knn", {"max_nbrs": k}, "the best of the users who have the item, not of all"),
        "irspack": Side("user_cosine", {"top_k": k + 1}),
    }
    return _cell(
        "user-knn", f"user kNN, cosine, {k} neighbours", log, _without(sides, log, "lenskit", "gowalla")
    )


def _ease(log: _Log) -> Cell:
    reg = log.ease_reg
    sides = {
        "recsmith": _ours("ease", reg=reg),
        "rectools": Side("ease", {"regularization": reg}),
        "lenskit": Side("ease", {"regularization": reg}),
        "irspack": Side("ease", {"reg": reg}),
        "recbole": Side("ease", {"reg_weight": reg}),
        "cornac": Side("ease", {"lamb": reg}),
    }
    return _cell("ease", f"EASE, penalty {reg:g}", log, sides)


def _slim(log: _Log) -> Cell:
    """The penalties of recsmith and LensKit are for sums of squares, the others' for means over the users."""
    reg, l1 = log.slim
    mean = {"alpha": (reg + l1) / log.n_users, "l1_ratio": l1 / (reg + l1)}
    sides = {
        "recsmith": _ours("slim", reg=reg, l1=l1),
        "irspack": Side("slim", mean),
        "lenskit": Side("slim", {"l1_reg": l1, "l2_reg": reg}),
        "recbole": Side("slim", mean),
    }
    return _cell("slim", f"SLIM, penalties {reg:g} and {l1:g}", log, _without(sides, log, "recbole", "ml-1m"))


def _p3alpha(log: _Log) -> Cell:
    k = log.walk_neighbors
    sides = {
        "recsmith": _ours("rp3beta", neighbors=k, alpha=1.0, beta=0.0),
        "irspack": Side("p3alpha", {"top_k": k, "alpha": 1.0}),
    }
    return _cell("p3alpha", f"P3alpha, {k} neighbours", log, sides)


def _rp3beta(log: _Log) -> Cell:
    """The alpha of irspack does nothing on a log of ones: it is 1 here as well."""
    k, beta = log.walk_neighbors, log.beta
    sides = {
        "recsmith": _ours("rp3beta", neighbors=k, alpha=1.0, beta=beta),
        "irspack": Side("rp3beta", {"top_k": k, "alpha": 1.0, "beta": beta}),
    }
    return _cell("rp3beta", f"RP3beta, {k} neighbours, beta {beta:g}", log, sides)


def _bpr(log: _Log) -> Cell:
    """An epoch is one draw for each event; each side has the learning rate and the penalty that suit it."""
    d, epochs = 64, 100
    implicit = {"factors": d, "iterations": epochs, "learning_rate": 0.01, "regularization": 0.01}
    sides = {
        "recsmith": _ours("bpr", embedding_size=d, epochs=epochs),
        "implicit": Side("bpr", implicit),
        "rectools": Side("bpr", implicit, "wraps implicit"),
        "cornac": Side("bpr", {"k": d, "max_iter": epochs, "learning_rate": 0.05, "lambda_reg": 0.01}),
        "recbole": Side("bpr", {"embedding_size": d, "epochs": epochs}, "Adam over batches of 2,048"),
    }
    return _cell("bpr", f"BPR, d = {d}, {epochs} epochs", log, _without(sides, log, "recbole", "ml-1m"))


_PLAIN = {"similarity": "cosine", "weighting": "none", "shrinkage": 0, "amplification": 1}


def _ours(model: str, **parameters: Any) -> Side:
    return Side("lists", {"model": model, **parameters})


def _without(sides: Mapping[str, Side], log: _Log, name: str, where: str) -> dict[str, Side]:
    """The sides without the one that takes too long on the log ``where``."""
    return {n: side for n, side in sides.items() if n != name or log.key != where}


def _cell(name: str, what: str, log: _Log, sides: Mapping[str, Side]) -> Cell:
    return Cell(
        name=f"{name}-{log.key}",
        what=what,
        data=log.name,
        inputs=lambda: [log.load()],
        judge=quality.of_lists,
        sides=dict(sides),
    )
