"""``tune``: the best parameters of one model, searched on validation with Optuna.

The first trial is the default, so the result is never worse on validation. See ``docs/tuning.md``.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recsmith import estimate
from recsmith.data.split import Split
from recsmith.errors import ParameterError, RecsmithError
from recsmith.experiment.recipe import Recipe
from recsmith.experiment.space import Space, defaults, space_of
from recsmith.experiment.study import Question, Study, Trial
from recsmith.experiment.train import make_pipeline
from recsmith.experiment.validation import Deadline, Fits, Late, Validation, steps
from recsmith.protocols import Monitor
from recsmith.tables import Table
from recsmith.version import __version__

DEFAULT_TRIALS = 30
_REPEATS = 20  # points in a row that were there before: a small space is searched through
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
    search = _Search(model, validation, searched, shared, fallback, seed)
    with Study(
        search.name(),
        searched,
        maximize=validation.better > 0,
        seed=seed,
        path=Path(study) if study else None,
    ) as kept:
        search.run(kept, wanted, math.inf if minutes is None else 60 * minutes, monitor)
        return search.found(kept.trials)


@dataclass(slots=True)
class _Search:
    """One model's search and what it has seen."""

    model: str
    validation: Validation
    space: Space
    fixed: Mapping[str, Any]
    fallback: str | None
    seed: int
    fits: Fits = field(init=False)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.fits = Fits(self.model, self.validation, fallback=self.fallback, seed=self.seed)

    def name(self) -> str:
        """Of the study: another log, split, metric, space or seed is another study in the same file."""
        asked = {
            "model": self.model,
            "validation": self.validation.fingerprint(),
            "parts": [len(parts) for parts in self.validation.parts],
            "space": {name: str(dimension) for name, dimension in self.space.items()},
            "fixed": {name: repr(value) for name, value in self.fixed.items()},
            "fallback": self.fallback,
            "seed": self.seed,
        }
        return f"{self.model} {hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]}"

    def run(self, study: Study, trials: float, seconds: float, monitor: Monitor | None) -> None:
        """Trials until the budget, or the space, is used up."""
        spent = sum(trial.fit_seconds + trial.ask_seconds for trial in study.trials)
        deadline = Deadline(time.monotonic() + seconds - spent)
        first = {**defaults(self.model, self.space), **self.fixed}
        while (done := len(study.trials)) < trials and not self._searched_through(study.trials):
            if done and self._too_late(study.trials, deadline):
                break
            question = study.ask(first)
            question.parameters.update(self.fixed)
            try:
                result = self._judged(question, study, deadline if done else Deadline())
            except Late:
                study.drop(question)
                break
            except BaseException:
                study.drop(question)
                raise
            study.tell(question, result)
            if monitor is not None and self._told(monitor, study.trials, trials, seconds, deadline):
                break
        self.fits.forget()

    def found(self, trials: Sequence[Trial]) -> Tuned:
        """The result."""
        failed = sorted({trial.error for trial in trials if trial.error})
        return Tuned(
            model=self.model,
            metric=self.validation.metric,
            split=self.validation.name,
            data=self.validation.folds[0].train.name,
            fingerprint=self.validation.fingerprint(),
            seed=self.seed,
            fallback=self.fallback,
            space=self.space,
            fixed=self.fixed,
            better=self.validation.better,
            trials=tuple(trials),
            notes=tuple(f"Failed: {text}" for text in failed),
        )

    def _judged(self, question: Question, study: Study, deadline: Deadline) -> Trial:
        """Fit and ask; a point that was there before has the same figure."""
        for trial in study.trials:
            if trial.parameters == question.parameters and trial.state == "complete":
                return Trial(parameters=trial.parameters, state="complete", value=trial.value)
        given: dict[str, Any] = {"parameters": question.parameters}
        try:
            self._check_memory(question.parameters)
            for number, step in enumerate(steps(self.fits, question.parameters, deadline)):
                given |= {
                    "fit_seconds": step.fit_seconds,
                    "ask_seconds": step.ask_seconds,
                    "value": step.value,
                }
                if math.isnan(step.value):
                    return Trial(
                        **{**given, "state": "failed", "error": f"{self.validation.metric} is not a number"}
                    )
                if question.prune(step.value, number) and number + 1 < sum(map(len, self.validation.parts)):
                    return Trial(**given, state="pruned")
            return Trial(**given, state="complete")
        except Exception as error:
            if isinstance(error, Late) or (isinstance(error, ParameterError) and "metric" in str(error)):
                raise
            self.fits.forget()
            words = str(error) if isinstance(error, RecsmithError) else f"{type(error).__name__}: {error}"
            return Trial(**{**given, "state": "failed", "value": math.nan, "error": words})

    def _check_memory(self, parameters: Mapping[str, Any]) -> None:
        """Refuse a fit that the machine has no memory for."""
        pipeline = make_pipeline(self.model, fallback=self.fallback, **parameters)
        expected = estimate.of_fit(pipeline.model, self.validation.folds[0].train.shape)
        if not expected.fits:
            raise MemoryError(
                f"a fit needs about {expected.memory_mb:,.0f} MB and {expected.available_mb or 0:,.0f} MB are free."
            )

    def _too_late(self, trials: Sequence[Trial], deadline: Deadline) -> bool:
        """Whether the next trial would not end in time, going by the latest ones."""
        latest = [trial.fit_seconds + trial.ask_seconds for trial in trials[-3:]]
        return time.monotonic() + 0.8 * max(latest) > deadline.at

    def _searched_through(self, trials: Sequence[Trial]) -> bool:
        """Whether nothing new comes any more."""
        if trials and not self.space:
            return True
        last = trials[-_REPEATS:]
        return len(last) == _REPEATS and all(t.fit_seconds + t.ask_seconds == 0 and not t.error for t in last)

    def _told(
        self, monitor: Monitor, trials: Sequence[Trial], wanted: float, seconds: float, deadline: Deadline
    ) -> bool:
        """Tell how far the search is: in trials, or in time."""
        known = [trial.value for trial in trials if trial.state == "complete"]
        figures = (
            {self.validation.metric: max(known, key=lambda v: self.validation.better * v)} if known else {}
        )
        if math.isfinite(wanted):
            return monitor.progress(len(trials), int(wanted), **figures)
        gone = seconds - (deadline.at - time.monotonic())
        return monitor.progress(
            min(round(gone), round(seconds)), round(seconds), **figures, trials=float(len(trials))
        )


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
