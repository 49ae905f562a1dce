"""``auto``: from a log and some minutes to the model that is best for it, and a page that says why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recsmith.data.dataset import Dataset
from recsmith.data.split import Split
from recsmith.data.split_by_name import Splitter
from recsmith.errors import DataError, ParameterError
from recsmith.evaluation.metrics import ranking
from recsmith.evaluation.report import smaller_is_better
from recsmith.experiment.auto.clock import Clock
from recsmith.experiment.auto.finish import judge, refit
from recsmith.experiment.auto.profile import Plan, Profile, plan, protocol, sample_of_users
from recsmith.experiment.auto.race import Race, close
from recsmith.experiment.auto.winner import Ending, choose_winner, reserve
from recsmith.experiment.validation import Validation
from recsmith.experiment.watch import Watch, silent
from recsmith.resources import Usage, measure

_LOOK = 2_000  # events of the first look, at errors
_SAMPLES = (
    8_000,
    50_000,
)  # events of the second one, at speed and promise: a fifth of the log within these bounds


@dataclass(slots=True, kw_only=True)
class Auto:
    """Everything that a run found."""

    profile: Profile
    plan: Plan
    metric: str
    seed: int
    clock: Clock
    race: Race | None  #: None where nothing could be validated
    ending: Ending
    usage: Usage


def auto(
    data: Dataset | None,
    *,
    minutes: float,
    metric: str = "ndcg@10",
    splitter: Splitter | None = None,
    test: Split | None = None,
    seed: int = 0,
    watch: Watch | None = None,
) -> Auto:
    """Find the best model for a log within some minutes.

    Parameters
    ----------
    data
        The whole log: test is cut from it, and the winner is fitted on all of it in the end. None: ``test`` is given.
    minutes
        For everything; at least one fit of the cheapest models is made however few they are.
    metric
        What is to be best: ``"ndcg@10"`` and the like, or ``"rmse"``, ``"mae"``.
    splitter
        The protocol; None: each user's last events, or random ones where there are no times.
    test
        A split that is given, such as ``fixed(train, test)``: its train part is all that is learned from.
    seed
        Of all splits, searches and fits.
    watch
        Opens a progress display for a label.

    Raises
    ------
    ParameterError
        An unknown metric, no time, or neither log nor test.
    DataError
        An empty log, or a rating metric on a log without ratings.
    """
    if not minutes > 0:
        raise ParameterError.of("auto", "minutes", "> 0", minutes)
    if not smaller_is_better(metric):
        ranking.parse(metric)
    known = data if data is not None else None if test is None else test.train
    if known is None or not len(known):
        raise DataError("auto has no event to learn from. Give it a log, or a split.")
    show = watch or silent
    clock = Clock(60 * minutes)
    with measure() as usage:
        profile = Profile.of(known)
        made = plan(data, test, splitter, profile, metric, seed)
        clock.ends("cut")
        race, ending = None, Ending()
        if made.validation is not None:
            race = Race(made.validation, metric, clock, seed, show)
            _race(race, made, splitter or protocol(profile), data is not None)
        try:
            _finish(race, made, data, ending, clock, metric, seed, show)
        finally:
            if race is not None:
                close(race.runners)
    return Auto(
        profile=profile,
        plan=made,
        metric=metric,
        seed=seed,
        clock=clock,
        race=race,
        ending=ending,
        usage=usage,
    )


def _race(race: Race, made: Plan, way: Splitter, refits: bool) -> None:
    """First look, defaults, parameters."""
    train = race.validation.folds[0].train
    race.enter()
    larger = min(max(len(train) // 5, _SAMPLES[0]), _SAMPLES[1])
    race.look(*(_sample(race, way, train, events) for events in (_LOOK, larger)))
    race.clock.ends("first look")
    race.run()
    race.clock.ends("race")
    race.tune(lambda: reserve(race, made.test, refits)[0])
    race.clock.ends("tune")


def _sample(race: Race, way: Splitter, train: Dataset, events: int) -> Validation | None:
    """A validation of a small part of the users; None where the log is not much larger, or that is too little."""
    if len(train) <= 3 * events:
        return None
    try:
        rest = sample_of_users(train, events, race.seed)
        return Validation.of(way.split(rest)[:1], race.metric, seed=race.seed, most=500)
    except DataError:
        return None


def _finish(
    race: Race | None, made: Plan, data: Dataset | None, ending: Ending, clock: Clock, metric: str, seed: int,
    show: Watch,
) -> None:  # fmt: skip
    """Blend, test, last fit."""
    fitted: dict[str, Any] = {}
    if race is not None:
        _, count = reserve(race, made.test, data is not None)
        choose_winner(race, count, ending, show)
        clock.ends("blend")
        if made.test is not None and race.leaders(1):
            last = sum(one.fit_seconds for one in race.leaders(count)) * 1.7 if data is not None else 0.0
            fitted = judge(race, made.test, count, ending, show, last + 0.02 * clock.seconds)
            clock.ends("test")
    refit(ending, data, made.test, fitted, race, clock, seed, show, metric)
    clock.ends("last fit")
