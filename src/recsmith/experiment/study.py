"""An Optuna study that repeats: each point depends on the seed, its number and the points before it, and nothing else.

So a study that was stopped and goes on gives what one without a stop gives. What a stop left unfinished is marked and
never looked at again.
"""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from recsmith.errors import DataError, MissingExtraError
from recsmith.experiment.space import WHEN_ASKED, Space

try:
    import optuna
    from optuna.storages import InMemoryStorage, RDBStorage
    from optuna.trial import TrialState
except ModuleNotFoundError as error:
    raise MissingExtraError.of("Tuning", "tune") from error

_STARTUP = 8  # points drawn at random before the first model of the space
_ASKED = 3  # points of each fit: one that is new, and others that only ask otherwise
_SAID = "recsmith"  # name of the attribute of a trial
State = Literal["complete", "pruned", "failed"]
_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One point and what it gave."""

    parameters: Mapping[str, Any]
    state: State
    value: float  #: the metric; of a pruned one, what was known when it was stopped; NaN of a failed one
    fit_seconds: float = 0.0  #: 0 where the fit of an earlier trial served
    ask_seconds: float = 0.0
    seconds: float = 0.0  #: wall clock, the search's own work included
    error: str = ""  #: of a failed one


class Study:
    """The points of one search, in memory or in a SQLite file that may hold many."""

    def __init__(
        self, name: str, space: Space, *, maximize: bool, seed: int, path: Path | None = None
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space, self.seed = space, seed
        self._storage = InMemoryStorage() if path is None else _sqlite(path)
        self._study = optuna.create_study(
            study_name=name,
            storage=self._storage,
            direction="maximize" if maximize else "minimize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_min_trials=3),
        )
        self._finished = [t for t in self._study.get_trials(deepcopy=False) if _whole(t)]

    def __enter__(self) -> Study:
        return self

    def __exit__(self, *_: object) -> None:
        if isinstance(self._storage, RDBStorage):
            self._storage.remove_session()
            self._storage.engine.dispose()

    @property
    def trials(self) -> list[Trial]:
        """All that are finished, in order."""
        return [_trial(frozen) for frozen in self._finished]

    def ask(self, first: Mapping[str, Any], *, apart: frozenset[str] = WHEN_ASKED) -> Question:
        """The next point: ``first`` (parameters) if it is the first, else what the sampler says.

        Two of three points differ from the one before them only in the parameters ``apart``.
        """
        number = len(self._finished)
        fixed: dict[str, Any] = {}
        base = self._finished[number - number % _ASKED] if number % _ASKED else None
        if number == 0:
            fixed = {name: dimension.drawn(first[name]) for name, dimension in self.space.items()}
        elif base is not None and _trial(base).state != "failed" and apart & set(self.space):
            fixed = {name: value for name, value in base.params.items() if name not in apart}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
            sampler: Any = optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=_STARTUP, multivariate=True, constant_liar=False
            )
            self._study.sampler = optuna.samplers.PartialFixedSampler(fixed, sampler)
            trial = self._study.ask({name: _distribution(d) for name, d in self.space.items()})
        drawn = {name: dimension.value(trial.params[name]) for name, dimension in self.space.items()}
        return Question(trial, dict(first) if number == 0 else drawn)

    def tell(self, question: Question, result: Trial) -> None:
        """Store what a point gave."""
        trial = question.trial
        said = {
            "parameters": dict(result.parameters),
            "state": result.state,
            "seconds": [result.fit_seconds, result.ask_seconds, result.seconds],
            "error": result.error,
        }
        trial.set_user_attr(_SAID, said)
        value = result.value if result.state == "complete" else None
        self._study.tell(trial, value, state=_STATES[result.state])
        self._finished.append(self._study.get_trials(deepcopy=False)[trial.number])

    def drop(self, question: Question) -> None:
        """Mark a point that a stop left unfinished; the next ``ask`` gives it again."""
        self._study.tell(question.trial, state=TrialState.FAIL, skip_if_finished=True)


@dataclass(frozen=True, slots=True)
class Question:
    """A point to be judged."""

    trial: Any
    parameters: dict[str, Any]

    def prune(self, value: float, step: int) -> bool:
        """Report a figure on the way; whether the point is so much worse than the others that it is not worth more."""
        self.trial.report(value, step)
        return bool(self.trial.should_prune())


def _sqlite(path: Path) -> RDBStorage:
    """The storage of a file; it is made with its folder where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=60, check_same_thread=False)
        # whole after any stop, without a wait for the disk each time
        connection.execute("pragma journal_mode=wal")
        connection.execute("pragma synchronous=normal")
        return connection

    try:
        return RDBStorage(f"sqlite:///{path.absolute()}", engine_kwargs={"creator": connect})
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{path} is not a study that can be used: {first} Choose another file.") from error


def _distribution(dimension: Any) -> Any:
    if dimension.kind == "choice":
        return optuna.distributions.CategoricalDistribution(dimension.choices)
    if dimension.kind == "int":
        return optuna.distributions.IntDistribution(int(dimension.low), int(dimension.top), log=dimension.log)
    return optuna.distributions.FloatDistribution(dimension.low, dimension.top, log=dimension.log)


def _whole(frozen: Any) -> bool:
    """Whether the point was judged to its end: no stop, not even a kill, came between."""
    return _SAID in frozen.user_attrs and bool(_STATES[frozen.user_attrs[_SAID]["state"]] == frozen.state)


def _trial(frozen: Any) -> Trial:
    said = frozen.user_attrs[_SAID]
    value = float("nan")
    if said["state"] == "complete":
        value = frozen.value
    elif said["state"] == "pruned" and frozen.intermediate_values:
        value = frozen.intermediate_values[max(frozen.intermediate_values)]
    return Trial(
        parameters=said["parameters"],
        state=said["state"],
        value=value,
        fit_seconds=said["seconds"][0],
        ask_seconds=said["seconds"][1],
        seconds=said["seconds"][2],
        error=said["error"],
    )
