"""``recsmith audit``: cold start, fairness and robustness of several models on one log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsmith.cli.candidates import Candidate, Question, candidate
from recsmith.cli.console import Bar, Output, duration, heading, json_text, line
from recsmith.cli.options import DryRun, Fallback, Json, Quiet, Seed, Source, listed, reads_log
from recsmith.errors import ParameterError
from recsmith.tables import Table

if TYPE_CHECKING:
    from recsmith.data.dataset import Dataset
    from recsmith.estimate import Estimate
    from recsmith.experiment.audit import Audit
    from recsmith.types import Shape

FILE = "audit.json"
_TWO_TOWER = "two-tower:epochs=3,batch_size=1024,min_count=20,hidden=0,temperature=0.2,drop_history=0.7"
_MODELS = ("popular", "item-knn", "user-knn", "ease", "slim", "rp3beta", "ials", "bpr", "graph-filter")
_FITS = 3  # of each model: cold start, new items, lists
_AGAIN = 3 * 9 + 4  # of three models over seeds and splits, and of one on shares of train: about
_SUMS = 36.0  # that each user adds to, in each permutation, for each attribute


@reads_log()
def audit(
    source: Source,
    models: Annotated[
        str | None,
        typer.Option(
            "--models",
            "-m",
            metavar="A,B,...",
            help="Names or bundles; else ten that answer in seconds. One with parameters: --model.",
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="MODEL", help="One more, such as ease:reg=500,half_life=20."),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="A,B,...", help="Columns of the user table; else all that make groups."),
    ] = None,
    item_by: Annotated[
        str | None,
        typer.Option(
            "--item-by",
            metavar="A,B,...",
            help="popularity and columns of the item table; else these two: genres.",
        ),
    ] = None,
    given: Annotated[str, typer.Option("--given", help="Events that unknown users tell.")] = "0,1,2,5,10",
    split: Annotated[
        str, typer.Option("--split", help="Of fairness and robustness: one train and one test part.")
    ] = "user-time:0.2",
    seed: Seed = 0,
    fallback: Fallback = "popular",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FOLDER", help=f"Also write {FILE} there.")
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """How models treat users of whom little is known, groups of users and of items, and how far figures hold."""
    from recsmith.cli.stream import check_folder, write_text

    output = Output(as_json, quiet)
    entrants = _entrants(models, model, fallback)
    points = _numbers(given)
    question = Question(source=source, split=split)
    question.check()
    if question.folds() > 1:
        raise ParameterError(
            f"audit wants one train and one test part, and {split} gives {question.folds()}."
        )
    chosen, chosen_items = (None if names is None else listed(names) for names in (by, item_by))
    if dry_run:
        _estimate(output, entrants, *_sizes(output, source, chosen, chosen_items))
        return
    if out is not None:
        if out.exists() and not out.is_dir():
            raise ParameterError.of("audit", "out", "a folder", str(out))
        check_folder(out / FILE)
    found = _audited(output, entrants, source, split, chosen, chosen_items, points, seed)
    payload = found.as_dict()
    if out is not None:
        write_text(json_text(payload), out / FILE)
        output.note(f"All of it is in {out / FILE}.")
    output.show(payload, *_shown(found))


def _entrants(models: str | None, more: Sequence[str] | None, fallback: str) -> list[Candidate]:
    """The candidates, each once; every one must order items.

    Raises
    ------
    ParameterError
        An unknown model, or one that predicts ratings only.
    """
    from recsmith.protocols import Recommender

    texts = listed(models or "") + list(more or ())
    found = [candidate(text, {}, fallback) for text in dict.fromkeys(texts or _MODELS)]
    if not texts:
        last = _TWO_TOWER if find_spec("torch") else "gf-cf"
        found.append(replace(candidate(last, {}, fallback), label=last.partition(":")[0]))
    for one in found:
        if not isinstance(one.make().model, Recommender):
            raise ParameterError(f"{one.label} predicts ratings and orders no items: audit judges lists.")
    return found


def _numbers(text: str) -> tuple[int, ...]:
    """``0,1,2,5,10``.

    Raises
    ------
    ParameterError
        Anything but whole numbers >= 0.
    """
    parts = listed(text)
    if not parts or not all(part.isdecimal() for part in parts):
        raise ParameterError(f"--given wants whole numbers >= 0, like 0,1,2,5,10. Got {text!r}.")
    return tuple(int(part) for part in parts)


def _audited(
    output: Output,
    entrants: Sequence[Candidate],
    source: Source,
    split: str,
    by: list[str] | None,
    item_by: list[str] | None,
    given: tuple[int, ...],
    seed: int,
) -> Audit:
    from recsmith.data.split_by_name import parse
    from recsmith.experiment.audit import audit as audited

    data = _checked(source, by, item_by)
    part = parse(split).split(data)[0]

    @contextmanager
    def watch(description: str) -> Iterator[Bar]:
        with output.bars() as bars, bars.bar(description) as bar:  # one at a time: there are dozens of fits
            yield bar

    return audited(
        {one.label: one.make for one in entrants},
        data,
        split=part,
        by=by,
        item_by=item_by,
        given=given,
        seed=seed,
        watch=watch,
    )


def _checked(source: Source, by: list[str] | None, item_by: list[str] | None) -> Dataset:
    """The log, indexed and filtered, once its tables are seen to be of this log."""
    from recsmith.data.dataset import Dataset
    from recsmith.data.filters import at_least, k_core
    from recsmith.experiment.audit import check_tables

    log = source.log()
    check_tables(log, by, item_by)
    data = Dataset.from_log(log)
    data = data if source.min_rating is None else at_least(data, source.min_rating)
    return data if source.k_core is None else k_core(data, source.k_core, source.k_core)


def _shown(found: Audit) -> list[Any]:
    """Tables for people: all curves, a summary of fairness and the best model's own, robustness, limits."""
    best = found.best
    shown: list[Any] = [found.cold_start, found.new_items]
    shown += [_gaps(found)] if found.users else []
    metric = found.cold_start.metrics[0]
    shown += [one.table([metric]) for one in found.users if one.model == best]
    shown += [_bias(found)]
    shown += [one for one in found.items if one.model == best]
    shown += [found.stability, found.learning]
    for title, lines in (
        ("Leakage check", found.leakage or ("Nothing was found.",)),
        ("What the numbers do not say", found.limits),
        ("Notes", (*found.notes, *_hints(found))),
    ):
        shown += [heading(title), *(line(f"- {text}") for text in lines)] if lines else []
    seconds = ", ".join(
        f"{part.replace('_', ' ')} {duration(value)}" for part, value in found.seconds.items()
    )
    return [*shown, line(f"\nTime: {seconds}; in all {duration(sum(found.seconds.values()))}.")]


def _hints(found: Audit) -> list[str]:
    """How to get what is not there."""
    if found.users:
        return []
    return [
        "No groups of users were compared. A table of users with columns user_id, gender, age, ... is given by "
        "--users FILE, columns of it are chosen by --by."
    ]


def _gaps(found: Audit) -> Table:
    """The largest gap of each model and attribute by the metric that decides."""
    columns = ("by", "model", "best served", "worst served", "gap", "95 %", "low / high", "p")
    rows = [
        (
            one.by,
            one.model,
            gap.high,
            gap.low,
            gap.difference,
            f"{gap.interval.low:.4f} to {gap.interval.high:.4f}",
            f"{gap.ratio:.2f}",
            gap.p,
        )
        for one in found.users
        for gap in one.gaps
        if gap.metric == found.cold_start.metrics[0]
    ]
    title = f"Fairness: the largest gap in {found.cold_start.metrics[0]} between groups of users that are large enough"
    caption = "p: permutation test of no difference between any groups. The two groups were chosen for their figures."
    return Table(title, columns, rows, numbers=columns[4:], whole=columns[:2], caption=caption)


def _bias(found: Audit) -> Table:
    figures = list(found.bias[0].figures)
    rows = [(one.model, *(one.figures[name] for name in figures)) for one in found.bias]
    columns = ("model", *(name.replace("_", " ") for name in figures))
    title = f"Popularity and calibration of {found.bias[0].k} places"
    return Table(title, columns, rows, numbers=columns[1:], whole=columns[:1])


def _sizes(
    output: Output, source: Source, by: list[str] | None, item_by: list[str] | None
) -> tuple[Shape, int]:
    """Users, items and events, and how many attributes of users there will be.

    The log is read, so that sizes are its own and wrong names are told; one that is not on this machine is not fetched.
    """
    from importlib import import_module

    from recsmith.data.sources import SOURCES

    name = source.data.partition(":")[0]
    if name in SOURCES and source.path is None:
        about = import_module(SOURCES[name].partition(":")[0]).about(source.data)
        if not about["cached"]:
            output.note("The log is not on this machine: columns of --by and --item-by are not checked.")
            return source.shape(), 3 if by is None else len(by)
    data = _checked(source, by, item_by)
    table = data.user_features
    return data.shape, len(by) if by is not None else 0 if table is None else table.width - 1


def _estimate(output: Output, entrants: Sequence[Candidate], shape: Shape, attributes: int) -> None:
    from recsmith import estimate
    from recsmith.cli.sizes import show_estimate
    from recsmith.types import Cost

    def times(one: Estimate, count: int) -> Estimate:
        return replace(one, seconds=one.seconds * count)

    work = {}
    for one in entrants:
        pipeline = one.make()
        lists = estimate.recommend_cost(pipeline.model, shape, shape.n_users, 10, pipeline.memory_mb)
        work[f"{one.label}: {_FITS} fits"] = times(estimate.of_fit(pipeline.model, shape), _FITS)
        work[f"{one.label}: lists"] = times(estimate.of_cost(lists), _FITS)
    fits = max((estimate.of_fit(one.make().model, shape) for one in entrants), key=lambda e: e.seconds)
    work[f"robustness: at most {_AGAIN} fits"] = times(fits, _AGAIN)
    tests = Cost(gather=1e4 * _SUMS * shape.n_users * max(attributes, 1) * len(entrants))
    work["tests and intervals"] = estimate.of_cost(tests)
    show_estimate(output, shape, work)
