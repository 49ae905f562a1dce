"""Items without an event: whether lists hold them, and whether those who took them later find them.

A share of the items has no event in train, but stands in the catalogue. A model that knows items by their features
(``Extensible``) is fitted without them and then told of them; every other model is fitted on the catalogue as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from recsmith.data.dataset import Dataset
from recsmith.data.split import Split
from recsmith.data.splitters import unknown_items
from recsmith.errors import DataError, ParameterError
from recsmith.evaluation.answers import rank
from recsmith.evaluation.fairness import plain_row
from recsmith.evaluation.groups import counted
from recsmith.evaluation.significance import Interval, intervals
from recsmith.evaluation.watch import Watch, unwatched
from recsmith.protocols import Evidence, Extensible, Monitor, Recommender
from recsmith.recommend import Pipeline
from recsmith.tables import Table
from recsmith.types import Cost, FloatArray, IntArray, Queries, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class NewItemsRow:
    """What one model does with items that nobody has touched."""

    model: str
    extended: bool  #: it was told of them by their features after the fit
    reachable: (
        float  #: share of the new items that it can put into a list at all, for somebody: a score, not NaN
    )
    places: float  #: share of all places that hold new items
    coverage: float  #: share of the new items that stand in at least one list
    figures: Mapping[str, float]  #: metric -> mean over users whose truth are new items
    intervals: Mapping[str, Interval]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewItems:
    """Several models on the same new items."""

    split: str
    items: int  #: new items that somebody took
    of_catalogue: float  #: their share of all items: what ``places`` would be by chance
    users: int
    rows: tuple[NewItemsRow, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: NaN is None."""
        rows = [
            {
                **plain_row(row),
                "figures": dict(row.figures),
                "intervals": {name: list(bounds) for name, bounds in row.intervals.items()},
            }
            for row in self.rows
        ]
        return {**plain_row(self), "rows": rows, "notes": list(self.notes)}

    def __rich__(self) -> Table:
        metrics = list(self.rows[0].figures) if self.rows else []
        columns = ("model", "by features", "reachable", "of places", "coverage", *metrics)
        rows = [
            (
                row.model,
                row.extended,
                f"{row.reachable:.1%}",
                f"{row.places:.2%}",
                f"{row.coverage:.1%}",
                *(
                    f"{row.figures[m]:.3f} ({row.intervals[m].low:.3f}-{row.intervals[m].high:.3f})"
                    for m in metrics
                ),
            )
            for row in self.rows
        ]
        caption = f"By chance a list would hold {self.of_catalogue:.1%} of them."
        title = (
            f"New items: {self.items:,} without an event in train, {counted(self.users, 'user')} who took one"
        )
        return Table(title, columns, rows, numbers=columns[2:], whole=columns[:1], caption=caption)


def new_items(
    pipelines: Mapping[str, Pipeline],
    data: Dataset,
    *,
    share: float = 0.1,
    metrics: Sequence[str] = ("ndcg@10", "recall@10"),
    resamples: int = 1000,
    seed: int = 0,
    watch: Watch = unwatched,
) -> NewItems:
    """Judge models on items that have no event in train.

    Parameters
    ----------
    pipelines
        Name -> pipeline, which is fitted here.
    data
        The whole log. Without an item table no model can know the new items, and the figures say so.
    share
        Of the items to hide, in (0, 1).
    metrics
        Ranking metrics with their cut-offs.
    resamples, seed, watch
        As in ``cold_start``.

    Raises
    ------
    ParameterError
        No pipeline, an unknown metric, or a share out of range.
    DataError
        Nothing is left to learn from.
    """
    if not pipelines:
        raise ParameterError.of("new_items", "pipelines", "at least one", dict(pipelines))
    split = unknown_items(data, share=share, seed=seed)
    new = np.unique(split.truth.items)
    rows, users = [], 0
    for model, pipeline in pipelines.items():
        with watch(f"{model}: new items") as monitor:
            fitted, asked = _fitted(pipeline, split, seed, monitor)
            ranked = rank(fitted, asked, metrics)
        users = len(ranked.rows)
        listed = ranked.top.items[ranked.top.items >= 0]
        held = np.isin(listed, new)
        rows.append(
            NewItemsRow(
                model=model,
                extended=isinstance(fitted.model, _Extended),
                reachable=_reachable(fitted, ranked.queries, new),
                places=float(held.mean()) if len(held) else 0.0,
                coverage=len(np.unique(listed[held])) / len(new),
                figures={name: ranked.sample(name).estimate() for name in metrics},
                intervals=intervals(
                    {name: ranked.sample(name) for name in metrics}, resamples=resamples, seed=seed
                ),
            )
        )
    return NewItems(
        split=split.name,
        items=len(new),
        of_catalogue=len(new) / split.train.n_items,
        users=users,
        rows=tuple(rows),
        notes=split.notes,
    )


@dataclass(slots=True, eq=False)
class _Extended:
    """A model that was told of items after its fit, asked by the indices of the whole catalogue."""

    model: Recommender
    position: IntArray  #: (n_items,) the model's index of each item of the catalogue
    config: Any  #: of the model

    needs: ClassVar[Evidence] = Evidence.NOTHING

    def fit(self, data: Dataset, *, rng: Any = None, monitor: Monitor | None = None) -> Self:
        """Not for this one: it is made of a fitted model."""
        raise ParameterError("An extended model is not fitted anew.")

    def cost(self, shape: Shape) -> Cost:
        """Of the model."""
        return self.model.cost(shape)

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(n, n_items) or (n, len(items)) float32."""
        wanted = self.position if items is None else self.position[items]
        scores = self.model.score(queries.replace(items=self.position[queries.items]))
        return np.ascontiguousarray(scores[:, wanted])


def _fitted(pipeline: Pipeline, split: Split, seed: int, monitor: Monitor | None) -> tuple[Pipeline, Split]:
    """Fitted on train; a model that knows items by their features is told of the new ones afterwards.

    The questions of the split that comes with it hold the users' features, where the model looks at these.
    """
    train = split.train
    if isinstance(pipeline.model, Extensible) and train.item_features is not None:
        old = np.flatnonzero(train.item_counts())
        gone = np.setdiff1d(np.arange(train.n_items), old)
        fitted = pipeline.fit(train.compact(), rng=seed, monitor=monitor)
        try:
            told = fitted.model.extend_items(train.item_features[gone])  # type: ignore[attr-defined]
        except DataError:  # it looks at no features
            return pipeline.fit(train, rng=seed, monitor=monitor), split
        position = np.empty(train.n_items, dtype=np.int32)
        position[np.concatenate([old, gone])] = np.arange(train.n_items)
        if fitted.fallback is not None:
            fitted.fallback.fit(pipeline.weighting.log(train), rng=seed)
        informed = replace(split, queries=fitted.informed(split.queries, split.features()))
        return replace(fitted, model=_Extended(told, position, told.config), n_items=train.n_items), informed
    return pipeline.fit(train, rng=seed, monitor=monitor), split


def _reachable(fitted: Pipeline, queries: Queries, new: IntArray) -> float:
    """Share of the new items that have a score for at least one of the requests, in blocks."""
    found = np.zeros(len(new), dtype=np.bool_)
    for start in range(0, len(queries), 256):
        part = fitted.weighting.queries(queries.take(slice(start, start + 256)))
        found |= (~np.isnan(fitted.model.score(part, new))).any(axis=0)
        if found.all():
            break
    return float(found.mean())
