"""Why an item is in a list: the items of the history that brought it, in numbers and in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from recsmith.protocols import Explainer, ItemSimilarity
from recsmith.serving.deployment import Deployment
from recsmith.serving.events import EXPLORE
from recsmith.serving.histories import History
from recsmith.types import FloatArray, IntArray

_NAMED = 3  # items of the history that are given for each item


def reasons(deployment: Deployment, history: History, items: Sequence[int]) -> list[list[dict[str, Any]]]:
    """For each of ``items`` (indices) the items of the history that brought it, the strongest first.

    A model that is a sum over the history gives exact contributions, in units of its score; of another one that knows
    which items are alike, the nearest items are given, with their similarity. An item that the model does not know has
    no reason.
    """
    known = np.array([item for item in items if item < deployment.bundle.data.n_items], dtype=np.int32)
    if not len(known) or not len(history.items):
        return [[] for _ in items]
    kind, who, strength = _evidence(deployment, history, known)
    strength = np.nan_to_num(strength, nan=0.0)
    first = np.argsort(-strength, axis=1, kind="stable")[:, :_NAMED]
    amounts = np.take_along_axis(strength, first, axis=1)
    named = _named(deployment, np.unique(who[first[amounts > 0]]))
    found = {
        item: [
            {**named[source], kind: amount} for source, amount in zip(sources, row, strict=True) if amount > 0
        ]
        for item, sources, row in zip(known.tolist(), who[first].tolist(), amounts.tolist(), strict=True)
    }
    return [found.get(item, []) for item in items]


def _evidence(deployment: Deployment, history: History, items: IntArray) -> tuple[str, IntArray, FloatArray]:
    """What the numbers are, (h,) items of the history, and (len(items), h) what each does for an item."""
    pipeline = deployment.bundle.pipeline
    asked = pipeline.weighting.queries(deployment.queries([history]))
    if isinstance(pipeline.model, Explainer):
        parts = pipeline.model.contributions(asked, np.zeros(len(items), dtype=np.int64), items)
        return "contribution", asked.items, parts.reshape(len(items), -1)
    if isinstance(pipeline.model, ItemSimilarity):
        return "similarity", asked.items, pipeline.model.similar(items)[:, asked.items]
    return "none", asked.items, np.zeros((len(items), len(asked.items)), dtype=np.float32)


def _named(deployment: Deployment, items: IntArray) -> dict[int, dict[str, Any]]:
    """Id and title of items, by index."""
    known = deployment.catalogue
    return {
        item: {"item_id": raw, "title": str(known.metadata(item).get("title") or raw)}
        for item, raw in zip(items.tolist(), known.raw(items), strict=True)
    }


def sentence(found: Sequence[dict[str, Any]], source: str) -> str:
    """Reasons of an item in words; ``source`` is the name of what gave it."""
    if source.startswith("rule:"):
        return f"Placed here by the rule {source.removeprefix('rule:')!r}."
    if source.startswith("fallback:"):
        return (
            f"The history has no evidence for more; {source.removeprefix('fallback:')!r} gives this to all."
        )
    if source.startswith(EXPLORE):
        return f"Tried out here by the policy {source.removeprefix(EXPLORE)!r}, to learn who likes it."
    if not found:
        return f"The model {source!r} gave it, and cannot say for which item of the history."
    names = [str(one["title"]) for one in found]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    how = "because of" if "contribution" in found[0] else "like"
    return f"{how.capitalize()} {listed}."
