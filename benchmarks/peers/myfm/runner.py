"""Run myFM: Bayesian factorization machines with relation blocks, by Gibbs sampling in C++."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from myfm import MyFMOrderedProbit, MyFMRegressor, RelationBlock
from scipy import sparse

sys.path.append(str(Path(__file__).resolve().parents[1]))

from worker import Arrays, Result, Settings, complete_settings, measured, serve

DEFAULTS: Settings = {
    "rank": 10,
    "n_iter": 300,
    "n_kept_samples": 295,
    "likelihood": "gaussian",  # or "probit"
    "random_seed": 0,
}
PARTS = ("ids", "implicit", "flipped", "user", "item", "day")  # groups of features, each with a variance


def ids(arrays: Arrays, given: Settings) -> Result:
    """Users and items by their ids alone."""
    return _run(arrays, given, ("ids",))


def svdpp_flipped(arrays: Arrays, given: Settings) -> Result:
    """Ids, the items a user rated, and the users who rated an item, over the root of their number."""
    return _run(arrays, given, ("ids", "implicit", "flipped"))


def full(arrays: Arrays, given: Settings) -> Result:
    """All of that, with the tables ``user_KIND`` and ``item_KIND`` and, where there is one, the rating's day."""
    days = ("day",) if "train_days" in arrays else ()
    return _run(arrays, given, ("ids", "implicit", "flipped", "user", "item", *days))


def _run(arrays: Arrays, given: Settings, parts: tuple[str, ...]) -> Result:
    """Time fit and predict; the designs are made before."""
    settings = complete_settings(given, DEFAULTS)
    ordered = settings["likelihood"] == "probit"
    (users, user_groups), (items, item_groups) = _designs(arrays, parts)
    day_groups = [int(arrays["train_days"].max()) + 1] if "day" in parts else []
    grouping = [g for g, n in enumerate([*day_groups, *user_groups, *item_groups]) for _ in range(n)]
    blocks = {
        part: [
            RelationBlock(*_rows(arrays[f"{part}_users"], users)),
            RelationBlock(*_rows(arrays[f"{part}_items"], items)),
        ]
        for part in ("train", "test")
    }
    tables = {part: _days(arrays, part) if day_groups else None for part in ("train", "test")}
    target = arrays["train_ratings"].astype(np.float64)
    model = (MyFMOrderedProbit if ordered else MyFMRegressor)(
        settings["rank"], random_seed=settings["random_seed"]
    )
    with measured() as fit:
        model.fit(
            tables["train"],
            (target - 1).astype(int) if ordered else target,
            X_rel=blocks["train"],
            grouping=grouping,
            n_iter=settings["n_iter"],
            n_kept_samples=settings["n_kept_samples"],
        )
    with measured() as predict:
        if ordered:
            shares = model.predict_proba(tables["test"], blocks["test"])
            predictions = shares @ (1.0 + np.arange(shares.shape[1]))
        else:
            predictions = model.predict(tables["test"], blocks["test"])
    return Result(
        {"fit": fit, "predict": predict}, {"predictions": np.asarray(predictions, dtype=np.float64)}, settings
    )


def _designs(arrays: Arrays, parts: tuple[str, ...]) -> list[tuple[Any, list[int]]]:
    """Features of every user and of every item, and the sizes of their groups."""
    users, items = arrays["train_users"], arrays["train_items"]
    n_users = int(max(users.max(), arrays["test_users"].max())) + 1
    n_items = int(max(items.max(), arrays["test_items"].max())) + 1
    pairs = sparse.csr_array((np.ones(len(users)), (users, items)), shape=(n_users, n_items))
    found = []
    for kind, n, ratings, history in (
        ("user", n_users, users, "implicit"),
        ("item", n_items, items, "flipped"),
    ):
        seen = np.zeros(n)  # as the examples do: an id that is not in train has no feature
        seen[ratings] = 1
        groups = [sparse.diags_array(seen)]
        if history in parts:
            own = pairs if kind == "user" else pairs.T
            counts = np.asarray(own.sum(axis=1)).ravel()
            groups.append(sparse.diags_array(np.maximum(counts, 1) ** -0.5) @ own)
        if kind in parts:
            groups += [_table(arrays[name], n) for name in sorted(arrays) if name.startswith(f"{kind}_")]
        found.append((sparse.csr_matrix(sparse.hstack(groups)), [group.shape[1] for group in groups]))
    return found


def _table(entries: Any, n: int) -> Any:
    """A group of features from (2, nnz) rows and columns, 1 each."""
    return sparse.csr_array(
        (np.ones(entries.shape[1]), (entries[0], entries[1])), shape=(n, int(entries[1].max()) + 1)
    )


def _days(arrays: Arrays, part: str) -> Any:
    """One-hot days; a day that is not in train has no feature."""
    days, width = arrays[f"{part}_days"], int(arrays["train_days"].max()) + 1
    rows = np.flatnonzero((days >= 0) & (days < width))
    return sparse.csr_matrix((np.ones(len(rows)), (rows, days[rows])), shape=(len(days), width))


def _rows(index: Any, design: Any) -> tuple[Any, Any]:
    """A relation block's map and its rows: only those that occur."""
    distinct, places = np.unique(index, return_inverse=True)
    return places, sparse.csr_matrix(design[distinct])


if __name__ == "__main__":
    serve("myfm", {"ids": ids, "svdpp_flipped": svdpp_flipped, "full": full})
