"""The first and the last sections: in short, what the numbers do not say, and how they were made."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from recsmith.evaluation.limits import limits as limits_of
from recsmith.evaluation.report import written
from recsmith.report.html import Html, Section, bullets, command, heading, join, paragraph, table, tag
from recsmith.report.inputs import HOW_AB, HOW_AUDIT, Inputs
from recsmith.report.pictures import missing
from recsmith.tables import Table


def in_short(inputs: Inputs, found: Sequence[str], left_out: Sequence[Html]) -> Section:
    """What a hurried reader must know: of the runs, what else was ``found``, and which parts were not given."""
    best, metric = inputs.best.report, inputs.metric
    figure = f"{best.means[metric]:.4f} ({written(best.intervals[metric])})"
    said: list[str | Html] = [
        f"{best.model} has the best {metric}: {figure}, for {len(best):,} users of {best.split}."
    ]
    if inputs.tests is not None:
        said.append(_verdicts(inputs))
    if inputs.apart:
        said.append(f"{', '.join(inputs.apart)} answered other questions and stand apart.")
    said += found
    if best.leakage:
        link = tag("a", "the leakage check", href="#limits")
        said.append(join(["The split gives something away: see ", link, "."]))
    return Section("in-short", "In short", [bullets(said), *left_out])


def _verdicts(inputs: Inputs) -> str:
    """What the paired tests against the best say."""
    rows = inputs.tests.rows if inputs.tests is not None else ()
    worse = [row.model for row in rows if row.verdict == "worse"]
    alike = [row.model for row in rows if row.verdict == "no difference shown"]
    said = [f"better than {', '.join(worse)}"] if worse else []
    said += [f"no difference is shown from {', '.join(alike)}"] if alike else []
    return (
        f"On the same users, paired: {inputs.best.label} is {'; '.join(said)}."
        if worse
        else f"On the same users, paired: {'; '.join(said)}."
    )


def not_given(inputs: Inputs, maps: Html | None) -> list[Html]:
    """A line for each part without input: how to get it."""
    lines = []
    if inputs.audit is None:
        how = join(["make them with ", command(HOW_AUDIT), " and give ", command("--audit FOLDER"), "."])
        lines.append(missing("Not given, cold start, fairness and robustness", how))
    if inputs.ab is None:
        how = join(["save the result of ", command(HOW_AB), " and give ", command("--ab ab.json"), "."])
        lines.append(missing("Not given, an experiment with users", how))
    if maps is not None:
        lines.append(missing("No map of the items", maps))
    return lines


def limits(inputs: Inputs) -> Section:
    """The leakage check, and what cannot be concluded."""
    report = inputs.best.report
    found = list(report.leakage)
    if inputs.split is not None:
        said, of = list(limits_of(report, inputs.split)), f"Of {report.model} on {report.split}."
    elif inputs.audit is not None and not inputs.foreign_audit:
        said, of = list(inputs.audit["limits"]), "Of the audit's best model on the audit's split."
    else:
        said, of = [], f"{inputs.why_no_log} So the limits of the split cannot be told."
    parts = [
        heading("Leakage check"),
        bullets(found) if found else paragraph("Nothing was found."),
        heading("What the numbers do not say"),
        paragraph(of),
        bullets(said),
    ]
    return Section("limits", "Leakage and limits", parts)


def made(inputs: Inputs) -> Section:
    """Where the figures come from: enough to make them again."""
    runs = [*inputs.runs, *(run for run, _ in inputs.apart.values())]
    rows: list[tuple[Any, ...]] = [
        (
            run.label,
            str(run.values.get("model")),
            str(run.values.get("split")),
            str(run.values.get("seed")),
            _moment(run.environment.get("started")),
            _commit(run.environment.get("git")),
            f"{run.took['seconds']:.1f}",
        )
        for run in runs
    ]
    every = ("run", "model", "split", "seed", "started", "commit", "seconds")
    filled = [n for n in range(len(every)) if any(row[n] for row in rows)]
    columns, rows = [every[n] for n in filled], [tuple(row[n] for n in filled) for row in rows]
    about = inputs.best.environment
    words = f"Python {about.get('python')} on {about.get('platform')}, {about.get('threads')} thread(s)."
    parts = [table(Table("Runs", columns, rows, numbers=("seconds",))), paragraph(words)]
    parts.append(
        paragraph(
            "Each run's folder holds the file with every value: ",
            command("recsmith run experiment.yaml"),
            " does it again.",
        )
    )
    return Section("made", "How this was made", parts)


def _moment(text: Any) -> str:
    """``2026-01-31 12:00 UTC``."""
    try:
        return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except (TypeError, ValueError):
        return ""


def _commit(git: Any) -> str:
    if not git:
        return ""
    return f"{git['commit'][:10]}{' and changes' if git.get('dirty') else ''}"
