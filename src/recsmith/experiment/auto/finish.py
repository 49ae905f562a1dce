"""The end of a run: ask the test part once, and fit the winner on the whole log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recsmith.bundle import Bundle
from recsmith.data.dataset import Dataset
from recsmith.data.split import Split
from recsmith.errors import RecsmithError
from recsmith.evaluation.report import smaller_is_better
from recsmith.evaluation.significance import Sample, holm, intervals, paired_p
from recsmith.experiment.auto.clock import Clock
from recsmith.experiment.auto.race import Race, Runner
from recsmith.experiment.auto.winner import GROWS, MIXED, Ending, Line, recipe_of
from recsmith.experiment.blend import mix
from recsmith.experiment.recipe import Recipe
from recsmith.experiment.train import as_bundle
from recsmith.experiment.validation import Late, Validation, ask, together
from recsmith.experiment.watch import Watch
from recsmith.models.registry import name_of
from recsmith.recommend import Pipeline

_TESTED = 4  # leaders that are asked on test besides what the blend is made of
_FEWEST_USERS = 1_000  # of the test part, who are asked however little time there is
_OVER = 0.08  # of all the time: what the end may take more, rather than give no answer


def judge(
    race: Race, test: Split, count: int, ending: Ending, watch: Watch, kept: float
) -> dict[str, Pipeline]:
    """Ask the test part of the winner, the leaders and popular; returns what was fitted, by name."""
    parts = _parts(race, test, count, ending, kept)
    fitted: dict[str, Pipeline] = {}
    samples: dict[str, list[Sample]] = {}
    untested = []
    weights = _weights(race.leaders(count), ending)
    for name, recipe in _asked(race, count, ending, weights):
        surely = name in (ending.winner, "popular")
        deadline = race.clock.deadline(-_OVER * race.clock.seconds if surely else kept)
        with watch(f"test {name}") as show:
            try:
                if recipe is None:
                    fitted[name] = mix([fitted[part] for part in weights], list(weights.values()))
                else:
                    deadline.check()
                    fitted[name] = recipe.pipeline().fit(test.train, rng=race.seed, monitor=deadline)
                for sample, _ in ask(fitted[name], parts, race.metric, deadline):
                    samples.setdefault(name, []).append(sample)
                    show.progress(len(samples[name]), len(parts))
                if name not in (*weights, ending.winner):
                    del fitted[name]  # its memory is needed
            except Late:
                untested.append(name)
            except (RecsmithError, MemoryError, LookupError, ValueError, FloatingPointError) as error:
                samples.pop(name, None)
                ending.notes.append(f"{name} on test: {error}")
    if untested:
        ending.notes.append(f"There was no time left to ask all of the test part of {', '.join(untested)}.")
    _compare(samples, ending, race)
    return fitted


def _parts(race: Race, test: Split, count: int, ending: Ending, kept: float) -> tuple[Split, ...]:
    """The users of the test part, or as many of them, drawn at random, as there is time to ask."""
    leaders = race.leaders(count)
    each = sum(one.ask_seconds for one in leaders) + MIXED * len(leaders) * test.train.n_items
    spare = race.clock.left - kept - GROWS * sum(one.fit_seconds for one in leaders)
    most = max(int(0.8 * spare / max(each, 1e-9)), _FEWEST_USERS)
    if most < len(test.queries):
        ending.notes.append(
            f"Of {len(test.queries):,} test users {most:,} were asked, drawn at random: time is short."
        )
    return Validation.of(test, race.metric, seed=race.seed, most=most).parts[0]


def _asked(
    race: Race, count: int, ending: Ending, weights: Mapping[str, float]
) -> list[tuple[str, Recipe | None]]:
    """Who is asked, in order: what the winner needs, the winner (None: a mix), popular, the other leaders."""
    leaders = [(one.model, recipe_of(one)) for one in race.leaders(count)]
    leaders = [pair for n, pair in enumerate(leaders) if n < _TESTED or pair[0] in weights]
    first: list[tuple[str, Recipe | None]] = [
        pair for pair in leaders if pair[0] in (*weights, ending.winner)
    ]
    if weights:
        first.append((ending.winner, None))
    if not smaller_is_better(race.metric) and ending.winner != "popular" and "popular" not in dict(leaders):
        first.append(("popular", Recipe(model="popular", fallback=None)))
    return [*first, *(pair for pair in leaders if pair not in first)]


def refit(
    ending: Ending, whole: Dataset | None, test: Split | None, fitted: Mapping[str, Pipeline], race: Race | None,
    clock: Clock, seed: int, watch: Watch, metric: str,
) -> None:  # fmt: skip
    """The bundle: the winner on the whole log, or what was fitted on train where there is no other log, or no time."""
    kept = fitted.get(ending.winner)
    needed = 0.0
    if race is not None:
        models = (
            ending.parts
            if ending.blend is not None and ending.winner not in ending.parts
            else (ending.winner,)
        )
        needed = sum(one.fit_seconds for one in race.runners if one.model in models) * GROWS**2
    if (
        kept is not None
        and test is not None
        and (whole is None or needed > clock.left + _OVER * clock.seconds)
    ):
        if whole is not None:
            ending.notes.append(
                "There was no time left to fit the winner on the whole log: the bundle knows train."
            )
        data = test.train
        fallback = None if kept.fallback is None else name_of(kept.fallback)
        bundle = Bundle(
            model_name=name_of(kept.model),
            pipeline=kept,
            data=data,
            fallback_name=fallback,
            info={"seed": seed},
        )
    else:
        learned_from = whole if whole is not None else None if test is None else test.train
        assert learned_from is not None
        with watch(f"{ending.winner} on the whole log") as show:
            bundle = as_bundle(ending.recipe.pipeline(), learned_from, seed=seed, monitor=show)
    if ending.lines and test is not None:
        first = ending.lines[0]
        figures = {metric: {"mean": first.value, "interval": list(first.interval)}}
        bundle = bundle.with_info(metrics={"split": test.name, "figures": figures})
    ending.bundle = bundle


def _weights(leaders: Sequence[Runner], ending: Ending) -> dict[str, float]:
    """Weight of each part where the winner is a blend."""
    if ending.blend is None or ending.winner in ending.parts:
        return {}
    pairs = zip(ending.parts, ending.blend.weights, strict=True)
    names = {one.model for one in leaders}
    return {name: float(weight) for name, weight in pairs if weight > 0 and name in names}


def _compare(samples: Mapping[str, Sequence[Sample]], ending: Ending, race: Race) -> None:
    """Figures on the users that all were asked, with paired intervals against the winner."""
    asked = {name: parts for name, parts in samples.items() if parts}
    if ending.winner not in asked:
        return
    least = min(len(parts) for parts in asked.values())
    whole = {name: together(parts[:least]) for name, parts in asked.items()}
    ending.users = int((whole[ending.winner].count > 0).sum())
    bounds = intervals(whole, seed=race.seed)
    gaps = intervals(whole, against=ending.winner, seed=race.seed)
    others = [name for name in whole if name != ending.winner]
    p = holm([paired_p(whole[name], whole[ending.winner], seed=race.seed) for name in others])
    best = whole[ending.winner].estimate()
    lines = [Line(name=ending.winner, value=best, interval=bounds[ending.winner])]
    for name, value in sorted(
        zip(others, p, strict=True), key=lambda pair: -race.validation.better * whole[pair[0]].estimate()
    ):
        figure = whole[name].estimate()
        lines.append(
            Line(
                name=name,
                value=figure,
                interval=bounds[name],
                difference=figure - best,
                difference_interval=gaps[name],
                p=value,
            )
        )
    ending.lines = tuple(lines)
