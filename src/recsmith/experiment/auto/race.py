"""The race: every model of the registry on a small part of the log, then on all of it, then its parameters.

Cheap models run first. What would take too long or too much memory is left out beforehand, with the reason; what fails
is a line of the page. Each round is shorter in models and longer in time for each (successive halving: K. Jamieson,
A. Talwalkar, AISTATS 2016).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recsmith import estimate
from recsmith.errors import RecsmithError
from recsmith.evaluation.report import smaller_is_better
from recsmith.experiment.auto.clock import Clock, Slice
from recsmith.experiment.search import Search
from recsmith.experiment.space import WHEN_ASKED, fit_key, space_of
from recsmith.experiment.study import Study, Trial
from recsmith.experiment.train import make_pipeline
from recsmith.experiment.validation import Deadline, Fits, Late, Validation, steps
from recsmith.experiment.watch import Watch
from recsmith.models.registry import MODELS, model_class

RACED = 3  #: trials of each model in the race: one fit, asked with other half-lives too where there are times
_ROUNDS = ((6, 1 / 3), (4, 1 / 2), (3, 1.0))  # leaders of a round, and its share of the time left for tuning
_SLOWEST = 0.2  # of all the time: a fit is needed four times at least
_LOOK_SHARE = 0.25  # of all the time, for the first look
_RACE_SHARE = 0.5  # of all the time, until which a model that was not tried yet gets one fit
_PATIENCE = 0.1  # of all the time: what the defaults of a model may take, however little was expected
_HOPELESS = 0.5  # of the best figure on the sample: below it a model is not fitted on the whole log
_NEVER = ("blend",)  # made of the others, in the end


@dataclass(slots=True)
class Runner:
    """A model in the race and what is known of it."""

    model: str
    reason: str = ""  #: why it is out; empty while it runs
    expected: estimate.Estimate | None = None  #: of a fit with the defaults on the log raced on
    expected_ask: float = 0.0  #: seconds to ask all validation users
    slower: float = 1.0  #: seconds of a fit over what was expected, as measured
    sampled: float = math.nan  #: metric on the sample
    peak_mb: float | None = None  #: largest resident memory seen in its fits
    search: Search | None = None
    study: Study | None = None

    @property
    def trials(self) -> list[Trial]:
        """All that were judged, failed ones included."""
        return [] if self.study is None else self.study.trials

    @property
    def best(self) -> Trial | None:
        """The best complete trial."""
        known = [t for t in self.trials if t.state == "complete" and not math.isnan(t.value)]
        if self.search is None or not known:
            return None
        sign = self.search.validation.better
        return max(known, key=lambda trial: sign * trial.value)

    @property
    def seconds(self) -> float:
        """Expected seconds of a trial with the defaults."""
        return 0.0 if self.expected is None else self.expected.seconds * self.slower + self.expected_ask

    @property
    def fit_seconds(self) -> float:
        """Measured seconds of a fit with the best parameters, on one validation fold."""
        if self.search is None or self.best is None:
            return 0.0
        key = fit_key(self.model, self.best.parameters)
        spent = [t.fit_seconds for t in self.trials if fit_key(self.model, t.parameters) == key]
        return max(spent) / len(self.search.validation.folds)

    @property
    def ask_seconds(self) -> float:
        """Measured seconds of asking one validation user."""
        if self.search is None or self.best is None:
            return 0.0
        users = sum(len(fold.queries) for fold in self.search.validation.folds)
        return max((t.ask_seconds for t in self.trials if t.state == "complete"), default=0.0) / max(users, 1)


@dataclass(slots=True)
class Race:
    """All models on one validation."""

    validation: Validation
    metric: str
    clock: Clock
    seed: int
    watch: Watch
    runners: list[Runner] = field(default_factory=list)

    def enter(self) -> None:
        """Who can run: the right kind of model, its extra installed, memory and time for its fit."""
        data = self.validation.folds[0].train
        users = sum(len(fold.queries) for fold in self.validation.folds)
        for name in MODELS:
            if name in _NEVER:
                continue
            runner = Runner(name)
            self.runners.append(runner)
            try:
                wanted = "predict" if smaller_is_better(self.metric) else "score"
                if not hasattr(model_class(name), wanted):
                    runner.reason = (
                        "It predicts ratings only." if wanted == "score" else "It predicts no ratings."
                    )
                    continue
                pipeline = make_pipeline(name)
                runner.expected = estimate.of_fit(pipeline.model, data.shape)
                asked = estimate.recommend_cost(pipeline.model, data.shape, users, 10, pipeline.memory_mb)
                runner.expected_ask = estimate.of_cost(asked).seconds
                self._check(runner)
            except Exception as error:  # one model's failure is a line of the page, never the end of the run
                runner.reason = _words(error)

    def look(self, small: Validation | None, larger: Validation | None) -> None:
        """A look at every model on a ``small`` part of the users, for errors, and a ``larger`` one, for speed.

        The first use of a model compiles it: that is over with the small part, and not taken for slowness.
        """
        with self.watch("first look") as show:
            running = sorted(self.running(), key=lambda one: one.seconds)
            for number, runner in enumerate(running):
                for sample in (small, larger):
                    if (
                        sample is not None
                        and not runner.reason
                        and self.clock.gone < _LOOK_SHARE * self.clock.seconds
                    ):
                        self._look(runner, sample, measure=sample is larger)
                show.progress(number + 1, len(running))
        self._drop_the_hopeless()

    def run(self) -> None:
        """The defaults of every model, cheap ones first, each asked with other half-lives, too."""
        end = self.clock.start + _RACE_SHARE * self.clock.seconds
        for runner in sorted(self.running(), key=lambda one: (math.isnan(one.sampled), one.seconds)):
            self._check(runner)
            if not runner.reason and time.monotonic() + runner.seconds > end and self.leaders(1):
                runner.reason = f"No time was left: a trial takes about {_seconds(runner.seconds)}."
            if runner.reason:
                continue
            space = space_of(runner.model, self.validation.folds[0].train, self.metric)
            runner.search = Search(runner.model, self.validation, space, {}, "popular", self.seed)
            runner.study = runner.search.study()
            patience = max(5 * runner.seconds, _PATIENCE * self.clock.seconds)
            hard = Deadline(time.monotonic() + min(patience, 0.5 * self.clock.left))
            with self.watch(runner.model) as show:
                trials = RACED if WHEN_ASKED & set(space) else 1
                runner.search.run(runner.study, hard, trials=trials, first=hard, monitor=Slice(hard.at, show))
            self._after(runner)

    def tune(self, kept: Callable[[], float]) -> None:
        """The parameters of the leaders, in rounds; ``kept()`` is the seconds to be kept for the end."""
        for count, share in _ROUNDS:
            leaders = self.leaders(count)
            each = share * (self.clock.left - kept()) / max(len(leaders), 1)
            for runner in leaders:
                if runner.search is None or runner.study is None or self.clock.left - kept() < 0.2 * each:
                    continue
                runner.search.costly = self._costly(runner)
                hard = self.clock.deadline(kept())
                with self.watch(f"tune {runner.model}") as show:
                    runner.search.run(runner.study, hard, monitor=Slice(time.monotonic() + each, show))

    def running(self) -> list[Runner]:
        """Those that are not out."""
        return [runner for runner in self.runners if not runner.reason]

    def leaders(self, count: int) -> list[Runner]:
        """The best so far, best first; those far behind are none."""
        known = [(one.best.value, one) for one in self.runners if one.best is not None]
        known.sort(key=lambda pair: -self.validation.better * pair[0])
        return [one for value, one in known[:count] if not self._far(value, known[0][0])]

    def _far(self, value: float, best: float) -> bool:
        """Whether a figure is so far from the best that no parameter will make up for it."""
        return value < _HOPELESS * best if self.validation.better > 0 else value > best / 0.8

    def _check(self, runner: Runner) -> None:
        """Out with what is too large or too slow."""
        expected = runner.expected
        if expected is None:
            return
        if not expected.fits:
            free = expected.available_mb or 0.0
            runner.reason = (
                f"A fit needs about {expected.memory_mb:,.0f} MB of memory; {free:,.0f} MB are free."
            )
        elif runner.seconds > _SLOWEST * self.clock.seconds:
            runner.reason = (
                f"A trial takes about {_seconds(runner.seconds)}, more than a fifth of the time given; "
                "a choice, a test and a last fit need four of them."
            )

    def _look(self, runner: Runner, sample: Validation, measure: bool) -> None:
        """One fit on the sample."""
        fits = Fits(runner.model, sample, fallback="popular", seed=self.seed)
        shape = sample.folds[0].train.shape
        try:
            small = estimate.of_fit(make_pipeline(runner.model).model, shape)
            deadline, last = Deadline(time.monotonic() + _PATIENCE * self.clock.seconds), None
            for step in steps(fits, {}, deadline):
                last = step
            space = space_of(runner.model, sample.folds[0].train, self.metric)
            if not measure and "half_life" in space:  # what is compiled for other histories, too
                for _ in steps(fits, {"half_life": 10.0}, deadline):
                    pass
        except Late:  # it may have been compiled: the race will show
            return
        except Exception as error:
            runner.reason = _words(error)
            return
        if last is not None and measure:
            runner.sampled = last.value
            runner.slower = min(max(last.fit_seconds / max(small.seconds, 0.02), 0.3), 10.0)
            users = sum(len(fold.queries) for fold in sample.folds)
            scale = sum(len(fold.queries) for fold in self.validation.folds) / max(users, 1)
            scale *= self.validation.folds[0].train.n_items / max(shape.n_items, 1)
            runner.expected_ask = max(last.ask_seconds * scale, 0.0)

    def _drop_the_hopeless(self) -> None:
        """Out with what is far behind on the sample."""
        known = [one.sampled for one in self.running() if not math.isnan(one.sampled)]
        if not known:
            return
        best = max(known) if self.validation.better > 0 else min(known)
        for one in self.running():
            if self._far(one.sampled, best):
                one.reason = f"Far behind on a part of the users: {self.metric} {one.sampled:.4f}, the best {best:.4f}."

    def _after(self, runner: Runner) -> None:
        """What a run has shown of a model."""
        if runner.best is None:
            errors = [trial.error for trial in runner.trials if trial.error]
            runner.reason = (
                errors[0] if errors else "It was stopped: a fit took longer than there was time for."
            )
            return
        default = runner.trials[0]
        if runner.expected is not None and default.fit_seconds > 0.5:
            folds = len(self.validation.folds)
            runner.slower = default.fit_seconds / folds / max(runner.expected.seconds, 0.02)

    def _costly(self, runner: Runner) -> Callable[[Mapping[str, Any]], str]:
        """Points whose fit would take too much of the time."""

        def why(parameters: Mapping[str, Any]) -> str:
            pipeline = make_pipeline(runner.model, **parameters)
            expected = (
                estimate.of_fit(pipeline.model, self.validation.folds[0].train.shape).seconds * runner.slower
            )
            if expected <= _SLOWEST * self.clock.seconds:
                return ""
            return f"A fit would take about {_seconds(expected)}."

        return why


def close(runners: Sequence[Runner]) -> None:
    """Close the studies."""
    for runner in runners:
        if runner.study is not None:
            runner.study.__exit__()


def _seconds(value: float) -> str:
    return f"{value:,.0f} s" if value >= 10 else f"{value:.1f} s"


def _words(error: Exception) -> str:
    """An error in a line."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else ""
    return text if isinstance(error, RecsmithError) else f"{type(error).__name__}: {text}"
