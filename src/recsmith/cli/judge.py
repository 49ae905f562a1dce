"""``recsmith evaluate`` and ``compare``: how good a model is, and which is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsmith.cli.candidates import Candidate, Question, candidate
from recsmith.cli.console import Output, json_text
from recsmith.cli.options import (
    DryRun,
    Fallback,
    Json,
    Quiet,
    Seed,
    Set,
    Source,
    cut_offs,
    parameters,
    reads_log,
)
from recsmith.errors import ParameterError
from recsmith.tables import Table

if TYPE_CHECKING:
    from recsmith.data.split import Split
    from recsmith.evaluation.report import Report

_Split = Annotated[
    str,
    typer.Option(
        "--split",
        help="user-time:0.2, global-time:0.2, leave-last-out, random:0.2:seed=3, k-fold:5, time-folds:5, "
        "unknown-users:0.2 or unknown-items:0.1.",
    ),
]
_Train = Annotated[str | None, typer.Option("--train", metavar="PATH", help="Train file of a fixed split.")]
_Test = Annotated[str | None, typer.Option("--test", metavar="PATH", help="Test file of a fixed split.")]
_RatingTimes = Annotated[
    bool, typer.Option("--rating-times", help="Tell the model when each rating to be predicted was given.")
]
_Out = Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="Also write the JSON there.")]


@reads_log(required=False)
def evaluate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL|BUNDLE", help="A model's name, or a bundle's folder.")
    ],
    source: Source,
    split: _Split = "user-time:0.2",
    train: _Train = None,
    test: _Test = None,
    k: Annotated[str, typer.Option("--k", "-k", help="Cut-offs.")] = "5,10,20",
    settings: Set = None,
    seed: Seed = 0,
    fallback: Fallback = "popular",
    fold_in_gap: Annotated[
        bool, typer.Option("--fold-in-gap", help="Also measure what answering without a refit costs.")
    ] = False,
    gap_metric: Annotated[
        str | None,
        typer.Option(metavar="METRIC", help="Of the fold-in gap; else ndcg@10 where it can, or rmse."),
    ] = None,
    rating_times: _RatingTimes = False,
    card: Annotated[
        bool, typer.Option("--card", help="Write the figures into the bundle and its model card.")
    ] = False,
    out: _Out = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit on the train part of a split and judge on its test part.

    A bundle is judged by its recipe: model, parameters and weighting are fitted anew on the train part, because
    what it learned may hold the test events.
    """
    output = Output(as_json, quiet)
    cuts = cut_offs(k)
    judged = candidate(model, parameters(settings), fallback)
    question = Question(source=source, split=split, train=train, test=test)
    question.check()
    if card and (judged.bundle is None or question.folds() > 1):
        raise ParameterError("--card wants a bundle to write into, judged on one train and one test part.")
    if card and settings:
        raise ParameterError(
            "--card and --set exclude one another: the card tells of the bundle's own parameters."
        )
    if dry_run:
        _estimate(output, [judged], question, max(cuts))
        return
    _check_out(out)
    if judged.bundle is not None:
        output.note(_refit_words(judged))
    splits = question.splits()
    leaks = _leaks(output, splits)
    reports = [_judged(output, judged, part, cuts, seed, rating_times) for part in splits]
    gap = _gap(output, judged, splits[0], seed, gap_metric) if fold_in_gap else None
    payload = _evaluation(judged, leaks, reports, gap)
    _write(out, payload)
    if card:
        _save_card(output, judged, reports[0], gap)
    shown = reports[0] if len(reports) == 1 else _folds_table(reports)
    output.show(payload, *(part for part in (shown, gap) if part is not None))


@reads_log(required=False)
def compare(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Names, bundles, or ease:reg=300,half_life=20.")
    ],
    source: Source,
    split: _Split = "user-time:0.2",
    train: _Train = None,
    test: _Test = None,
    metric: Annotated[
        str, typer.Option("--metric", "-m", help="What decides: ndcg@10, recall@20, rmse ...")
    ] = "ndcg@10",
    baseline: Annotated[
        str | None, typer.Option(help="Test the others against this one; else against the best.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="MODEL.KEY=VALUE", help="A parameter of one model."),
    ] = None,
    seed: Seed = 0,
    fallback: Fallback = "popular",
    rating_times: _RatingTimes = False,
    out: _Out = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Judge several models on one split: a leaderboard, and which differences are more than chance."""
    output = Output(as_json, quiet)
    cuts = _cuts_of(metric)
    own = _by_model(settings, models)
    contenders = [
        candidate(text, own.get(text.partition(":")[0], {}), fallback) for text in dict.fromkeys(models)
    ]
    if baseline is not None and baseline not in models:
        raise ParameterError.unknown("model of this comparison", baseline, models)
    question = Question(source=source, split=split, train=train, test=test)
    question.check()
    if question.folds() > 1:
        raise ParameterError(
            f"compare wants one train and one test part, and {split} gives {question.folds()}. Use evaluate."
        )
    if dry_run:
        _estimate(output, contenders, question, max(cuts))
        return
    _check_out(out)
    for one in contenders:
        if one.bundle is not None:
            output.note(_refit_words(one))
    part = question.splits()[0]
    leaks = _leaks(output, [part])
    reports = [_judged(output, one, part, cuts, seed, rating_times) for one in contenders]
    payload, shown = _comparison(reports, metric, baseline, seed)
    payload["leakage"] = leaks
    _write(out, payload)
    output.show(payload, *shown)


def _comparison(
    reports: Sequence[Report], metric: str, baseline: str | None, seed: int
) -> tuple[dict[str, Any], list[Any]]:
    """The JSON of ``compare``, and its tables: the leaderboard and the tests."""
    from recsmith.evaluation import compare as compared
    from recsmith.evaluation import leaderboard

    board = leaderboard(reports, metric)
    tests = compared(reports, metric, baseline=baseline, seed=seed) if len(reports) > 1 else None
    payload = {
        "split": board.split,
        "metric": metric,
        "leaderboard": board.rows,
        "comparison": None if tests is None else tests.as_dict(),
        "reports": [report.as_dict() for report in reports],
    }
    return payload, [part for part in (board, tests) if part is not None]


def _judged(
    output: Output, one: Candidate, split: Split, cuts: Sequence[int], seed: int, rating_times: bool
) -> Report:
    """Fit and judge, with a bar."""
    from recsmith.evaluation import evaluate as judged

    with output.bars() as bars, bars.bar(f"{one.label} on {split.name}") as bar:
        return judged(
            one.make(), split, name=one.label, ks=cuts, rating_times=rating_times, seed=seed, monitor=bar
        )


def _gap(output: Output, one: Candidate, split: Split, seed: int, metric: str | None) -> Any:
    from recsmith.evaluation import fold_in_gap

    with output.bars() as bars, bars.bar("fold-in gap"):
        return fold_in_gap(one.make, split, metric=metric, seed=seed)


def _save_card(output: Output, one: Candidate, report: Report, gap: Any) -> None:
    """Put the figures into the bundle; everything else of it stays."""
    from recsmith.experiment.train import load_bundle

    found = {"metrics": report.card()} | ({} if gap is None else {"fold_in_gap": gap.as_dict()})
    if one.bundle is not None:
        load_bundle(one.bundle).with_info(**found).save(one.bundle)
        output.note(f"The figures stand in the model card of {one.bundle}.")


def _evaluation(one: Candidate, leaks: Sequence[str], reports: Sequence[Report], gap: Any) -> dict[str, Any]:
    """The JSON of ``evaluate``."""
    payload: dict[str, Any] = {"model": one.name, "note": None if one.bundle is None else _refit_words(one)}
    payload["leakage"] = leaks
    if len(reports) == 1:
        payload["report"] = reports[0].as_dict()
    else:
        payload["folds"] = [report.as_dict() for report in reports]
        payload["means"] = {name: mean for name, mean, _ in _over_folds(reports)}
    if gap is not None:
        payload["fold_in_gap"] = gap.as_dict()
    return payload


def _over_folds(reports: Sequence[Report]) -> list[tuple[str, float, float]]:
    """Metric, mean and standard deviation over folds."""
    import numpy as np

    values = {name: [report.means[name] for report in reports] for name in reports[0].means}
    return [(name, float(np.mean(v)), float(np.std(v, ddof=1))) for name, v in values.items()]


def _folds_table(reports: Sequence[Report]) -> Any:
    columns = ("metric", "mean", "std")
    return Table(
        f"{reports[0].model}: {len(reports)} folds", columns, _over_folds(reports), numbers=columns[1:]
    )


def _refit_words(one: Candidate) -> str:
    return (
        f"{one.label} is judged by its recipe: {one.name} with the bundle's parameters is fitted anew on the train "
        "part. What the bundle itself learned is not used, because it may hold the test events."
    )


def _leaks(output: Output, splits: Sequence[Split]) -> list[str]:
    """What the splits give away, said and returned; a log without times is said, too."""
    from recsmith.data.leakage import leakage
    from recsmith.data.splitters import FILE_ORDER

    for text in dict.fromkeys(n for split in splits for n in split.notes if n == FILE_ORDER):
        output.note(f"{text} If it is not in the order of time, use --split random.")
    found = list(dict.fromkeys(text for split in splits for text in leakage(split)))
    for text in found:
        output.note(f"Leakage check: {text}")
    return found


def _cuts_of(metric: str) -> tuple[int, ...]:
    """The cut-offs that a metric needs besides the usual ones."""
    from recsmith.evaluation.metrics import ranking, rating

    if metric in rating.METRICS:
        return (5, 10, 20)
    if "@" not in metric and metric not in ranking.METRICS:
        raise ParameterError.unknown("metric", metric, [*ranking.METRICS, *rating.METRICS])
    return tuple(sorted({5, 10, 20, ranking.parse(metric)[1]}))


def _by_model(texts: Sequence[str] | None, models: Sequence[str]) -> Mapping[str, dict[str, Any]]:
    """``ease.reg=300`` texts as parameters by model."""
    names = {text.partition(":")[0] for text in models}
    found: dict[str, dict[str, Any]] = {}
    for key, value in parameters(texts).items():
        model, dot, name = key.rpartition(".")
        if not dot:
            raise ParameterError(f"--set wants MODEL.KEY=VALUE here, like ease.reg=300. Got {key!r}.")
        if model not in names:
            raise ParameterError.unknown("model of this comparison", model, names)
        found.setdefault(model, {})[name] = value
    return found


def _estimate(output: Output, candidates: Sequence[Candidate], question: Question, k: int) -> None:
    from recsmith import estimate
    from recsmith.cli.sizes import show_estimate

    shape, work = question.shape(), {}
    for one in candidates:
        pipeline = one.make()
        lists = estimate.recommend_cost(pipeline.model, shape, shape.n_users, k, pipeline.memory_mb)
        for fold in range(question.folds()):
            suffix = "" if question.folds() == 1 else f", fold {fold + 1}"
            work[f"{one.label}: fit{suffix}"] = estimate.of_fit(pipeline.model, shape)
            work[f"{one.label}: lists{suffix}"] = estimate.of_cost(lists)
    show_estimate(output, shape, work)


def _check_out(out: Path | None) -> None:
    """Refuse what cannot be written before hours of work."""
    if out is not None:
        from recsmith.cli.stream import check_folder

        check_folder(out)


def _write(out: Path | None, payload: Mapping[str, Any]) -> None:
    if out is not None:
        from recsmith.cli.stream import write_text

        write_text(json_text(payload), out)
