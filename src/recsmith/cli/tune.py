"""``recsmith tune``: the best parameters of a model, and the config file that ``train`` takes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsmith.cli.console import Output, json_text, line
from recsmith.cli.options import (
    DryRun,
    Fallback,
    Json,
    Model,
    Quiet,
    Seed,
    Set,
    Source,
    fallback_of,
    pairs,
    parameters,
    reads_log,
)
from recsmith.errors import ParameterError

if TYPE_CHECKING:
    from recsmith.data.split import Split
    from recsmith.experiment.tune import Tuned

_FOLDER = "runs/tune"
SPLIT_HELP = (
    "The protocol that will be reported: its test part is cut off first and never looked at, and validation is cut "
    "from the rest in the same way. Default: user-time:0.2, or random:0.2 for a log without times."
)


@reads_log(required=False)
def tune(
    model: Model,
    source: Source,
    split: Annotated[str | None, typer.Option("--split", help=SPLIT_HELP)] = None,
    train: Annotated[
        str | None, typer.Option("--train", metavar="PATH", help="Train file of a fixed split, all of it.")
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(
            "--validation", metavar="SPLIT", help="Another way of cutting the validation part: k-fold:3 ..."
        ),
    ] = None,
    metric: Annotated[str, typer.Option("--metric", "-m", help="ndcg@10, recall@20, rmse ...")] = "ndcg@10",
    trials: Annotated[int | None, typer.Option(help="Budget in trials, 30 where no budget is given.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Budget in minutes of trials.")] = None,
    space: Annotated[
        list[str] | None,
        typer.Option(
            "--space",
            metavar="KEY=RANGE|FILE",
            help="reg=1..1000,log or similarity=cosine|jaccard, or a YAML file.",
        ),
    ] = None,
    settings: Set = None,
    seed: Seed = 0,
    fallback: Fallback = "popular",
    study: Annotated[
        Path | None, typer.Option(metavar="FILE", help="SQLite file that keeps the trials.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FOLDER", help="Where config and study go; else below runs/tune."
        ),
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Search a model's parameters on validation; the same command goes on where it was stopped.

    The result is a config file for recsmith train --config. The model's defaults are the first trial.
    """
    from recsmith.cli.stream import check_folder
    from recsmith.experiment.space import changed, space_of
    from recsmith.experiment.tune import tune as search
    from recsmith.experiment.validation import Validation

    output = Output(as_json, quiet)
    fixed, wanted = parameters(settings), read_space(space)
    check_space(model, wanted, fixed)
    if dry_run:
        _estimate(output, model, source if train is None else _other(source, train), fixed)
        return
    folds, words = validation_folds(source, split, train, validation)
    output.note(words)
    judged = Validation.of(folds, metric, seed=seed)
    searched = changed(space_of(model, folds[0].train, metric), model, wanted)
    folder = out or Path(_FOLDER) / f"{model}-{_slug(folds[0].train.name)}-{metric.replace('@', '')}"
    file = study or folder / "study.sqlite"
    config = folder / f"{model}.yaml"
    check_folder(config)
    with output.bars() as bars, bars.bar(f"tune {model}") as bar:
        found = search(
            model,
            judged,
            metric,
            space=searched,
            fixed=fixed,
            trials=trials,
            minutes=minutes,
            seed=seed,
            study=file,
            monitor=bar,
            **_behind(fallback),
        )
    _say(output, found, config, file, source.data)


def _say(output: Output, found: Tuned, config: Path, file: Path, data: str) -> None:
    """Write the config and show the search."""
    from recsmith.cli.stream import write_text

    write_text(found.recipe().text(), config)
    payload = {**found.as_dict(), "config": str(config), "study": str(file)}
    write_text(json_text(payload), config.with_suffix(".json"))
    gain = found.best.value - found.default.value
    bundle = f"bundles/{found.model}"
    words = (
        f"Best: {found.metric} {found.best.value:.4f} on validation, default {found.default.value:.4f} ({gain:+.4f}).\n"
        f"Config: {config}   Study: {file}\n"
        f"Next: {shlex.join(['recsmith', 'train', '--config', str(config), '--data', data or 'LOG', '--out', bundle])}"
    )
    output.show(payload, found, line(words))


def _behind(fallback: str) -> dict[str, Any]:
    """The fallback of all trials; parameters of its own are for ``train``."""
    given = fallback_of(fallback)
    if given["fallback_parameters"]:
        raise ParameterError("--fallback takes a name here: the fallback's parameters are not searched.")
    return {"fallback": given["fallback"]}


def validation_folds(
    source: Source, split: str | None, train: str | None, validation: str | None
) -> tuple[list[Split], str]:
    """Validation splits of a log whose test part is cut off first, and what was done in words.

    With ``train`` (a file) nothing is cut off. A protocol of several folds is tuned on its first one.
    """
    from recsmith.data.split_by_name import parse
    from recsmith.experiment.validation import within

    check_source(source, train)
    log = (source if train is None else _other(source, train)).load()
    outer = parse(split or ("random:0.2" if log.time is None else "user-time:0.2"))
    inner = outer if validation is None else parse(validation)
    if train is not None:
        return inner.split(log), f"{log!r}\nValidation: {inner.describe()}"
    parts = outer.split(log)
    first = (
        ""
        if len(parts) == 1
        else f" Part 1 of {len(parts)}; parameters for the others are to be tuned on theirs."
    )
    words = f"{log!r}\nCut off and not looked at: the test part of {outer.describe()}{first}"
    return within(parts[0], inner), f"{words}\nValidation, of the rest: {inner.describe()}"


def check_source(source: Source, train: str | None) -> None:
    """One log: named by ``--data`` or given by ``--train``.

    Raises
    ------
    ParameterError
        Both, or none.
    """
    if bool(source.data) == (train is not None):
        raise ParameterError("Say what to learn from: either --data with --split, or --train.")


def read_space(texts: list[str] | None) -> dict[str, str]:
    """``KEY=RANGE`` texts, and YAML files of them, as ranges by parameter.

    Raises
    ------
    ParameterError
        Text or a file of another form.
    """
    found: dict[str, str] = {}
    for text in texts or ():
        if "=" in text:
            found |= pairs("--space", [text])
            continue
        import yaml

        path = Path(text)
        if not path.is_file():
            raise ParameterError(f"--space wants KEY=RANGE or a YAML file with KEY: RANGE. Got {text!r}.")
        values = yaml.safe_load(path.read_text("utf-8"))
        if not isinstance(values, Mapping):
            raise ParameterError(f"--space: {text} holds no names with ranges, like 'reg: 1..1000,log'.")
        found |= {str(name): str(value) for name, value in values.items()}
    return found


def check_space(model: str, wanted: Mapping[str, str], fixed: Mapping[str, Any]) -> None:
    """Tell of a wrong parameter before anything is read.

    Raises
    ------
    ParameterError
        An unknown parameter, or one that is both fixed and searched.
    """
    from recsmith.experiment.space import changed
    from recsmith.experiment.train import make_pipeline

    make_pipeline(model, **fixed)
    changed({}, model, wanted)
    for name in wanted:
        if name in fixed:
            raise ParameterError(f"--set {name} and --space {name} exclude one another: fixed or searched.")


def _estimate(output: Output, model: str, source: Source, fixed: Mapping[str, Any]) -> None:
    """One trial with the defaults."""
    from recsmith import estimate
    from recsmith.cli.sizes import show_estimate
    from recsmith.experiment.train import make_pipeline

    shape, pipeline = source.shape(), make_pipeline(model, **fixed)
    lists = estimate.recommend_cost(pipeline.model, shape, shape.n_users, 10, pipeline.memory_mb)
    work = {
        f"a trial: fit {model}": estimate.of_fit(pipeline.model, shape),
        "a trial: lists": estimate.of_cost(lists),
    }
    show_estimate(output, shape, work)


def _other(source: Source, data: str) -> Source:
    from dataclasses import replace

    return replace(source, data=data)


def _slug(name: str) -> str:
    """A name as part of a path."""
    return (
        "".join(letter if letter.isalnum() or letter in "-._" else "-" for letter in name).strip("-.")
        or "log"
    )
