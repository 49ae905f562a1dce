"""The winner: the best single model, a mix of the leaders, or what is the same for everybody; by validation alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from recsmith import estimate
from recsmith.bundle import Bundle
from recsmith.data.split import Split
from recsmith.errors import RecsmithError
from recsmith.evaluation.report import smaller_is_better
from recsmith.evaluation.significance import Interval, Sample, intervals
from recsmith.experiment.auto.race import Race, Runner
from recsmith.experiment.blend import Learned, learn_weights, mix
from recsmith.experiment.recipe import Recipe
from recsmith.experiment.validation import Fits, Late, steps, together
from recsmith.experiment.watch import Watch
from recsmith.models.blend import BlendConfig
from recsmith.models.registry import model_class, name_of
from recsmith.protocols import Evidence, Monitor
from recsmith.recommend import Pipeline

PARTS = 6  #: most models that a blend is made from
_BLEND_USERS = 4_000
MIXED = 1e-8  #: seconds for a score of one part of a blend
GROWS = 1.3  #: a fit on train over one on validation's train part, and so on
_RESERVED = 0.4  # of all the time, at most, for the end
_ASKING = 0.1  # of all the time: what asking the test part may take; of more users a random part is asked
_SHOWN = 2.0  # standard errors by which the best of all must be ahead of what is the same for everybody
_NEAR = 0.1  # of the best figure: further behind, nobody asks whether that is chance
_WORTH = 1.0  # standard errors by which a blend must be ahead of the best single model


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One model on the test part."""

    name: str
    value: float
    interval: Interval
    difference: float = 0.0  #: minus the winner, on the same users
    difference_interval: Interval | None = None  #: None for the winner itself
    p: float | None = None  #: paired, Holm's correction


@dataclass(slots=True)
class Ending:
    """What the last phases found."""

    winner: str = "popular"
    recipe: Recipe = field(default_factory=lambda: Recipe(model="popular", fallback=None))
    value: float = math.nan  #: of the winner on validation
    blend: Learned | None = None
    parts: tuple[str, ...] = ()  #: models whose mix was learned, in the order of the weights
    lines: tuple[Line, ...] = ()  #: on test, the winner first
    users: int = 0  #: who were asked on test
    bundle: Bundle | None = None
    notes: list[str] = field(default_factory=list)


def reserve(race: Race, plan_test: Split | None, refit: bool) -> tuple[float, int]:
    """Seconds to be kept for the end, and for how many leaders.

    Each is fitted on validation's train part for the blend, on train for the test, and the winner on everything.
    """
    leaders = race.leaders(PARTS)
    total = race.clock.seconds
    floor = min(2.0 + 0.03 * total, 0.15 * total)
    blends = not smaller_is_better(race.metric)
    asked = 0 if plan_test is None else len(plan_test.queries)
    items = race.validation.folds[0].train.n_items
    blended = min(_BLEND_USERS, len(race.validation.folds[0].queries))
    for count in range(len(leaders), 0, -1):
        some = leaders[:count]
        fits = sum(one.fit_seconds for one in some)
        asks = sum(one.ask_seconds for one in some)
        needed = fits * GROWS * (1 + (GROWS if refit else 0)) + min(asks * asked, _ASKING * total)
        if count > 1 and blends:
            needed += (
                fits + asks * blended * 2 + min(MIXED * count * items * (asked + blended), _ASKING * total)
            )
        if floor + 1.2 * needed <= _RESERVED * total or count == 1:
            return floor + 1.2 * needed, count
    return floor, 1


def choose_winner(race: Race, count: int, ending: Ending, watch: Watch) -> None:
    """Choose the winner: the best single model, or a mix that is ahead of it on users it was not learned on."""
    leaders = race.leaders(count)
    if not leaders:
        return
    best = _not_by_chance(race, leaders, ending)
    assert best.best is not None
    ending.winner, ending.value, ending.recipe = best.model, best.best.value, recipe_of(best)
    if smaller_is_better(race.metric) or len(leaders) < 2 or best is not leaders[0]:
        return
    try:
        with watch("blend") as show:
            leaders, fitted = _fitted(race, leaders, show)
            learned = learn_weights(
                fitted, race.validation.folds[0], race.metric, users=_BLEND_USERS, seed=race.seed
            )
    except Late:
        ending.notes.append("There was no time left to blend the leaders.")
        return
    except (RecsmithError, MemoryError, LookupError, ValueError, FloatingPointError) as error:
        ending.notes.append(f"The leaders could not be blended: {error}")
        return
    ending.blend, ending.parts = learned, tuple(one.model for one in leaders)
    gain, spread = sum(learned.gain) / 2, (learned.gain.high - learned.gain.low) / 3.92
    if not gain > _WORTH * spread or (learned.weights > 0).sum() < 2:
        ending.notes.append(
            f"The blend is not used: on users that its weights were not learned on it is {gain:+.4f} from the best "
            f"single model, and one standard error is {spread:.4f}."
        )
        return
    mixed = mix(fitted, learned.weights)
    assert isinstance(mixed.model.config, BlendConfig)
    ending.winner = "blend of " + ", ".join(
        one.model for one, weight in zip(leaders, learned.weights, strict=True) if weight > 0
    )
    ending.value = learned.cross_value
    ending.recipe = Recipe(
        model=name_of(mixed.model),
        parameters={
            "parts": [
                part.model_dump(mode="json", exclude_defaults=True) for part in mixed.model.config.parts
            ],
        },
    )


def _not_by_chance(race: Race, leaders: Sequence[Runner], ending: Ending) -> Runner:
    """The best leader; a model that knows no taste where the best is not shown to be ahead of it.

    The best of many models, each with many parameters, is ahead on validation by chance alone. Where what is the
    same for everybody does as well, within two standard errors, it is the answer.
    """
    best = leaders[0]
    plain = next((one for one in leaders if model_class(one.model).needs is Evidence.NOTHING), None)
    if plain is None or plain is best or best.best is None or plain.best is None:
        return best
    if abs(best.best.value - plain.best.value) > _NEAR * abs(best.best.value):
        return best
    try:
        samples = {one.model: _on_validation(race, one) for one in (best, plain)}
    except (Late, RecsmithError, MemoryError):
        return best
    low, high = intervals(samples, against=plain.model, seed=race.seed)[best.model]
    spread = (high - low) / 3.92 * math.sqrt(len(race.validation.folds))  # the same users in every fold
    if race.validation.better * (low + high) / 2 > _SHOWN * spread:
        return best
    ending.notes.append(
        f"{best.model} is the best on validation, but not by two standard errors ahead of {plain.model}, "
        "which needs to know nothing of a user: that is chosen."
    )
    return plain


def _on_validation(race: Race, runner: Runner) -> Sample:
    """The figure of a model's best parameters for each validation user."""
    fits = Fits(runner.model, race.validation, fallback="popular", seed=race.seed)
    assert runner.best is not None
    *_, last = steps(fits, runner.best.parameters, race.clock.deadline(0.5 * reserve(race, None, True)[0]))
    return together(last.samples)


def _fitted(race: Race, leaders: Sequence[Runner], show: Monitor) -> tuple[list[Runner], list[Pipeline]]:
    """The leaders on the train part of validation, all in memory together: those that there is room for."""
    train = race.validation.folds[0].train
    deadline = race.clock.deadline(0.5 * reserve(race, None, True)[0])
    kept, fitted = [], []
    for number, one in enumerate(leaders):
        pipeline = recipe_of(one).pipeline()
        if estimate.of_fit(pipeline.model, train.shape).fits:
            fitted.append(pipeline.fit(train, rng=race.seed, monitor=deadline))
            kept.append(one)
        deadline.check()
        show.progress(number + 1, len(leaders))
    return kept, fitted


def recipe_of(runner: Runner) -> Recipe:
    """The best parameters of a model."""
    assert runner.best is not None
    parameters: dict[str, Any] = dict(runner.best.parameters)
    return Recipe(model=runner.model, parameters=parameters)
