"""How far lists lean to what is popular, and away from a user's own mix of categories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsmith.data.split import Split
from recsmith.evaluation.answers import Ranked
from recsmith.evaluation.groups import counted
from recsmith.evaluation.item_fairness import check_cut, item_groups
from recsmith.evaluation.metrics import beyond_accuracy as beyond
from recsmith.evaluation.metrics import fairness
from recsmith.evaluation.report import written
from recsmith.evaluation.significance import Interval, Sample, intervals
from recsmith.tables import Table
from recsmith.types import FloatArray, IntArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PopularityBias:
    """How far lists lean to what is popular, and away from a user's own mix of categories."""

    model: str
    split: str
    k: int
    users: int
    figures: Mapping[
        str, float
    ]  #: arp, aplt, aclt, tail_coverage, gini, popularity_lift, miscalibration_kl ...
    intervals: Mapping[str, Interval]  #: of those that are means over users
    values: Mapping[str, FloatArray]  #: figure -> (n,) float64 of each user, in the order of ``Ranked.rows``

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: NaN is None."""
        figures = {name: None if np.isnan(value) else value for name, value in self.figures.items()}
        return {
            **{name: getattr(self, name) for name in ("model", "split", "k", "users")},
            "figures": figures,
            "intervals": {name: list(bounds) for name, bounds in self.intervals.items()},
        }

    def __rich__(self) -> Table:
        columns = ("figure", "value", "95 %")
        rows = [
            (f"{name}@{self.k}", value, written(self.intervals[name]) if name in self.intervals else "")
            for name, value in self.figures.items()
        ]
        title = f"{self.model} on {self.split}: popularity and calibration, {counted(self.users, 'user')}"
        return Table(title, columns, rows, numbers=columns[1:], whole=columns[:1])


def popularity_bias(
    ranked: Ranked,
    split: Split,
    *,
    k: int = 10,
    model: str = "model",
    categories: str | None = "genres",
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> PopularityBias:
    """Popularity of the lists, also against that of the histories, and calibration to the user's categories.

    Parameters
    ----------
    ranked, split, k, model, level, resamples, seed
        As in ``item_fairness``.
    categories
        Column of the item table that calibration is about; None, or a column that is not there: no calibration.

    Raises
    ------
    ParameterError
        ``k`` beyond the lists.
    """
    check_cut(ranked, k)
    train, queries, items = split.train, ranked.queries, ranked.top.items[:, :k]
    counts = train.item_counts()
    tail = fairness.popularity_groups(counts) == 1
    arp = beyond.popularity(items, counts.astype(np.float64))
    values = {
        "arp": arp,
        "aplt": fairness.tail_share(items, tail),
        "aclt": fairness.tail_count(items, tail),
        "popularity_lift": _lift(arp, queries.offsets, counts[queries.items]),
    }
    features = train.item_features
    if categories is not None and features is not None and categories in features.columns:
        _, member = item_groups(train, categories)
        values |= {
            f"miscalibration_{kind}": fairness.miscalibration(queries, items, member, divergence=kind)
            for kind in ("kl", "js")
        }
    samples = {name: Sample.of_users(column) for name, column in values.items()}
    listed = np.unique(items[items >= 0])
    return PopularityBias(
        model=model,
        split=split.name,
        k=k,
        users=len(items),
        figures={
            **{name: sample.estimate() for name, sample in samples.items()},
            "tail_coverage": float(tail[listed].sum() / max(tail.sum(), 1)),
            "gini": beyond.gini(items, train.n_items),
        },
        intervals=intervals(samples, level=level, resamples=resamples, seed=seed),
        values=values,
    )


def _lift(arp: FloatArray, offsets: IntArray, counts: IntArray) -> FloatArray:
    """(n,) by how much the mean popularity of the list exceeds that of the history, over the latter.

    H. Abdollahpouri et al., "The Unfairness of Popularity Bias in Recommendation", RMSE workshop at RecSys 2019, has
    the lift of a group's means; here it is taken user by user. NaN without a history.
    """
    rows = np.repeat(np.arange(len(arp)), np.diff(offsets))
    total = np.bincount(rows, weights=counts, minlength=len(arp))
    with np.errstate(divide="ignore", invalid="ignore"):
        profile = total / np.diff(offsets)
        return np.where(total > 0, arp / profile - 1.0, np.nan)
