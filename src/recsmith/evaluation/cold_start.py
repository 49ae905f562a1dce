"""How good lists are for users of whom little is known: the same users and truth, told 0, 1, 2, 5, 10 events.

A share of the users is out of train. Each model is fitted once and asked about them several times, told ever more of
the first events of each; what is to be found are the events after the last of these, at every point. No list at any
point may hold one of the first events, told or not. So users, truth and candidates stay the same along a curve and only
the evidence grows: a model that looks at no evidence has a flat curve, and one that has none yet shows its fallback's
figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from recsmith.data.dataset import Dataset
from recsmith.data.split import Split
from recsmith.data.splitters import unknown_users
from recsmith.errors import DataError, ParameterError
from recsmith.evaluation.answers import answerable
from recsmith.evaluation.fairness import plain_row
from recsmith.evaluation.groups import counted
from recsmith.evaluation.metrics import fairness, ranking
from recsmith.evaluation.significance import Interval, Sample, interval_of, percentiles, replicates
from recsmith.evaluation.watch import Watch, unwatched
from recsmith.recommend import SOURCES, Pipeline
from recsmith.tables import Table
from recsmith.types import BoolArray, FloatArray, IntArray, Queries, ragged_take

DEFAULT_GIVEN = (0, 1, 2, 5, 10)
DEFAULT_METRICS = ("ndcg@10", "recall@10", "hit_rate@10")
EVERYBODY = "all"
TRUTH_STRATA = ("head items", "middle items", "tail items")
USER_STRATA = ("quiet users", "usual users", "active users")
_TRUTH_SHARES = (0.2, 0.8)
_LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStartRow:
    """One point of a curve. Bounds are of 95 % bootstrap intervals over users."""

    model: str
    given: int  #: events that are told
    metric: str
    stratum: str  #: all, or one of ``TRUTH_STRATA`` and ``USER_STRATA``
    value: float
    low: float
    high: float
    gain: float  #: by how much ``value`` exceeds the fallback's figure on the same users; NaN without a fallback
    gain_low: float
    gain_high: float
    fallback_share: float  #: of the stratum's filled and empty places, those that the fallback filled
    users: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStart:
    """Curves of several models on the same questions."""

    split: str
    given: tuple[int, ...]
    metrics: tuple[str, ...]
    users: int
    rows: tuple[ColdStartRow, ...]
    notes: tuple[str, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """In the order given."""
        return tuple(dict.fromkeys(row.model for row in self.rows))

    def curve(self, model: str, metric: str, stratum: str = EVERYBODY) -> tuple[ColdStartRow, ...]:
        """The points of a curve, by rising number of events.

        Raises
        ------
        ParameterError
            An unknown model, metric or stratum.
        """
        for kind, name, known in (
            ("model", model, self.models),
            ("metric", metric, self.metrics),
            ("stratum", stratum, {row.stratum for row in self.rows}),
        ):
            if name not in known:
                raise ParameterError.unknown(f"{kind} of these curves", name, known)
        wanted = (model, metric, stratum)
        return tuple(row for row in self.rows if (row.model, row.metric, row.stratum) == wanted)

    def frame(self) -> pl.DataFrame:
        """A row for each point."""
        return pl.DataFrame([plain_row(row) for row in self.rows], infer_schema_length=None)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: NaN is None."""
        return {
            **{name: getattr(self, name) for name in ("split", "users")},
            "given": list(self.given),
            "metrics": list(self.metrics),
            "models": list(self.models),
            "rows": [plain_row(row) for row in self.rows],
            "notes": list(self.notes),
        }

    def table(self, metric: str, stratum: str = EVERYBODY) -> Table:
        """A line for each model, a column for each number of events: figure and interval."""
        columns = ["model", *(f"{given} told" for given in self.given)]
        curves = {model: self.curve(model, metric, stratum) for model in self.models}
        rows = [
            (model, *(f"{row.value:.3f} ({row.low:.3f}-{row.high:.3f})" for row in curve))
            for model, curve in curves.items()
        ]
        users = max((row.users for curve in curves.values() for row in curve), default=0)
        title = f"Cold start: {metric} of {counted(users, 'unknown user')}, {stratum}"
        return Table(
            title,
            columns,
            rows,
            numbers=columns[1:],
            whole=columns[:1],
            caption=self._caption(metric, stratum),
        )

    def __rich__(self) -> Table:
        return self.table(self.metrics[0])

    def _caption(self, metric: str, stratum: str) -> str:
        """Where the fallback answered, and from where on a model is better than it."""
        said = []
        for model in self.models:
            curve = self.curve(model, metric, stratum)
            shares = ", ".join(
                f"{row.fallback_share:.1%} at {row.given}" for row in curve if row.fallback_share > 0
            )
            text = f"places from the fallback: {shares or 'none'}"
            if not np.isnan(curve[0].gain):
                above = [str(row.given) for row in curve if row.gain_low > 0]
                text += f"; above the fallback, by the paired interval, at {', '.join(above) or 'no point'}"
            said.append(f"{model}: {text}.")
        return "\n".join(said)


def cold_start(
    pipelines: Mapping[str, Pipeline],
    data: Dataset,
    *,
    given: Sequence[int] = DEFAULT_GIVEN,
    share: float = 0.2,
    metrics: Sequence[str] = DEFAULT_METRICS,
    resamples: int = 1000,
    seed: int = 0,
    watch: Watch = unwatched,
) -> ColdStart:
    """Curves over the number of known events, for users that train does not hold.

    Users with no event beyond the first ``max(given)`` are not judged, nor those of whom one of these first events is
    of an item that train does not hold. The strata of the truth are items by popularity in train (the head holds the
    first 20 % of the events, the tail the last 20 %): the truth is cut down to them. Those of users are thirds by the
    number of events to be found.

    Parameters
    ----------
    pipelines
        Name -> pipeline, which is fitted here on the train part.
    data
        The whole log.
    given
        Numbers of events to tell, >= 0.
    share
        Of the users to hide, in (0, 1).
    metrics
        Ranking metrics with their cut-offs.
    resamples, seed
        Of the intervals; ``seed`` is that of the hidden users and of the fits, too.
    watch
        Called with a description of each fit; gives a context in which it reports to a monitor, or to None.

    Returns
    -------
    ColdStart
        A row for each model, number, metric and stratum; a stratum without users has none.

    Raises
    ------
    ParameterError
        No pipeline, no or negative numbers of events, an unknown metric, or a share out of range.
    DataError
        Nobody is left to judge.
    """
    if not pipelines:
        raise ParameterError.of("cold_start", "pipelines", "at least one", dict(pipelines))
    points = sorted(set(given))
    if not points or points[0] < 0 or not all(isinstance(g, int | np.integer) for g in points):
        raise ParameterError.of("cold_start", "given", "whole numbers >= 0", list(given))
    names = ranking.expand(metrics, ())
    if not names or any("@" not in name for name in metrics):
        raise ParameterError.of("cold_start", "metrics", "names with a cut-off, like ndcg@10", list(metrics))
    split = unknown_users(data, share=share, given=max(points), seed=seed)
    asked = _Questions.of(split, points, names)
    answers, fallbacks = {}, {}
    for model, pipeline in pipelines.items():
        with watch(f"{model}: cold start") as monitor:
            fitted = pipeline.fit(split.train, rng=seed, monitor=monitor)
            answers[model] = {g: asked.ask(fitted, g) for g in points}
        if fitted.fallback is not None:
            alone = replace(fitted, model=fitted.fallback, fallback=None)
            fallbacks[model] = asked.ask(alone, 0)
    draws = {"resamples": resamples, "seed": seed}
    rows = [
        row
        for stratum, (events, users) in _strata(split.train, asked).items()
        for row in _rows(asked, answers, fallbacks, stratum, events, users, draws)
    ]
    return ColdStart(
        split=split.name,
        given=tuple(points),
        metrics=names,
        users=len(asked.queries),
        rows=tuple(rows),
        notes=(*split.notes, *asked.notes),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Answers:
    """Lists of all users at one point."""

    items: IntArray  #: (n, width) int32
    fallback: FloatArray  #: (n,) share of the places that the fallback filled


@dataclass(frozen=True, slots=True, eq=False)
class _Questions:
    """The judged users with all of their first events, and their truth."""

    queries: Queries  #: (n,) each with exactly ``max(given)`` events
    features: pl.DataFrame | None
    offsets: IntArray  #: (n + 1,) of the truth
    items: IntArray  #: (t,) int32
    metrics: tuple[str, ...]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, split: Split, given: Sequence[int], metrics: tuple[str, ...]) -> _Questions:
        truth = answerable(split, filter_seen=True)
        whole = np.flatnonzero(split.queries.lengths[truth.rows] == given[-1])
        if not len(whole):
            raise DataError(
                f"The split {split.name!r} has nobody to judge: no hidden user has more than "
                f"{counted(given[-1], 'event')}, the first ones all of items that train knows. "
                "Ask for fewer events, or for a larger share."
            )
        notes = list(truth.notes)
        if lost := len(truth.rows) - len(whole):
            notes.append(
                f"{counted(lost, 'user')} {'is' if lost == 1 else 'are'} not judged: first events of theirs are of "
                "items unknown to train."
            )
        rows = truth.rows[whole]
        offsets, positions = ragged_take(truth.offsets, whole)
        features = split.features()
        return cls(
            queries=split.queries.take(rows),
            features=None if features is None else features[rows],
            offsets=offsets,
            items=truth.items[positions],
            metrics=metrics,
            notes=tuple(notes),
        )

    def ask(self, fitted: Pipeline, given: int) -> _Answers:
        """Lists after the first ``given`` events, without any of the first events in them."""
        queries = self.queries
        place = np.arange(len(queries.items)) - np.repeat(queries.offsets[:-1], queries.lengths)
        told = queries.keep(place < given, queries.items)
        top = fitted.recommend(
            fitted.informed(told, self.features),
            max(k for _, k in map(ranking.parse, self.metrics)),
            exclude_each=(queries.offsets, queries.items),
        )
        return _Answers(top.items, (top.sources == SOURCES.index("fallback")).mean(axis=1))

    def values(self, answers: _Answers, kept: BoolArray) -> dict[str, FloatArray]:
        """Metric -> (n,) with the truth cut down to the events that ``kept`` (t,) marks; NaN without any."""
        rows = np.repeat(np.arange(len(self.queries)), np.diff(self.offsets))[kept]
        offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(self.queries)))])
        hit, relevant = ranking.hits(answers.items, offsets, self.items[kept])
        return ranking.score(hit, relevant, self.metrics)


def _strata(train: Dataset, asked: _Questions) -> dict[str, tuple[BoolArray, BoolArray]]:
    """Name -> (t,) truth events and (n,) users that belong to it."""
    every, everybody = np.ones(len(asked.items), dtype=np.bool_), np.ones(len(asked.queries), dtype=np.bool_)
    group = fairness.popularity_groups(train.item_counts(), _TRUTH_SHARES)
    of_truth = np.where(asked.items >= 0, group[np.maximum(asked.items, 0)], -1)
    events = np.diff(asked.offsets)
    third = np.searchsorted(np.quantile(events, (1 / 3, 2 / 3)), events, side="left")
    return {
        EVERYBODY: (every, everybody),
        **{name: (of_truth == g, everybody) for g, name in enumerate(TRUTH_STRATA)},
        **{name: (every, third == g) for g, name in enumerate(USER_STRATA)},
    }


def _rows(
    asked: _Questions,
    answers: Mapping[str, Mapping[int, _Answers]],
    fallbacks: Mapping[str, _Answers],
    stratum: str,
    events: BoolArray,
    users: BoolArray,
    draws: Mapping[str, int],
) -> list[ColdStartRow]:
    """Points of all curves in one stratum; one draw of the users serves all of them, so that gains are paired."""
    points = [(model, given) for model, told in answers.items() for given in told]
    lists = [answers[model][given] for model, given in points] + list(fallbacks.values())
    columns = [
        np.where(users, column, np.nan) for one in lists for column in asked.values(one, events).values()
    ]
    judged = ~np.isnan(columns[0])
    if not judged.any():
        return []
    samples = [Sample.of_users(column, bounded=True) for column in columns]
    drawn = replicates(samples, **draws)
    values = np.array([sample.estimate() for sample in samples])
    width = len(asked.metrics)
    behind = {model: (len(points) + at) * width for at, model in enumerate(fallbacks)}
    rows = []
    for at, (model, given) in enumerate(points):
        for m, metric in enumerate(asked.metrics):
            own, other = at * width + m, behind.get(model, -1) + m
            gain, bounds = float("nan"), Interval(float("nan"), float("nan"))
            if model in behind:
                gain = float(values[own] - values[other])
                bounds = percentiles(drawn[:, own] - drawn[:, other], _LEVEL)
            low, high = interval_of(samples[own], drawn[:, own], _LEVEL)
            rows.append(
                ColdStartRow(
                    model=model,
                    given=given,
                    metric=metric,
                    stratum=stratum,
                    value=float(values[own]),
                    low=low,
                    high=high,
                    gain=gain,
                    gain_low=bounds.low,
                    gain_high=bounds.high,
                    fallback_share=float(answers[model][given].fallback[judged].mean()),
                    users=int(judged.sum()),
                )
            )
    return rows
