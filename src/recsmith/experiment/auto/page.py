"""The page of a run: what was tried, what won, by how much, what was not tried and why, and what it took."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from recsmith.evaluation.report import smaller_is_better, written
from recsmith.experiment.auto.race import Runner
from recsmith.experiment.auto.run import Auto
from recsmith.experiment.auto.winner import Ending
from recsmith.version import __version__


def summary(found: Auto) -> str:
    """The result in a sentence or two."""
    ending, metric = found.ending, found.metric
    if not ending.lines:
        return f"{ending.winner} was chosen; there is no test figure, see the notes."
    first, rest = ending.lines[0], ending.lines[1:]
    words = f"{ending.winner}: {metric} {first.value:.4f} ({written(first.interval)}) on {ending.users:,} test users."
    singles = [line for line in rest if line.name != "popular"]
    if singles and ending.parts and ending.winner not in ending.parts:
        best = max(singles, key=lambda line: -line.value if smaller_is_better(metric) else line.value)
        words += (
            f" The best single model there, {best.name}: {best.value:.4f}, {_gap(best.difference, best)}."
        )
    popular = next((line for line in rest if line.name == "popular"), None)
    if popular is not None:
        words += f" The most popular items: {popular.value:.4f}."
    return words


def page(found: Auto, bundle: str) -> str:
    """Markdown."""
    ending, metric = found.ending, found.metric
    lines = [
        f"# The best recommender for {found.profile.name}",
        f"\n**{summary(found)}**\n",
        f"It is fitted on {_fitted_on(ending)} and stands in `{bundle}`:",
        f"`recsmith recommend {bundle} --all --out lists.parquet`.\n",
        "The recipe stands beside this page: `recsmith train --config recipe.yaml --data ... --out ...`.",
        "\n## The log\n",
        *(f"- {text}" for text in found.profile.words()),
        "\n## How it was judged\n",
        *(f"- {text}" for text in found.plan.notes),
        *(f"- {text}" for text in _silent_notes(found)),
        "\n## On the test part\n",
        *_test(ending, metric),
        "\n## What was tried\n",
        *_tried(found),
        *_blend(ending, metric),
        "\n## What was not tried, and why\n",
        *_left_out(found),
        *(["\n## Notes\n", *(f"- {text}" for text in ending.notes)] if ending.notes else []),
        "\n## Time and memory\n",
        *_spent(found),
        f"\nrecsmith {__version__}, seed {found.seed}.",
    ]
    return "\n".join(lines) + "\n"


def payload(found: Auto, bundle: str) -> dict[str, Any]:
    """Plain values for JSON."""
    ending = found.ending
    return {
        "winner": ending.winner,
        "summary": summary(found),
        "metric": found.metric,
        "seed": found.seed,
        "bundle": bundle,
        "recipe": ending.recipe.model_dump(mode="json"),
        "validation": None
        if found.race is None
        else {"split": found.race.validation.name, "value": ending.value},
        "data": found.profile.as_dict(),
        "test": {
            "split": None if found.plan.test is None else found.plan.test.name,
            "users": ending.users,
            "models": [_line(line) for line in ending.lines],
        },
        "blend": None
        if ending.blend is None
        else {
            "parts": list(ending.parts),
            "weights": ending.blend.weights.tolist(),
            "gain": list(ending.blend.gain),
            "used": ending.winner not in ending.parts,
        },
        "models": [_runner(runner) for runner in ([] if found.race is None else found.race.runners)],
        "notes": [*found.plan.notes, *ending.notes],
        "seconds": {"given": found.clock.seconds, "used": found.usage.seconds, **found.clock.phases},
        "peak_mb": found.usage.peak_mb,
    }


def _line(line: Any) -> dict[str, Any]:
    gap = None if line.difference_interval is None else list(line.difference_interval)
    return {
        "model": line.name, "value": line.value, "interval": list(line.interval), "difference": line.difference,
        "difference_interval": gap, "p": line.p,
    }  # fmt: skip


def _runner(runner: Runner) -> dict[str, Any]:
    best = runner.best
    return {
        "model": runner.model,
        "reason": runner.reason or None,
        "trials": len(runner.trials),
        "default": runner.trials[0].value if runner.trials else None,
        "best": None if best is None else best.value,
        "parameters": None if best is None else dict(best.parameters),
        "fit_seconds": runner.fit_seconds if best is not None else None,
        "expected": None if runner.expected is None else runner.expected.as_dict(),
    }


def _test(ending: Ending, metric: str) -> list[str]:
    if not ending.lines:
        return ["Nothing was asked: see the notes."]
    rows = [
        [
            line.name,
            f"{line.value:.4f}",
            written(line.interval),
            "" if line.difference_interval is None else f"{line.difference:+.4f}",
            "" if line.difference_interval is None else written(line.difference_interval),
            "" if line.p is None else f"{line.p:.4f}",
        ]
        for line in ending.lines
    ]
    head = ["model", metric, "95 %", "against the winner", "95 %, paired", "p (Holm)"]
    text = f"{ending.users:,} users, who had no part in any choice. Parameters as tuned on validation."
    return [text, "", *_table(head, rows)]


def _tried(found: Auto) -> list[str]:
    runners = [] if found.race is None else [one for one in found.race.runners if one.best is not None]
    if not runners:
        return ["Only the most popular items: nothing could be compared."]
    sign = 1 if smaller_is_better(found.metric) else -1
    rows = []
    for one in sorted(runners, key=lambda r: sign * r.best.value if r.best else math.inf):
        assert one.best is not None
        default = one.trials[0].value
        expected = one.expected.seconds if one.expected is not None else math.nan
        rows.append(
            [
                one.model,
                str(len(one.trials)),
                "" if math.isnan(default) else f"{default:.4f}",
                f"{one.best.value:.4f}",
                ", ".join(f"{name}={value}" for name, value in one.best.parameters.items()) or "none to tune",
                f"{one.fit_seconds:.2f}",
                f"{expected:.2f}",
            ]
        )
    head = ["model", "trials", "default", "best", "parameters", "fit s", "expected s"]
    text = f"{found.metric} on validation, best first."
    failed = sorted({f"- {r.model}: {t.error}" for r in runners for t in r.trials if t.error})
    return [text, "", *_table(head, rows), *(["\nTrials that failed:", *failed] if failed else [])]


def _blend(ending: Ending, metric: str) -> list[str]:
    learned = ending.blend
    if learned is None:
        return []
    pairs = zip(ending.parts, learned.weights, strict=True)
    weights = ", ".join(f"{name} {weight:.2f}" for name, weight in pairs if weight > 0)
    return [
        "\n## The blend\n",
        f"Weights: {weights}. On validation users whom the weights were not learned on, {metric} is "
        f"{learned.cross_value:.4f}, against the best single model by {written(learned.gain)}.",
    ]


def _left_out(found: Auto) -> list[str]:
    out = [] if found.race is None else [one for one in found.race.runners if one.best is None]
    return [f"- {one.model}: {one.reason or 'There was no time left.'}" for one in out] or [
        "- Everything was tried."
    ]


def _spent(found: Auto) -> list[str]:
    clock, usage = found.clock, found.usage
    phases = ", ".join(f"{name} {seconds:,.1f} s" for name, seconds in clock.phases.items())
    peak = "" if usage.peak_mb is None else f" Peak memory {usage.peak_mb:,.0f} MB."
    free = next(
        (one.expected.available_mb for one in (found.race.runners if found.race else []) if one.expected),
        None,
    )
    room = "" if free is None else f" {free:,.0f} MB were free in the beginning."
    return [f"{usage.seconds:,.0f} s of {clock.seconds:,.0f} s given: {phases}.{peak}{room}"]


def _silent_notes(found: Auto) -> list[str]:
    """What the cut says of itself that a reader must know."""
    if found.plan.test is None:
        return []
    return [
        note
        for note in found.plan.test.notes
        if note.startswith(("Judged", "The log has no times")) or "%" in note
    ]


def _fitted_on(ending: Ending) -> str:
    data = None if ending.bundle is None else ending.bundle.data
    return "nothing" if data is None else f"{len(data):,} events of {data.n_users:,} users"


def _gap(difference: float, line: Any) -> str:
    inside = (
        line.difference_interval is not None
        and line.difference_interval[0] <= 0 <= line.difference_interval[1]
    )
    return "no difference shown" if inside else f"{difference:+.4f} from the winner"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    shown: list[Sequence[str]] = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in shown]
