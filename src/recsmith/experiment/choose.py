"""``choose``: the best parameters of a model on a validation split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from recsmith.data.split import Split
from recsmith.errors import ParameterError
from recsmith.evaluation.answers import answer
from recsmith.evaluation.report import smaller_is_better
from recsmith.experiment.space import fit_key
from recsmith.experiment.train import make_pipeline
from recsmith.protocols import Monitor
from recsmith.recommend import Pipeline
from recsmith.resources import measure
from recsmith.tables import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One point of a grid."""

    parameters: Mapping[str, Any]
    value: float  #: the metric on validation; NaN where the model could not be judged
    fit_seconds: float  #: 0 where the fit of an earlier trial served


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Every point of a grid with its figure, in the order of the grid."""

    model: str
    metric: str
    split: str  #: the validation split
    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial:
        """The best trial, the earlier one of equals."""
        return self.best_where(**{})

    def best_where(self, **parameters: Any) -> Trial:
        """The best of the trials with these values.

        Raises
        ------
        ParameterError
            Where no trial has them, or none could be judged.
        """
        sign = -1.0 if smaller_is_better(self.metric) else 1.0
        fitting = [
            trial
            for trial in self.trials
            if trial.value == trial.value and all(trial.parameters.get(k) == v for k, v in parameters.items())
        ]
        if not fitting:
            raise ParameterError(f"No trial of {self.model} with {dict(parameters)} has a {self.metric}.")
        return max(fitting, key=lambda trial: sign * trial.value)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "model": self.model,
            "metric": self.metric,
            "split": self.split,
            "best": dict(self.best.parameters),
            "trials": [
                {"parameters": dict(t.parameters), "value": t.value, "fit_seconds": t.fit_seconds}
                for t in self.trials
            ],
        }

    def __rich__(self) -> Table:
        best = self.best
        rows = [
            (", ".join(f"{n}={v}" for n, v in trial.parameters.items()) or "defaults", trial.value)
            for trial in self.trials
        ]
        styles = ["bold" if trial is best else "" for trial in self.trials]
        title = f"{self.model} on {self.split}"
        return Table(title, ("parameters", self.metric), rows, numbers=(self.metric,), styles=styles)


def choose(
    model: str,
    grid: Mapping[str, Sequence[Any]],
    splits: Split | Sequence[Split],
    metric: str = "ndcg@10",
    *,
    fixed: Mapping[str, Any] | None = None,
    fallback: str | None = "popular",
    seed: int = 0,
    monitor: Monitor | None = None,
) -> Choice:
    """Fit every point of a grid on the train part of validation splits and score it on the rest.

    Points that differ only in the half-life of the history are one fit.

    Parameters
    ----------
    model
        A registered name.
    grid
        Parameter of the model or of ``Weighting`` -> the values to try; all combinations are.
    splits
        Splits of the *train* part of the split that is reported, ``splitter.split(split.train)``; the metric is
        their mean. One window of time is a small sample: ``time-folds`` gives several.
    metric
        ``"ndcg@10"`` and the like, or ``"rmse"``, ``"mae"``.
    fixed
        Parameters that all trials share; they are part of ``Trial.parameters``.
    fallback
        As in ``train``.
    seed
        Of every fit.
    monitor
        Is told of the trials that are done, and may stop the search: the trials so far are returned.

    Raises
    ------
    ParameterError
        An unknown model, parameter or metric, an empty grid, or a model that the metric cannot judge.
    """
    folds = [splits] if isinstance(splits, Split) else list(splits)
    points = [{**(fixed or {}), **dict(zip(grid, values, strict=True))} for values in product(*grid.values())]
    if not points:
        raise ParameterError.of("choose", "grid", "at least one value for each parameter", dict(grid))
    unfitted = [make_pipeline(model, fallback=fallback, **point) for point in points]
    trials: dict[int, Trial] = {}
    for members in _same_fit(model, points):
        values, seconds = _over_folds([unfitted[member] for member in members], folds, metric, seed)
        for number, member in enumerate(members):
            spent = 0.0 if number else seconds
            trials[member] = Trial(parameters=points[member], value=values[number], fit_seconds=spent)
            best = Choice(
                model=model,
                metric=metric,
                split=", ".join(fold.name for fold in folds),
                trials=tuple(trials[i] for i in sorted(trials)),
            )
            if monitor is not None and monitor.progress(
                len(trials), len(points), **{metric: best.best.value}
            ):
                return best
    return best


def _over_folds(
    alike: Sequence[Pipeline], folds: Sequence[Split], metric: str, seed: int
) -> tuple[list[float], float]:
    """Mean metric of each of some pipelines that one fit serves, and the seconds of the fits."""
    values, seconds = [], 0.0
    for fold in folds:
        with measure() as usage:
            fitted = alike[0].fit(fold.train, rng=seed)
        seconds += usage.seconds
        asked = (replace(fitted, weighting=one.weighting) for one in alike)
        values.append([answer(one, fold, metric).sample(metric).estimate() for one in asked])
    return [sum(column) / len(folds) for column in zip(*values, strict=True)], seconds


def _same_fit(model: str, points: Sequence[Mapping[str, Any]]) -> Iterator[list[int]]:
    """Numbers of the points that one fit serves, group by group."""
    groups: dict[str, list[int]] = {}
    for number, point in enumerate(points):
        groups.setdefault(fit_key(model, point), []).append(number)
    yield from groups.values()
