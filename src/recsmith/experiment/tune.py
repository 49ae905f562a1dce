"""``tune``: the best parameters of one model, searched on validation with Optuna.

The first trial is the default, so the result is never worse on validation. See ``docs/tuning.md``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recsmith.data.split import Split
from recsmith.errors import ParameterError
from recsmith.experiment.recipe import Recipe
from recsmith.experiment.search import Search
from recsmith.experiment.space import Space, space_of
from recsmith.experiment.study import Trial
from recsmith.experiment.train import make_pipeline
from recsmith.experiment.validation import Deadline, Validation
from recsmith.protocols import Monitor
from recsmith.tables import Table
from recsmith.version import __version__

DEFAULT_TRIALS = 30
_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """What a search found."""

    model: str
    metric: str
    split: str  #: the validation split
    data: str
    fingerprint: str  #: of validation: train logs, questions and answers
    seed: int
    fallback: str | None
    space: Space
    fixed: Mapping[str, Any]
    better: float  #: 1 where more is better
    trials: tuple[Trial, ...]  #: in order; the first is the default
    notes: tuple[str, ...] = field(default=())

    @property
    def default(self) -> Trial:
        """The first trial: the model as it is when nothing is said."""
        return self.trials[0]

    @property
    def best(self) -> Trial:
        """The best complete trial, the earlier one of equals.

        Raises
        ------
        ParameterError
            Where no trial could be judged; the message says why the first one could not.
        """
        complete = [
            trial for trial in self.trials if trial.state == "complete" and not math.isnan(trial.value)
        ]
        if not complete:
            why = next((trial.error for trial in self.trials if trial.error), "there was no time for one")
            raise ParameterError(f"No trial of {self.model} could be judged: {why}")
        return max(complete, key=lambda trial: self.better * trial.value)

    def recipe(self) -> Recipe:
        """The best parameters as ``train --config`` takes them, with where they come from."""
        return Recipe(
            model=self.model,
            parameters=dict(self.best.parameters),
            fallback=self.fallback,
            tuned={
                "data": self.data,
                "fingerprint": self.fingerprint,
                "validation": self.split,
                "metric": self.metric,
                "value": self.best.value,
                "default_value": None if math.isnan(self.default.value) else self.default.value,
                "trials": len(self.trials),
                "seed": self.seed,
                "recsmith": __version__,
            },
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "model": self.model,
            "metric": self.metric,
            "validation": self.split,
            "data": self.data,
            "fingerprint": self.fingerprint,
            "seed": self.seed,
            "space": {name: str(dimension) for name, dimension in self.space.items()},
            "best": {"parameters": dict(self.best.parameters), "value": self.best.value},
            "default": {"parameters": dict(self.default.parameters), "value": self.default.value},
            "trials": [
                {name: getattr(trial, name) for name in Trial.__dataclass_fields__} for trial in self.trials
            ],
            "notes": list(self.notes),
        }

    def __rich__(self) -> Table:
        order = sorted(
            range(len(self.trials)), key=lambda i: (self.trials[i].state != "complete", -self._rank(i), i)
        )
        rows = [
            (
                number + 1,
                "default" if number == 0 else _written(self.trials[number].parameters),
                self.trials[number].value,
                self.trials[number].state,
            )
            for number in order[:_SHOWN]
        ]
        if 0 not in order[:_SHOWN]:
            rows.append((1, "default", self.default.value, self.default.state))
        columns = ("trial", "parameters", self.metric, "state")
        return Table(
            f"{self.model} on {self.split}: {len(self.trials)} trials",
            columns,
            rows,
            numbers=("trial", self.metric),
            styles=["bold", *[""] * (len(rows) - 1)],
            caption="\n".join(self.notes),
        )

    def _rank(self, number: int) -> float:
        value = self.trials[number].value
        return -math.inf if math.isnan(value) else self.better * value


def tune(
    model: str,
    folds: Split | Sequence[Split] | Validation,
    metric: str = "ndcg@10",
    *,
    space: Space | None = None,
    fixed: Mapping[str, Any] | None = None,
    fallback: str | None = "popular",
    trials: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    study: str | Path | None = None,
    monitor: Monitor | None = None,
) -> Tuned:
    """Search the parameters of a model on validation splits, within a budget.

    Parameters
    ----------
    model
        A registered name.
    folds
        Splits of the *train* part of the split that is reported, ``splitter.split(split.train)``. Several are
        steps after which a poor trial is pruned, and so are parts of the users of each.
    metric
        ``"ndcg@10"`` and the like, or ``"rmse"``, ``"mae"``.
    space
        Parameter -> where it is searched; None: the marks beside the model's config, ``space_of``.
    fixed
        Parameters that all trials share; they leave the space.
    fallback
        As in ``train``.
    trials, minutes
        The budget; what is spent in ``study`` counts. Neither: 30 trials.
    seed
        Of the points and of every fit. The same seed gives the same points and figures, stopped in between or not.
    study
        A SQLite file that keeps the trials; the same call goes on where it was stopped. None: in memory.
    monitor
        Is told of the trials that are done, and may end the search: the trials so far are returned.

    Raises
    ------
    ParameterError
        An unknown model, parameter or metric, or a budget that is none.
    DataError
        A validation split in which nobody can be judged, or a study file that is none.
    MissingExtraError
        Optuna is not installed.
    """
    wanted = _budget(trials, minutes)
    validation = folds if isinstance(folds, Validation) else Validation.of(folds, metric, seed=seed)
    shared = dict(fixed or {})
    searched = dict(space_of(model, validation.folds[0].train, metric) if space is None else space)
    searched = {name: dimension for name, dimension in searched.items() if name not in shared}
    make_pipeline(model, fallback=fallback, **shared)
    search = Search(model, validation, searched, shared, fallback, seed)
    with search.study(None if study is None else Path(study)) as kept:
        spent = sum(trial.seconds for trial in kept.trials)
        deadline = Deadline(math.inf if minutes is None else time.monotonic() + 60 * minutes - spent)
        told = None if monitor is None else _Told(monitor, deadline, minutes)
        search.run(kept, deadline, trials=wanted, first=Deadline(), monitor=told)
        return found(search, kept.trials)


def found(search: Search, trials: Sequence[Trial]) -> Tuned:
    """What the trials of a search say."""
    return Tuned(
        model=search.model,
        metric=search.validation.metric,
        split=search.validation.name,
        data=search.validation.folds[0].train.name,
        fingerprint=search.validation.fingerprint(),
        seed=search.seed,
        fallback=search.fallback,
        space=search.space,
        fixed=search.fixed,
        better=search.validation.better,
        trials=tuple(trials),
        notes=tuple(f"Failed: {text}" for text in sorted({trial.error for trial in trials if trial.error})),
    )


@dataclass(frozen=True, slots=True)
class _Told:
    """A monitor that hears of time where the budget is time."""

    monitor: Monitor
    deadline: Deadline
    minutes: float | None

    def progress(self, done: int, total: int, **figures: float) -> bool:
        if self.minutes is None or total:
            return self.monitor.progress(done, total, **figures)
        whole = round(60 * self.minutes)
        gone = whole - round(self.deadline.at - time.monotonic())
        return self.monitor.progress(min(gone, whole), whole, **figures, trials=float(done))


def _budget(trials: int | None, minutes: float | None) -> float:
    """Trials at most."""
    if trials is not None and trials < 1:
        raise ParameterError.of("tune", "trials", ">= 1", trials)
    if minutes is not None and not minutes > 0:
        raise ParameterError.of("tune", "minutes", "> 0", minutes)
    if trials is None:
        return math.inf if minutes is not None else DEFAULT_TRIALS
    return trials


def _written(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in parameters.items())
