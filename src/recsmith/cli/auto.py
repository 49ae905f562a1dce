"""``recsmith auto``: the best model for a log within some minutes, as a bundle, and a page that says why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsmith.cli.candidates import Question
from recsmith.cli.console import Output, duration, heading, json_text, line
from recsmith.cli.options import DryRun, Json, Quiet, Seed, Source, reads_log
from recsmith.errors import ParameterError
from recsmith.tables import Table

if TYPE_CHECKING:
    from recsmith.experiment.auto.run import Auto
    from recsmith.protocols import Monitor


@reads_log(required=False)
def auto(
    source: Source,
    minutes: Annotated[float, typer.Option(help="Time for everything, reading the log not included.")] = 10.0,
    metric: Annotated[
        str, typer.Option("--metric", "-m", help="What is to be best: ndcg@10, recall@20, rmse.")
    ] = ("ndcg@10"),
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            help="How test, and from the rest validation, are cut. Default: user-time:0.2, or random:0.2 for a log "
            "without times.",
        ),
    ] = None,
    train: Annotated[
        str | None, typer.Option("--train", metavar="PATH", help="Train file of a fixed split.")
    ] = None,
    test: Annotated[
        str | None, typer.Option("--test", metavar="PATH", help="Test file of a fixed split.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where bundle, page and recipe go.")
    ] = Path("runs/auto"),
    seed: Seed = 0,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find the best model for a log: race, tune, blend, test once, and fit the winner on everything.

    Writes a bundle, a page (report.md) that says what was tried and by how much it won, and its recipe.
    """
    from recsmith.bundle_format import check_target
    from recsmith.cli.stream import check_folder, write_text
    from recsmith.data.split_by_name import parse
    from recsmith.experiment.auto import page
    from recsmith.experiment.auto.run import auto as run

    output = Output(as_json, quiet)
    splitter = None if split is None else parse(split)
    question = Question(source=source, split=split or "user-time", train=train, test=test)
    question.check()
    _check(minutes, metric)
    if dry_run:
        _estimate(output, source if train is None else _other(source, train), metric)
        return
    target = out / "bundle"
    check_folder(target)
    check_target(target)
    data = None if train is not None else source.load()
    given = question.splits()[0] if train is not None else None
    output.note(f"{data if data is not None else given.train if given is not None else ''!r}")
    with output.bars() as bars:

        @contextmanager
        def watch(label: str) -> Iterator[Monitor]:
            with bars.bar(label) as bar:
                yield bar

        found = run(
            data, minutes=minutes, metric=metric, splitter=splitter, test=given, seed=seed, watch=watch
        )
    assert found.ending.bundle is not None
    found.ending.bundle.save(target)
    payload = page.payload(found, str(target))
    write_text(page.page(found, str(target)), out / "report.md")
    write_text(found.ending.recipe.text(), out / "recipe.yaml")
    write_text(json_text(payload), out / "report.json")
    output.show(payload, *_shown(found, page.summary(found), out, target))


def _shown(found: Auto, words: str, out: Path, target: Path) -> list[Any]:
    """The result for people."""
    lines = found.ending.lines
    columns = ("model", found.metric, "95 %", "against the winner", "95 %, paired")
    rows = [
        (
            one.name,
            one.value,
            f"{one.interval.low:.4f} to {one.interval.high:.4f}",
            "" if one.difference_interval is None else f"{one.difference:+.4f}",
            ""
            if one.difference_interval is None
            else f"{one.difference_interval.low:+.4f} to {one.difference_interval.high:+.4f}",
        )
        for one in lines
    ]
    title = f"Test: {found.ending.users:,} users"
    shown: list[Any] = [heading(words)]
    if rows:
        shown.append(Table(title, columns, rows, numbers=columns[1:]))
    shown += [line(text) for text in found.ending.notes]
    spent = f"{duration(found.usage.seconds)} of {duration(found.clock.seconds)}"
    shown.append(
        line(f"{spent}. Page: {out / 'report.md'}   Bundle: {target}   Recipe: {out / 'recipe.yaml'}")
    )
    return shown


def _check(minutes: float, metric: str) -> None:
    """Refuse what cannot be before the log is read."""
    from recsmith.evaluation.metrics import ranking, rating

    if not minutes > 0:
        raise ParameterError.of("auto", "minutes", "> 0", minutes)
    if metric not in rating.METRICS:
        ranking.parse(metric)


def _estimate(output: Output, source: Source, metric: str) -> None:
    """A fit of every model with its defaults."""
    from recsmith import estimate
    from recsmith.cli.sizes import show_estimate
    from recsmith.evaluation.report import smaller_is_better
    from recsmith.experiment.train import make_pipeline
    from recsmith.models.registry import MODELS, model_class

    shape, wanted = source.shape(), "predict" if smaller_is_better(metric) else "score"
    names = [
        name for name, entry in MODELS.items() if entry.extra is None and hasattr(model_class(name), wanted)
    ]
    work = {f"fit {name}": estimate.of_fit(make_pipeline(name).model, shape) for name in names}
    show_estimate(output, shape, work)


def _other(source: Source, data: str) -> Source:
    from dataclasses import replace

    return replace(source, data=data)
