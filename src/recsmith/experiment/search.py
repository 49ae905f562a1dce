"""The trials of one model's search, one after the other: fit, ask part by part, prune, keep."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from recsmith import estimate
from recsmith.errors import RecsmithError
from recsmith.experiment.space import Space, defaults
from recsmith.experiment.study import Question, Study, Trial
from recsmith.experiment.train import make_pipeline
from recsmith.experiment.validation import Deadline, Fits, Late, Validation, steps
from recsmith.protocols import Monitor

_REPEATS = 20  # points in a row that were there before, or failed: nothing new is to be expected


@dataclass(slots=True)
class Search:
    """What is searched, and how a point is judged."""

    model: str
    validation: Validation
    space: Space
    fixed: Mapping[str, Any]
    fallback: str | None
    seed: int
    costly: Callable[[Mapping[str, Any]], str] | None = None  #: why a point is not fitted, "" where it is
    fits: Fits = field(init=False)

    def __post_init__(self) -> None:
        self.fits = Fits(self.model, self.validation, fallback=self.fallback, seed=self.seed)

    def study(self, path: Path | None = None) -> Study:
        """The study of this search, in memory or in a file: to be closed.

        Another log, split, metric, space, fallback or seed is another study, which the same file may hold.
        """
        maximize = self.validation.better > 0
        if path is None:
            return Study(self.model, self.space, maximize=maximize, seed=self.seed)
        asked = {
            "model": self.model,
            "validation": self.validation.fingerprint(),
            "parts": [len(parts) for parts in self.validation.parts],
            "space": {name: str(dimension) for name, dimension in self.space.items()},
            "fixed": {name: repr(value) for name, value in self.fixed.items()},
            "fallback": self.fallback,
            "seed": self.seed,
        }
        name = f"{self.model} {hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]}"
        return Study(name, self.space, maximize=maximize, seed=self.seed, path=path)

    def run(
        self,
        study: Study,
        deadline: Deadline,
        *,
        trials: float = math.inf,
        first: Deadline | None = None,
        monitor: Monitor | None = None,
    ) -> None:
        """Trials until there are ``trials`` of them, the time is over, or the space is searched through.

        ``first`` is the deadline of the default; ``monitor`` is told of the trials, and may end the search.
        """
        default, mark = {**defaults(self.model, self.space), **self.fixed}, time.monotonic()
        while (done := len(study.trials)) < trials and not self._searched_through(study.trials):
            if done and self._too_late(study.trials, deadline):
                break
            question = study.ask(default)
            question.parameters.update(self.fixed)
            try:
                result = self._judged(question, study, deadline if done or first is None else first)
            except Late:
                study.drop(question)
                break
            except BaseException:
                study.drop(question)
                raise
            now = time.monotonic()
            study.tell(question, replace(result, seconds=now - mark))
            mark = now
            if monitor is not None and monitor.progress(
                len(study.trials), _whole(trials), **self._best(study)
            ):
                break
        self.fits.forget()

    def _best(self, study: Study) -> dict[str, float]:
        known = [trial.value for trial in study.trials if trial.state == "complete"]
        sign = self.validation.better
        return {self.validation.metric: sign * max(sign * value for value in known)} if known else {}

    def _judged(self, question: Question, study: Study, deadline: Deadline) -> Trial:
        """Fit and ask; a point that was there before has the same figure."""
        for trial in study.trials:
            if trial.parameters == question.parameters and trial.state == "complete":
                return Trial(parameters=trial.parameters, state="complete", value=trial.value)
        given: dict[str, Any] = {"parameters": question.parameters}
        try:
            if why := self._refused(question.parameters):
                return Trial(**given, value=math.nan, state="failed", error=why)
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
            if isinstance(error, Late):
                raise
            self.fits.forget()
            words = str(error) if isinstance(error, RecsmithError) else f"{type(error).__name__}: {error}"
            return Trial(**{**given, "state": "failed", "value": math.nan, "error": words})

    def _refused(self, parameters: Mapping[str, Any]) -> str:
        """Why a point is not fitted: there is no memory for it, or it costs too much; empty where it is."""
        pipeline = make_pipeline(self.model, fallback=self.fallback, **parameters)
        expected = estimate.of_fit(pipeline.model, self.validation.folds[0].train.shape)
        if not expected.fits:
            free = expected.available_mb or 0.0
            return f"A fit needs about {expected.memory_mb:,.0f} MB and {free:,.0f} MB are free."
        return "" if self.costly is None else self.costly(parameters)

    def _too_late(self, trials: Sequence[Trial], deadline: Deadline) -> bool:
        """Whether the next trial would not end in time, going by the latest ones."""
        latest = [trial.seconds for trial in trials[-3:]]
        return time.monotonic() + 0.8 * max(latest) > deadline.at

    def _searched_through(self, trials: Sequence[Trial]) -> bool:
        """Whether nothing new comes any more."""
        if trials and not self.space:
            return True
        last = trials[-_REPEATS:]
        return len(last) == _REPEATS and all(t.fit_seconds + t.ask_seconds == 0 for t in last)


def _whole(trials: float) -> int:
    """Trials for a display; 0 where their number is not bounded."""
    return int(trials) if math.isfinite(trials) else 0
