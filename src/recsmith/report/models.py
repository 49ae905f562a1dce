"""The section on models: who is best, whether that is more than chance, and what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from recsmith.errors import ParameterError
from recsmith.evaluation.report import Report, written
from recsmith.experiment.compare import RunsCompared
from recsmith.plots import models as plots
from recsmith.report.html import Html, Section, folded, gallery, paragraph, table
from recsmith.report.inputs import Inputs
from recsmith.report.pictures import Pictures
from recsmith.tables import Table

_MOST_COLUMNS = 6  # metrics of the table that is open


def models(inputs: Inputs, pictures: Pictures) -> Section:
    """Leaderboard, paired tests, time and variety; runs on other questions stand apart."""
    parts = [
        paragraph(
            f"{len(inputs.runs)} {'run' if len(inputs.runs) == 1 else 'runs'} on {inputs.best.report.split}, "
            f"{len(inputs.best.report):,} users. Intervals hold the luck of the users: 95 %, by bootstrap."
        ),
        gallery(_drawn(inputs, pictures)),
        table(_figures(inputs.reports, _main(inputs))),
    ]
    if inputs.tests is not None:
        parts.append(table(inputs.tests.__rich__()))
    others = [name for name in _common(inputs.reports) if name not in _main(inputs)]
    if others:
        parts.append(folded("All other metrics", *_in_tables(inputs.reports, others)))
    if any(report.beyond or report.seconds for report in inputs.reports):
        parts.append(folded("Beyond accuracy, time and memory", table(_beyond(inputs.reports))))
    return Section("models", "Models", [*parts, *_apart(inputs)])


def _drawn(inputs: Inputs, pictures: Pictures) -> list[Html]:
    reports, metric = inputs.reports, inputs.metric
    told = "; ".join(f"{r.model} {r.means[metric]:.4f} ({written(r.intervals[metric])})" for r in reports)
    shown = [
        pictures.show(
            "leaderboard",
            plots.leaderboard(reports, metric),
            f"{metric} of each model with its interval, best first: {told}.",
            "Intervals that overlap may still differ: the paired test below says whether.",
        )
    ]
    for name, draw, alt, caption in (
        ("time", plots.accuracy_time, "against the seconds of the fit and of the lists",
         "Wall clock on the machine of the runs."),
        ("variety", plots.trade_off, "against diversity, novelty and coverage",
         "Novelty: mean surprise of an item, by its popularity in train."),
    ):  # fmt: skip
        try:
            figure = draw(reports, metric)
        except ParameterError:  # runs that predict ratings tell no variety
            continue
        shown.append(
            pictures.show(
                name, figure, f"{metric} of each model {alt}; the table holds the figures.", caption
            )
        )
    return shown


def _main(inputs: Inputs) -> list[str]:
    """The metric that decides, and those of the same cut-off."""
    cut = inputs.metric.partition("@")[2]
    near = [name for name in _common(inputs.reports) if name.partition("@")[2] == cut]
    return list(dict.fromkeys([inputs.metric, *near]))[:_MOST_COLUMNS]


def _common(reports: list[Report]) -> list[str]:
    return [name for name in reports[0].means if all(name in report.means for report in reports)]


def _in_tables(reports: list[Report], metrics: list[str]) -> list[Html]:
    """A table for each cut-off."""
    cuts = dict.fromkeys(name.partition("@")[2] for name in metrics)
    groups = [[name for name in metrics if name.partition("@")[2] == cut] for cut in cuts]
    return [table(_figures(reports, group)) for group in groups]


def _figures(reports: list[Report], metrics: list[str]) -> Table:
    columns = ["model", *metrics]
    rows = [(r.model, *(f"{r.means[m]:.4f}\n{written(r.intervals[m])}" for m in metrics)) for r in reports]
    return Table("Figures with 95 % intervals", columns, rows, numbers=metrics)


def _beyond(reports: list[Report]) -> Table:
    """A line for each figure, a column for each model."""
    rows: list[tuple[Any, ...]] = [
        (name, *(r.beyond.get(name) for r in reports)) for name in _names(r.beyond for r in reports)
    ]
    rows += [
        (f"{name}, seconds", *(f"{r.seconds[name]:.2f}" if name in r.seconds else "" for r in reports))
        for name in _names(r.seconds for r in reports)
    ]
    rows += [
        (f"{name}, peak MB", *(f"{r.memory_mb[name]:,.0f}" if r.memory_mb.get(name) else "" for r in reports))
        for name in _names(r.memory_mb for r in reports)
    ]
    labels = [r.model for r in reports]
    return Table("Variety of the lists, seconds and memory", ["figure", *labels], rows, numbers=labels)


def _names(figures: Iterable[Mapping[str, Any]]) -> list[str]:
    """All keys, each once, in order."""
    return list(dict.fromkeys(name for one in figures for name in one))


def _apart(inputs: Inputs) -> list[Html]:
    """Runs that answered other questions, and what differs between all runs."""
    parts = []
    if inputs.apart:
        rows: list[tuple[Any, ...]] = [
            (run.label, run.report.split, len(run.report), _figure(run.report, inputs.metric), why)
            for run, why in inputs.apart.values()
        ]
        columns = ("run", "split", "users", inputs.metric, "why it stands apart")
        caption = "Figures of different questions do not compare: none of these is in a picture."
        title = "Runs that answered other questions"
        parts.append(table(Table(title, columns, rows, numbers=columns[2:4], caption=caption)))
    compared = RunsCompared(metric=inputs.metric, runs=inputs.runs, tests=inputs.tests, apart={})
    if found := compared.differences():
        labels = [run.label for run in inputs.runs]
        rows = [
            (key, *("" if value is None else str(value) for value in values)) for key, values in found.items()
        ]
        parts.append(
            folded("What differs between the runs", table(Table("Settings", ["key", *labels], rows)))
        )
    return parts


def _figure(report: Report, metric: str) -> str:
    return (
        f"{report.means[metric]:.4f} ({written(report.intervals[metric])})" if metric in report.means else ""
    )
