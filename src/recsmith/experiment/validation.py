"""Validation: folds cut from a train log, ready to be asked part by part, so that a poor candidate is seen early."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recsmith.data.split import Split, Truth, repeats
from recsmith.data.split_by_name import Splitter
from recsmith.errors import DataError
from recsmith.evaluation.answers import answer, fingerprint
from recsmith.evaluation.metrics import ranking
from recsmith.evaluation.report import smaller_is_better
from recsmith.evaluation.significance import Sample
from recsmith.experiment.space import fit_key
from recsmith.experiment.train import make_pipeline
from recsmith.protocols import Monitor
from recsmith.recommend import Pipeline
from recsmith.resources import measure
from recsmith.types import IntArray, ragged_take

_FEWEST = 300  # users of a part: fewer say too little
_MOST = 10_000  # users of a part: a budget is looked at between parts


class Late(Exception):  # noqa: N818 - not an error: the budget is spent
    """The time given is over."""


@dataclass(slots=True)
class Deadline:
    """A ``Monitor`` that stops a fit when the time is over.

    ``progress`` asks a model to stop; ``check`` raises, also where a model stopped half-way.
    """

    at: float = float("inf")  #: of ``time.monotonic``
    stopped: bool = False

    def progress(self, done: int, total: int, **figures: float) -> bool:
        """Whether the fit should stop."""
        if done < total and time.monotonic() > self.at:
            self.stopped = True
        return self.stopped

    def check(self) -> None:
        """Raise ``Late`` where the time is over."""
        if self.stopped or time.monotonic() > self.at:
            raise Late


def within(split: Split, splitter: Splitter) -> list[Split]:
    """Validation splits of a split's train part; the test part has no say in them.

    Raises
    ------
    DataError
        Where the train part cannot be cut so.
    """
    return splitter.split(split.train)


def part_of(split: Split, rows: IntArray) -> Split:
    """The split with only the requests ``rows``; train stays whole."""
    bounds, positions = ragged_take(split.truth.offsets, rows)
    truth = split.truth
    return replace(
        split,
        queries=split.queries.take(rows),
        user_ids=split.user_ids.gather(rows),
        user_features=None if split.user_features is None else split.user_features[rows],
        truth=Truth(
            offsets=bounds,
            items=truth.items[positions],
            values=None if truth.values is None else truth.values[positions],
            times=None if truth.times is None else truth.times[positions],
        ),
    )


def judged_rows(split: Split, metric: str) -> IntArray:
    """The requests whose truth can be found, or has a rating where ratings are judged.

    Raises
    ------
    DataError
        Where nobody is left: every candidate would get the same figure.
    """
    truth = split.truth
    if smaller_is_better(metric):
        if truth.values is None or np.isnan(truth.values).all():
            raise DataError(f"{split.name!r} has no rated event to judge {metric} by. Choose another metric.")
        return np.unique(truth.rows[~np.isnan(truth.values)])
    seen, _ = repeats(split.queries, truth, split.train.n_items)
    if not ((truth.items >= 0) & ~seen).any():
        raise DataError(
            f"{split.name!r} of {split.train.name} has no positive: each of its "
            f"{len(truth.items):,} events is of an item that train does not know, or that its user had before. "
            "Choose another split or a larger share."
        )
    return np.unique(truth.rows[~seen])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Validation:
    """Folds whose requests can all be judged, each as parts that are asked one after the other."""

    metric: str
    seed: int
    folds: tuple[Split, ...]
    parts: tuple[tuple[Split, ...], ...]  #: of each fold; a random part of the users each

    @classmethod
    def of(
        cls, folds: Split | Sequence[Split], metric: str, *, seed: int = 0, most: int | None = None
    ) -> Validation:
        """Make the parts; ``most`` bounds the users that are asked of each fold, a random sample.

        Raises
        ------
        ParameterError
            An unknown metric.
        DataError
            A fold in which nobody can be judged.
        """
        if not smaller_is_better(metric):
            ranking.parse(metric)
        kept: list[Split] = []
        parts: list[tuple[Split, ...]] = []
        for fold in [folds] if isinstance(folds, Split) else folds:
            rows = np.random.default_rng([seed, len(kept)]).permutation(judged_rows(fold, metric))[:most]
            count = max(min(len(rows) // _FEWEST, 4), -(-len(rows) // _MOST), 1)
            chunks = [np.sort(chunk) for chunk in np.array_split(rows, count)]
            parts.append(tuple(part_of(fold, chunk) for chunk in chunks))
            kept.append(part_of(fold, np.concatenate(chunks)))
        return cls(metric=metric, seed=seed, folds=tuple(kept), parts=tuple(parts))

    @property
    def better(self) -> float:
        """1 where more is better, -1 for errors."""
        return -1.0 if smaller_is_better(self.metric) else 1.0

    @property
    def name(self) -> str:
        """The folds by name."""
        return ", ".join(dict.fromkeys(fold.name for fold in self.folds))

    def fingerprint(self) -> str:
        """SHA-256 of all that is learned from and asked."""
        each = [f"{fold.train.fingerprint()} {fingerprint(fold)}" for fold in self.folds]
        return hashlib.sha256("\n".join([self.metric, *each]).encode()).hexdigest()


class Fits:
    """Pipelines of one model fitted on the folds; the fits of the latest parameters are kept.

    Parameters that differ only in what is said when asking (``half_life``) are one fit.
    """

    def __init__(self, model: str, validation: Validation, *, fallback: str | None, seed: int) -> None:
        self.model, self.validation, self.fallback, self.seed = model, validation, fallback, seed
        self._key: str | None = None
        self._fitted: dict[int, Pipeline] = {}

    def pipeline(self, fold: int, parameters: Mapping[str, Any], monitor: Monitor) -> tuple[Pipeline, float]:
        """The pipeline fitted on the fold's train part, and the seconds that this took; 0 for a kept one."""
        unfitted = make_pipeline(self.model, fallback=self.fallback, **parameters)
        if (key := fit_key(self.model, parameters)) != self._key:
            self.forget()
            self._key = key
        if fold in self._fitted:
            return replace(self._fitted[fold], weighting=unfitted.weighting), 0.0
        with measure() as usage:
            fitted = unfitted.fit(self.validation.folds[fold].train, rng=self.seed, monitor=monitor)
        if not getattr(monitor, "stopped", False):
            self._fitted[fold] = fitted
        return fitted, usage.seconds

    def forget(self) -> None:
        """Free the fits."""
        self._key = None
        self._fitted.clear()


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What is known after a part."""

    value: float  #: the metric so far, the mean over folds
    samples: tuple[Sample, ...]  #: of each fold begun: the users asked so far, in the order of the parts
    fit_seconds: float
    ask_seconds: float


def steps(fits: Fits, parameters: Mapping[str, Any], deadline: Deadline) -> Iterator[Step]:
    """Fit and ask part by part, fold by fold.

    Raises
    ------
    Late
        The time is over.
    """
    metric, fit_seconds, ask_seconds = fits.validation.metric, 0.0, 0.0
    samples: list[Sample] = []
    for fold, parts in enumerate(fits.validation.parts):
        fitted, seconds = fits.pipeline(fold, parameters, deadline)
        fit_seconds += seconds
        asked: list[Sample] = []
        for sample, seconds in ask(fitted, parts, metric, deadline):
            asked.append(sample)
            ask_seconds += seconds
            done = (*samples, together(asked))
            value = float(np.mean([sample.estimate() for sample in done]))
            yield Step(value, done, fit_seconds, ask_seconds)
        samples.append(together(asked))


def ask(
    fitted: Pipeline, parts: Sequence[Split], metric: str, deadline: Deadline
) -> Iterator[tuple[Sample, float]]:
    """The figure of each part of the users, and the seconds that it took.

    Raises
    ------
    Late
        The time is over.
    """
    for part in parts:
        deadline.check()
        start = time.perf_counter()
        sample = answer(fitted, part, metric).sample(metric)
        yield sample, time.perf_counter() - start


def together(samples: Sequence[Sample]) -> Sample:
    """The same figure over all users of several samples."""
    total, count = (np.concatenate([getattr(s, name) for s in samples]) for name in ("total", "count"))
    return replace(samples[0], total=total, count=count)
