"""What a fitted pipeline answers to the questions of a split, laid beside what really happened."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from recsmith.data.split import Split, repeats
from recsmith.errors import DataError, NotFittedError, ParameterError
from recsmith.evaluation.metrics import ranking, rating
from recsmith.evaluation.report import sample_of
from recsmith.evaluation.significance import Sample
from recsmith.protocols import RatingPredictor, Recommender
from recsmith.recommend import Pipeline, TopK
from recsmith.resources import Usage, measure
from recsmith.types import BoolArray, FloatArray, IntArray, Queries


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answerable:
    """The requests of a split that have a truth to be found, and that truth."""

    rows: IntArray  #: (n,) requests of the split
    offsets: IntArray  #: (n + 1,) int64 bounds into ``items``
    items: IntArray  #: (t,) int32 truth items, -1 = not in train
    notes: tuple[str, ...]  #: what was left out, in words


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranked:
    """Lists of the answerable requests and how good they are."""

    rows: IntArray  #: (n,) requests of the split
    queries: Queries  #: (n,) those requests
    top: TopK
    hit: BoolArray  #: (n, k) which slots are right
    values: dict[str, FloatArray]  #: metric@k -> (n,) float64
    notes: tuple[str, ...]
    usage: Usage  #: of ``recommend``

    def sample(self, metric: str) -> Sample:
        """The figure as sums over users."""
        return sample_of(metric, self.values[metric], None)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rated:
    """Predicted ratings of the truth and how far off they are."""

    rows: IntArray  #: (n,) requests of the split that have rated pairs
    values: dict[str, FloatArray]  #: rmse and mae -> (n,) float64 of each user
    pairs: IntArray  #: (n,) rated pairs of each user
    notes: tuple[str, ...]
    usage: Usage  #: of ``predict``

    def sample(self, metric: str) -> Sample:
        """The figure as sums over users."""
        return sample_of(metric, self.values[metric], self.pairs)


def can_rank(pipeline: Pipeline) -> bool:
    """Whether the model orders items."""
    return isinstance(pipeline.model, Recommender)


def can_rate(pipeline: Pipeline, split: Split) -> bool:
    """Whether the model predicts ratings and the split has some to compare with."""
    return isinstance(pipeline.model, RatingPredictor) and split.truth.values is not None


def answerable(split: Split, *, filter_seen: bool) -> Answerable:
    """The requests with a truth; with ``filter_seen``, truth in the user's own history is no truth.

    It could never be recommended, so it would lower every model's figures alike and say nothing.

    Raises
    ------
    DataError
        Where nobody is left.
    """
    rows, items, notes = split.truth.rows, split.truth.items, []
    n = len(split.queries)
    had = np.bincount(rows, minlength=n)
    if filter_seen:
        seen, _ = repeats(split.queries, split.truth, split.train.n_items)
        rows, items = rows[~seen], items[~seen]
        if seen.any():
            notes.append(
                f"{seen.sum():,} truth events are of items in the user's own history and were left out."
            )
    left = np.bincount(rows, minlength=n)
    judged = np.flatnonzero(left)
    if not len(judged):
        raise DataError(
            f"The split {split.name!r} has nobody to judge: no request has a truth that can be found."
        )
    if gone := int(((had > 0) & (left == 0)).sum()):
        notes.append(f"{gone:,} users were left without truth by that and are not judged.")
    if silent := int((had == 0).sum()):
        notes.append(f"{silent:,} requests have no truth and are not judged.")
    offsets = np.concatenate([[0], np.cumsum(left[judged])])
    return Answerable(rows=judged, offsets=offsets, items=items, notes=tuple(notes))


def rank(pipeline: Pipeline, split: Split, names: Sequence[str], *, filter_seen: bool = True) -> Ranked:
    """Ask for lists as long as the largest cut-off of ``names`` and score them.

    Parameters
    ----------
    pipeline
        Fitted on ``split.train``.
    names
        Full metric names, such as ``"ndcg@10"``.

    Raises
    ------
    NotFittedError, ParameterError, DataError
        The pipeline is not fitted, or on other items; an unknown name; nobody to judge.
    """
    _check_fitted_on(pipeline, split)
    width = max(k for _, k in map(ranking.parse, names))
    truth = answerable(split, filter_seen=filter_seen)
    everybody = len(truth.rows) == len(split.queries)
    queries = pipeline.informed(split.queries, split.features())
    if not everybody:
        queries = queries.take(truth.rows)
    with measure() as usage:
        top = pipeline.recommend(queries, width, filter_seen=filter_seen)
    hit, relevant = ranking.hits(top.items, truth.offsets, truth.items)
    values = ranking.score(hit, relevant, names)
    return Ranked(
        rows=truth.rows, queries=queries, top=top, hit=hit, values=values, notes=truth.notes, usage=usage
    )


def rate(pipeline: Pipeline, split: Split, *, rating_times: bool = False) -> Rated:
    """Predict the rating of every rated truth event from the raw history: ratings know no weighting.

    With ``rating_times`` each question is asked at the moment of the rating to be predicted (``Queries.at``), without
    it at no moment: that of a split is when the user's first rating to be predicted was given.

    Raises
    ------
    NotFittedError, ParameterError, DataError
        The pipeline is not fitted, or on other items; no ratings; ``rating_times`` and no times; a prediction that
        is not a number.
    """
    _check_fitted_on(pipeline, split)
    truth = split.truth
    if not isinstance(pipeline.model, RatingPredictor) or truth.values is None:
        raise ParameterError(
            f"{type(pipeline.model).__name__} on {split.name!r}: there are no ratings to predict."
        )
    has = ~np.isnan(truth.values)
    if not has.any():
        raise DataError(f"The split {split.name!r} has no rated truth.")
    rows, items, actual = truth.rows[has], truth.items[has], truth.values[has]
    queries, asked = split.queries.replace(at=None), rows
    if rating_times:
        queries, asked = _at_rating(split, rows, has)
    with measure() as usage:
        predicted = pipeline.model.predict(queries, asked, items).mean
    judged, within = np.unique(rows, return_inverse=True)
    values, pairs = rating.user_errors(predicted, actual, within, len(judged))
    notes = (f"{(~has).sum():,} truth events have no rating.",) if not has.all() else ()
    return Rated(rows=judged, values=values, pairs=pairs, notes=notes, usage=usage)


def _at_rating(split: Split, rows: IntArray, has: BoolArray) -> tuple[Queries, IntArray]:
    """A request for each user and moment of its ratings, and the request of each pair."""
    if split.truth.times is None:
        raise ParameterError(f"rating_times=True, but the truth of {split.name!r} has no times.")
    moments, place = np.unique(np.stack([rows, split.truth.times[has]]), axis=1, return_inverse=True)
    return split.queries.take(moments[0]).replace(at=moments[1]), place.reshape(-1)


def answer(pipeline: Pipeline, split: Split, metric: str, *, filter_seen: bool = True) -> Ranked | Rated:
    """What ``metric`` is a figure of: ``rank`` for ``"ndcg@10"`` and the like, ``rate`` for rmse and mae."""
    if metric in rating.METRICS:
        return rate(pipeline, split)
    return rank(pipeline, split, [metric], filter_seen=filter_seen)


def fingerprint(split: Split) -> str:
    """SHA-256 of questions and truth: figures can be compared only where it is equal."""
    digest = hashlib.sha256(split.user_ids.cast(pl.String).str.join("\x1f").item().encode())
    asked, truth = split.queries, split.truth
    for column in (asked.offsets, asked.items, truth.offsets, truth.items, truth.values):
        digest.update(b"-" if column is None else np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()


def _check_fitted_on(pipeline: Pipeline, split: Split) -> None:
    """Raise unless the pipeline is fitted on as many items as the split's train log has."""
    if pipeline.n_items == 0:
        raise NotFittedError(
            "This pipeline is not fitted. Use evaluate(pipeline, split), or judge what fit returns."
        )
    if pipeline.n_items != split.train.n_items:
        raise ParameterError(
            f"The pipeline knows {pipeline.n_items:,} items and the train log of {split.name!r} has "
            f"{split.train.n_items:,}: their indices do not agree. Fit it on split.train."
        )
