"""Weights of a blend, learned on validation.

Every part names its best candidates for each validation user; their union, with what each part says to each, is a
small table in which a mix is judged in milliseconds. From the best single part on, weight is moved to the part that
helps the metric most, in steps that become finer, until nothing helps: R. Caruana et al., "Ensemble Selection from
Libraries of Models", ICML 2004, with replacement. Two halves of the users, each judged with the weights of the other
half, say what the mix is worth to users that it was not learned on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from recsmith import parallel
from recsmith.data.split import Split
from recsmith.data.weighting import Weighting
from recsmith.errors import ParameterError
from recsmith.evaluation.answers import Answerable, answerable
from recsmith.evaluation.metrics import ranking
from recsmith.evaluation.significance import Interval, Sample, intervals
from recsmith.models.blend import Blend, standardize
from recsmith.recommend import Pipeline
from recsmith.topk import TopKBlock
from recsmith.types import FloatArray, IntArray, Queries, ragged_take

_USERS_AT_ONCE = 64  # rows of n_items scores of each part in memory
_STEPS = (0.5, 0.25, 0.1, 0.05, 0.02)  # share of the weight that moves to one part


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Learned:
    """Weights of some parts, and what they are worth."""

    weights: FloatArray  #: (parts,) float64, >= 0, the sum is 1
    metric: str
    value: float  #: the metric of the mix on all users that were asked: optimistic, as it was learned on them
    singles: tuple[float, ...]  #: the metric of each part alone
    cross_value: float  #: of the mix, each half of the users with the weights learned on the other
    gain: Interval  #: by how much ``cross_value`` exceeds the best single part; 95 %, paired
    users: int

    @property
    def best_single(self) -> int:
        """The part that is best alone."""
        return int(np.argmax(self.singles))


def learn_weights(
    pipelines: Sequence[Pipeline],
    split: Split,
    metric: str = "ndcg@10",
    *,
    depth: int = 100,
    users: int = 5_000,
    seed: int = 0,
) -> Learned:
    """Weights of a mix of ``pipelines`` that is best on the truth of a validation split.

    Parameters
    ----------
    pipelines
        Fitted on ``split.train``; their fallbacks are not asked.
    split
        A split of the *train* part of what is reported: never the test.
    metric
        A ranking metric with its cut-off.
    depth
        Candidates that each part names for a user, >= the cut-off.
    users
        Most users that are asked; more are drawn from.
    seed
        Of that draw and of the halves.

    Raises
    ------
    ParameterError
        No pipeline, one that is not fitted on this split, or an unknown metric.
    DataError
        Nobody to judge: a validation without positives.
    """
    if not pipelines:
        raise ParameterError("A blend needs at least one part. Got none.")
    for pipeline in pipelines:
        if pipeline.n_items != split.train.n_items:
            raise ParameterError(
                "Every part of a blend must be fitted on the train log of its validation split."
            )
    _, k = ranking.parse(metric)
    rng = np.random.default_rng(seed)
    truth = answerable(split, filter_seen=True)
    drawn = np.sort(rng.permutation(len(truth.rows))[:users])
    table = _Table.of(pipelines, split.queries, truth, drawn, metric, max(depth, k))
    every = np.arange(len(drawn))
    weights, value = table.climb(every)
    first = rng.permutation(every)[: len(every) // 2]
    halves = (np.sort(first), np.setdiff1d(every, first))
    crossed = np.full(len(every), np.nan)
    for learned_on, judged in (halves, halves[::-1]):
        if len(learned_on) and len(judged):
            crossed[judged] = table.values(table.climb(learned_on)[0])[judged]
    alone = [table.values(one) for one in np.eye(len(pipelines))]
    singles = [float(np.nanmean(values)) for values in alone]
    best = alone[int(np.argmax(singles))]
    beside = np.where(np.isnan(crossed), np.nan, best)
    samples = {"mix": Sample.of_users(crossed), "single": Sample.of_users(beside)}
    return Learned(
        weights=weights,
        metric=metric,
        value=value,
        singles=tuple(singles),
        cross_value=samples["mix"].estimate(),
        gain=intervals(samples, against="single", seed=seed)["mix"],
        users=len(every),
    )


def mix(pipelines: Sequence[Pipeline], weights: Sequence[float] | FloatArray) -> Pipeline:
    """The pipeline of a blend of fitted pipelines, with the fallback of the first. Parts of weight 0 are dropped.

    Raises
    ------
    ParameterError
        Where no part has a weight.
    """
    kept = [(p, float(w)) for p, w in zip(pipelines, weights, strict=True) if w > 0]
    if not kept:
        raise ParameterError("A blend needs at least one part with a weight > 0.")
    blend = Blend.of([p.model for p, _ in kept], [p.weighting for p, _ in kept], [w for _, w in kept])
    return replace(pipelines[0], model=blend, weighting=Weighting(confidence="raw"))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """What each part says to each candidate of each user."""

    said: FloatArray  #: (n, width, parts) float32, standardized; -inf where there is no candidate
    items: IntArray  #: (n, width) int32 candidates in rising order, -1 where there are fewer
    truth_offsets: IntArray
    truth_items: IntArray
    metric: str

    @classmethod
    def of(
        cls,
        pipelines: Sequence[Pipeline],
        queries: Queries,
        truth: Answerable,
        drawn: IntArray,
        metric: str,
        depth: int,
    ) -> _Table:
        asked = queries.take(truth.rows[drawn])
        offsets, positions = ragged_take(truth.offsets, drawn)
        found = parallel.run(
            lambda rows: _candidates(pipelines, asked.take(rows), depth),
            parallel.blocks(len(drawn), _USERS_AT_ONCE),
        )
        width = max(items.shape[1] for items, _ in found)
        said = np.full((len(drawn), width, len(pipelines)), -np.inf, dtype=np.float32)
        items = np.full((len(drawn), width), -1, dtype=np.int32)
        for number, (some, scores) in enumerate(found):
            rows = slice(number * _USERS_AT_ONCE, number * _USERS_AT_ONCE + len(some))
            items[rows, : some.shape[1]] = some
            said[rows, : some.shape[1]] = scores
        return cls(said, items, offsets, truth.items[positions], metric)

    def values(self, weights: FloatArray) -> FloatArray:
        """(n,) float64: the metric of a mix for each user."""
        _, k = ranking.parse(self.metric)
        used = np.flatnonzero(weights)
        mixed = np.require(self.said[:, :, used] @ weights[used].astype(np.float32), np.float32, ["C"])
        best = TopKBlock(len(mixed), k)
        best.update(mixed, 0, np.zeros(len(mixed) + 1, dtype=np.int64), np.zeros(0, dtype=np.int32))
        listed = np.take_along_axis(self.items, np.maximum(best.items, 0), axis=1)
        lists = np.where(best.items < 0, -1, listed).astype(np.int32)
        hit, relevant = ranking.hits(lists, self.truth_offsets, self.truth_items)
        return ranking.score(hit, relevant, [self.metric])[self.metric]

    def climb(self, rows: IntArray) -> tuple[FloatArray, float]:
        """Weights that are best for some users, and the metric there."""

        def worth(weights: FloatArray) -> float:
            return float(part.values(weights).mean())

        offsets, positions = ragged_take(self.truth_offsets, rows)
        part = _Table(self.said[rows], self.items[rows], offsets, self.truth_items[positions], self.metric)
        corners = np.eye(self.said.shape[2])
        best = max(((worth(corner), -n) for n, corner in enumerate(corners)))
        value, weights = best[0], corners[-best[1]]
        for step in _STEPS:
            while True:
                tried = [(1 - step) * weights + step * corner for corner in corners]
                figures = [worth(mix) for mix in tried]
                if max(figures) <= value + 1e-9:
                    break
                value, weights = max(figures), tried[int(np.argmax(figures))]
        return weights, value


def _candidates(pipelines: Sequence[Pipeline], queries: Queries, depth: int) -> tuple[IntArray, FloatArray]:
    """(n, width) items and (n, width, parts) standardized scores of the union of the parts' ``depth`` best."""
    order = np.lexsort((queries.items, queries.rows))
    hidden = queries.items[order]
    chosen, said = [], []
    for pipeline in pipelines:
        scores = pipeline.model.score(pipeline.weighting.queries(queries))
        scores = np.require(scores, np.float32, ["C", "W"])
        best = TopKBlock(len(scores), depth)
        best.update(scores.copy(), 0, queries.offsets, hidden)
        chosen.append(best.items)
        standardize(scores)
        said.append(scores)
    items = np.sort(np.concatenate(chosen, axis=1), axis=1)
    items[:, 1:][np.diff(items, axis=1) == 0] = -1
    items = np.sort(np.where(items < 0, np.iinfo(np.int32).max, items), axis=1)
    width = max(int((items < np.iinfo(np.int32).max).sum(axis=1).max(initial=0)), 1)
    items = np.where(items[:, :width] == np.iinfo(np.int32).max, -1, items[:, :width]).astype(np.int32)
    at = np.maximum(items, 0)
    table = np.stack([np.take_along_axis(scores, at, axis=1) for scores in said], axis=2)
    table[items < 0] = -np.inf
    return items, table
