"""The audit of several models on one log: cold start, fairness, robustness, and what the numbers do not say."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from recsmith.data.dataset import Dataset
from recsmith.data.schema import Log
from recsmith.data.split import Split
from recsmith.data.splitters import random_holdout, time_folds, user_time
from recsmith.errors import ParameterError
from recsmith.evaluation.answers import Ranked, rank
from recsmith.evaluation.cold_items import NewItems, new_items
from recsmith.evaluation.cold_start import DEFAULT_GIVEN, ColdStart, cold_start
from recsmith.evaluation.comparison import Comparison, compare
from recsmith.evaluation.fairness import UserFairness, user_fairness
from recsmith.evaluation.groups import check_ids, user_labels
from recsmith.evaluation.item_fairness import POPULARITY, ItemFairness, item_fairness, item_groups
from recsmith.evaluation.limits import limits
from recsmith.evaluation.metrics import ranking
from recsmith.evaluation.popularity_bias import PopularityBias, popularity_bias
from recsmith.evaluation.protocol import judge
from recsmith.evaluation.report import Report, better_first
from recsmith.evaluation.robustness import LearningCurve, Stability, learning_curve, stability
from recsmith.evaluation.watch import Watch, unwatched
from recsmith.recommend import Pipeline

METRIC = "ndcg@10"
METRICS = (METRIC, "recall@10", "hit_rate@10")
_OF_LISTS = (
    "aplt",
    "popularity_lift",
    "miscalibration_js",
)  # figures of lists that groups of users are compared by
_STABLE = 3  # models that are fitted again over seeds and splits
_CUT = 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Audit:
    """All results; of fairness one for each model and attribute."""

    log: Mapping[str, Any]  #: name, fingerprint, users, items and events of what was audited
    cold_start: ColdStart
    new_items: NewItems
    reports: tuple[Report, ...]  #: best first
    comparison: Comparison | None  #: of the reports; None of one alone
    users: tuple[UserFairness, ...]
    items: tuple[ItemFairness, ...]
    bias: tuple[PopularityBias, ...]
    stability: Stability
    learning: LearningCurve  #: of the best model
    leakage: tuple[str, ...]
    limits: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)  #: wall clock of each part

    @property
    def best(self) -> str:
        """The model with the best figure."""
        return self.reports[0].model

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, in the parts that a report reads."""
        return {
            "version": 1,
            "log": dict(self.log),
            "cold_start": {**self.cold_start.as_dict(), "new_items": self.new_items.as_dict()},
            "fairness": {
                "users": [one.as_dict() for one in self.users],
                "items": [one.as_dict() for one in self.items],
                "popularity_bias": [one.as_dict() for one in self.bias],
            },
            "robustness": {
                "stability": self.stability.as_dict(),
                "learning_curve": self.learning.as_dict(),
                "leakage": list(self.leakage),
            },
            "limits": list(self.limits),
            "reports": [report.as_dict() for report in self.reports],
            "comparison": None if self.comparison is None else self.comparison.as_dict(),
            "notes": list(self.notes),
            "seconds": dict(self.seconds),
        }


def audit(
    models: Mapping[str, Callable[[], Pipeline]],
    data: Dataset,
    *,
    split: Split | None = None,
    by: Sequence[str] | None = None,
    item_by: Sequence[str] | None = None,
    given: Sequence[int] = DEFAULT_GIVEN,
    seed: int = 0,
    watch: Watch = unwatched,
) -> Audit:
    """Everything about how several models treat users and items, on one log.

    Cold start hides a fifth of the users and, apart from that, a tenth of the items. Fairness is that of the lists on
    ``split``. The three best models there are fitted again over three seeds and three splits, and the best one on
    shares of its train part.

    Parameters
    ----------
    models
        Name -> what makes a new, unfitted pipeline that orders items.
    data
        The log, best with tables of users and items.
    split
        Of that log; None: each user's last fifth.
    by
        Columns of the user table; None: all that make 2 to 50 groups.
    item_by
        ``"popularity"`` and columns of the item table; None: popularity, and ``genres`` where there is such a column.
    given
        Numbers of events that unknown users tell.
    seed
        Of everything.
    watch
        Called with a description of each fit.

    Raises
    ------
    ParameterError
        No model, an unknown attribute, or one that makes fewer than two groups.
    DataError
        A log that is too small for one of the parts.
    """
    if not models:
        raise ParameterError.of("audit", "models", "at least one", dict(models))
    clock = _Clock()
    split = user_time(data) if split is None else split
    attributes, notes = _attributes(data, split, by)
    columns = _item_columns(data) if item_by is None else list(item_by)
    for name in columns:
        item_groups(split.train, name)  # a wrong name is told before the work
    fresh = {name: make() for name, make in models.items()}
    told = cold_start(fresh, data, given=given, seed=seed, metrics=METRICS, watch=watch)
    clock.lap("cold_start")
    untouched = new_items(fresh, data, seed=seed, watch=watch)
    clock.lap("new_items")
    judged = [_Judged.of(name, make, split, seed, watch) for name, make in models.items()]
    clock.lap("judge")
    ordered = better_first([one.report for one in judged], METRIC)
    users = [one.of_users(data.user_features, name, seed) for name in attributes for one in judged]
    items = [one.of_items(split, name, seed) for name in columns for one in judged]
    clock.lap("fairness")
    leading = {report.model: models[report.model] for report in ordered[:_STABLE]}
    left_out = tuple(report.model for report in ordered[_STABLE:])
    steady = stability(leading, _splits(data, seed), (seed, seed + 1, seed + 2), metric=METRIC, watch=watch)
    best = ordered[0].model
    learned = learning_curve(models[best], split, metric=METRIC, name=best, seed=seed, watch=watch)
    clock.lap("robustness")
    return Audit(
        log=_about(data),
        cold_start=told,
        new_items=untouched,
        reports=tuple(ordered),
        comparison=compare(ordered, METRIC, seed=seed) if len(ordered) > 1 else None,
        users=tuple(users),
        items=tuple(items),
        bias=tuple(one.bias for one in judged),
        stability=replace(steady, left_out=left_out),
        learning=learned,
        leakage=ordered[0].leakage,
        limits=limits(ordered[0], split),
        notes=tuple(notes),
        seconds=clock.seconds,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """One model on the split of fairness."""

    report: Report
    ranked: Ranked
    bias: PopularityBias

    @classmethod
    def of(cls, name: str, make: Callable[[], Pipeline], split: Split, seed: int, watch: Watch) -> _Judged:
        with watch(f"{name}: lists") as monitor:
            fitted = make().fit(split.train, rng=seed, monitor=monitor)
            ranked = rank(fitted, split, ranking.expand(ranking.DEFAULT_METRICS, (_CUT,)))
            report = judge(fitted, split, name=name, ks=(_CUT,), rating=False, seed=seed, ranked=ranked)
        return cls(report, ranked, popularity_bias(ranked, split, k=_CUT, model=name, seed=seed))

    def of_users(self, table: pl.DataFrame | None, by: str, seed: int) -> UserFairness:
        """By a column of the table of users, figures of the lists included."""
        lists = {f"{name}@{_CUT}": self.bias.values[name] for name in _OF_LISTS if name in self.bias.values}
        empty = pl.DataFrame() if table is None else table
        return user_fairness(self.report, empty, by, extra=lists, metrics=METRICS, seed=seed)

    def of_items(self, split: Split, by: str, seed: int) -> ItemFairness:
        """By popularity, or a column of the table of items."""
        return item_fairness(self.ranked, split, by, k=_CUT, model=self.report.model, seed=seed)


@dataclass(slots=True)
class _Clock:
    """Seconds between laps."""

    seconds: dict[str, float] = field(default_factory=dict)
    last: float = field(default_factory=time.perf_counter)

    def lap(self, name: str) -> None:
        """The time since the last lap belongs to ``name``."""
        now = time.perf_counter()
        self.seconds[name], self.last = now - self.last, now


def _attributes(data: Dataset, split: Split, by: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Columns to group users by, and what was left out."""
    table = data.user_features
    if table is None:
        if by:
            raise _no_table(data.name, by[0])
        return [], ["The log has no table of users: fairness by their attributes cannot be judged."]
    if by is not None:
        for name in by:
            user_labels(split.user_ids, table, name)
        return list(by), []
    chosen, notes = [], []
    for name in (column for column in table.columns if column != "user_id"):
        try:
            user_labels(split.user_ids, table, name)
        except ParameterError as error:
            notes.append(f"Users were not grouped by {name!r}. {error}")
        else:
            chosen.append(name)
    return chosen, notes


def check_tables(log: Log, by: Sequence[str] | None = None, item_by: Sequence[str] | None = None) -> None:
    """See before the work that tables are of this log and hold the columns that groups are made of.

    Raises
    ------
    DataError
        A table of users or items without a single id of the log.
    ParameterError
        A column that is not there.
    """
    for table, kind in ((log.users, "user"), (log.items, "item")):
        if table is not None:
            check_ids(table[f"{kind}_id"], log.interactions[f"{kind}_id"], kind)
    if by and log.users is None:
        raise _no_table(log.name, by[0])
    for table, kind, names, own in ((log.users, "user", by, ()), (log.items, "item", item_by, (POPULARITY,))):
        columns = [] if table is None else [name for name in table.columns if name != f"{kind}_id"]
        for name in names or ():
            if name not in (*own, *columns):
                raise ParameterError.unknown(f"{kind} attribute", name, [*own, *columns])


def _no_table(log: str, name: str) -> ParameterError:
    return ParameterError(f"{log} has no table of users, so there is no attribute {name!r}.")


def _about(data: Dataset) -> dict[str, Any]:
    """Which log it is."""
    return {
        "name": data.name,
        "fingerprint": data.fingerprint(),
        "users": data.n_users,
        "items": data.n_items,
        "events": len(data),
    }


def _item_columns(data: Dataset) -> list[str]:
    table = data.item_features
    listed = table is not None and isinstance(table.schema.get("genres"), pl.List)
    return [POPULARITY, "genres"] if listed else [POPULARITY]


def _splits(data: Dataset, seed: int) -> list[Split]:
    """Three windows of time; of a log without times, three random parts."""
    if data.time is not None:
        return list(time_folds(data, k=3))
    return [random_holdout(data, seed=seed + part) for part in range(3)]
