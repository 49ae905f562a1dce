"""How good what came back is, by recsmith's own definitions, with intervals drawn over users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.cell import Arrays, Quality
from recsmith.evaluation.metrics import ranking
from recsmith.evaluation.significance import Sample, intervals


def of_lists(arrays: Arrays, output: Arrays) -> Quality:
    """NDCG and recall of the lists ``items`` against ``test_users``, ``test_items`` (sorted by user)."""
    items = np.asarray(output["items"])
    k = items.shape[1]
    offsets = np.searchsorted(arrays["test_users"], np.arange(len(items) + 1))
    hit, relevant = ranking.hits(items.astype(np.int32), offsets, arrays["test_items"])
    values = ranking.score(hit, relevant, [f"ndcg@{k}", f"recall@{k}"])
    return {name: Sample.of_users(column) for name, column in values.items()}


def of_ratings(arrays: Arrays, output: Arrays) -> Quality:
    """RMSE and MAE of ``predictions`` over all pairs; users are drawn."""
    users = arrays["test_users"]
    n_users = int(max(users.max(), arrays["train_users"].max())) + 1
    error = np.asarray(output["predictions"], dtype=np.float64) - arrays["test_ratings"]
    pairs = np.bincount(users, minlength=n_users).astype(np.float64)
    squares = np.bincount(users, weights=error**2, minlength=n_users)
    absolute = np.bincount(users, weights=np.abs(error), minlength=n_users)
    return {"rmse": Sample(squares, pairs, root=True), "mae": Sample(absolute, pairs)}


def of_metrics(arrays: Arrays, output: Arrays) -> Quality:
    """What a library's own metrics say: numbers to compare, not to rank."""
    return {name: float(value) for name, value in output.items()}


def combined(parts: Sequence[Quality]) -> Quality:
    """The inputs of one run as one: what a user adds in each is added up; plain numbers are averaged."""
    whole: dict[str, Sample | float] = {}
    for name, first in parts[0].items():
        values = [part[name] for part in parts]
        if isinstance(first, Sample):
            samples = [value for value in values if isinstance(value, Sample)]
            n = max(len(sample.total) for sample in samples)
            whole[name] = Sample(
                sum(_padded(sample.total, n) for sample in samples),
                sum(_padded(sample.count, n) for sample in samples),
                first.root,
            )
        else:
            whole[name] = float(np.mean([float(value) for value in values]))  # type: ignore[arg-type]
    return whole


def figures(qualities: Mapping[str, Quality], ours: str) -> dict[str, dict[str, Any]]:
    """Per side and figure: value, 95 % interval, and the interval of what recsmith exceeds the side by."""
    found: dict[str, dict[str, Any]] = {name: {} for name in qualities}
    for figure in dict.fromkeys(figure for quality in qualities.values() for figure in quality):
        values = {name: quality[figure] for name, quality in qualities.items() if figure in quality}
        samples = {name: value for name, value in values.items() if isinstance(value, Sample)}
        alone = intervals(samples)
        apart = intervals(samples, against=ours) if ours in samples else {}
        for name, value in values.items():
            if not isinstance(value, Sample):
                found[name][figure] = {"value": value}
                continue
            entry: dict[str, Any] = {"value": value.estimate(), "interval": list(alone[name])}
            if name in apart and name != ours:
                low, high = apart[name]
                entry["ours_minus_theirs"] = [-high, -low]
            found[name][figure] = entry
    return found


def _padded(values: Any, n: int) -> Any:
    return np.pad(values, (0, n - len(values)))
