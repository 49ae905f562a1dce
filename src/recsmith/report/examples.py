"""The section of examples: what a few users are shown by each model, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from recsmith.bundle import Bundle
from recsmith.data.split import Split
from recsmith.protocols import Explainer, Recommender
from recsmith.report.html import Html, Section, heading, paragraph, table
from recsmith.report.inputs import Inputs
from recsmith.tables import Table
from recsmith.types import IntArray

_USERS = {
    "A quiet user": 0.1,
    "A usual user": 0.5,
    "An active user": 0.9,
}  # quantiles of the length of the history
_PLACES = 5
_REASONS = 3
_RECENT = 5
MODELS = 5  #: whose lists are shown
_HIT = "✓"


def examples(inputs: Inputs, bundles: Mapping[str, Bundle]) -> Section:
    """Lists of a quiet, a usual and an active user, those of the best model with reasons.

    Parameters
    ----------
    inputs
        What is shown.
    bundles
        Label -> bundle of each run, the best first; those that predict ratings only are passed over.
    """
    lists = {label: one for label, one in bundles.items() if isinstance(one.pipeline.model, Recommender)}
    if not lists:
        return Section("examples", "Examples", [paragraph("These models predict ratings and make no lists.")])
    parts = [
        paragraph(
            f"The first {_PLACES} places of three users by the length of their history. {_HIT} marks what the user "
            "really took afterwards. Reasons are the events of the history that add most to the score."
        )
    ]
    for kind, user in _chosen(next(iter(lists.values())), inputs.split).items():
        parts += _of_user(kind, user, lists, inputs.split)
    return Section("examples", "Examples", parts)


def _chosen(bundle: Bundle, split: Split | None) -> dict[str, Any]:
    """Kind -> raw id: judged users of the train log where the split is known."""
    lengths = np.diff(bundle.data.offsets)
    known: IntArray = np.flatnonzero(lengths)
    if split is not None:
        judged = split.queries.users[split.queries.users >= 0]
        known = judged if len(judged) else known
    order = known[np.argsort(lengths[known], kind="stable")]
    places = {kind: int(quantile * (len(order) - 1)) for kind, quantile in _USERS.items()}
    found = {kind: int(order[place]) for kind, place in places.items()}
    distinct = {index: kind for kind, index in reversed(found.items())}
    return {kind: bundle.data.users.raw(np.array([index]))[0] for index, kind in reversed(distinct.items())}


def _of_user(kind: str, user: Any, bundles: Mapping[str, Bundle], split: Split | None) -> list[Html]:
    best_label, best = next(iter(bundles.items()))
    history = best.history(user)
    recent = best.item_labels(history["item_id"].tail(_RECENT)).to_list()[::-1]
    wanted = _truth(user, split)
    parts = [
        heading(f"{kind}: {user}"),
        paragraph(f"{history.height:,} events known, the latest: {'; '.join(recent)}."),
        table(_with_reasons(best_label, best, user, wanted)),
    ]
    others = dict(list(bundles.items())[1:MODELS])
    if others:
        columns = {label: _titles(one, user, wanted) for label, one in others.items()}
        rows = [
            (place + 1, *(titles[place] if place < len(titles) else "" for titles in columns.values()))
            for place in range(_PLACES)
        ]
        title = "Shown by the others"
        parts.append(table(Table(title, ("place", *columns), rows)))
    return parts


def _truth(user: Any, split: Split | None) -> pl.Series:
    """Raw ids of what the user took afterwards."""
    if split is None:
        return pl.Series("item_id", [], pl.String)
    row = split.user_ids.index_of(user)
    if row is None:
        return split.train.items.ids.head(0)
    items = split.truth.items[split.truth.offsets[row] : split.truth.offsets[row + 1]]
    return split.train.items.raw(items[items >= 0])


def _titles(bundle: Bundle, user: Any, wanted: pl.Series) -> list[str]:
    """Titles of the first places, what was taken marked."""
    ids = bundle.recommend([user], _PLACES)["item_id"]
    taken = set(wanted.to_list())
    return [
        f"{title}\N{NO-BREAK SPACE}{_HIT}" if one in taken else str(title)
        for one, title in zip(ids, bundle.item_labels(ids), strict=True)
    ]


def _with_reasons(label: str, bundle: Bundle, user: Any, wanted: pl.Series) -> Table:
    frame = bundle.recommend([user], _PLACES)
    titles = _titles(bundle, user, wanted)
    rows = []
    for place, (one, score, source) in enumerate(frame.select("item_id", "score", "source").iter_rows()):
        rows.append((place + 1, titles[place], f"{score:.4g}", _reasons(bundle, user, one, source)))
    columns = ("place", "item", "score", "because of")
    return Table(f"Shown by {label}", columns, rows, numbers=("score",))


def _reasons(bundle: Bundle, user: Any, item: Any, source: str) -> str:
    if source != bundle.model_name:
        return f"{source}: the model knows too little of this user"
    if not isinstance(bundle.pipeline.model, Explainer):
        return f"{bundle.model_name} cannot take its scores apart"
    top = bundle.explain(user, item).head(_REASONS)
    return "; ".join(
        f"{title} {value:+.3f}"
        for title, value in zip(bundle.item_labels(top["item_id"]), top["contribution"], strict=True)
    )
