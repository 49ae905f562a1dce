"""``recsmith quickstart``: from nothing to a chosen, saved and explained model, on MovieLens-100K."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsmith.cli.console import Output, duration, heading, json_text, line, megabytes
from recsmith.cli.options import DryRun, Json, Quiet, Seed, Source, SourcePath
from recsmith.cli.use import titled
from recsmith.tables import Table

if TYPE_CHECKING:
    from recsmith.bundle import Bundle
    from recsmith.evaluation.report import Report
    from recsmith.experiment.quickstart import Quickstart
    from recsmith.protocols import Monitor

DATA = "ml-100k"
_SHOWN = 10
_EXPLAINED = 3
_REASONS = 3


def quickstart(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where the figures go.")] = Path(
        "runs/quickstart"
    ),
    bundle: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the chosen model goes.")] = Path(
        "bundles/quickstart"
    ),
    path: SourcePath = None,
    seed: Seed = 0,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fetch MovieLens-100K, compare quick models honestly, save the best one and show what it answers."""
    output = Output(as_json, quiet)
    source = Source(data=DATA, path=path)
    if dry_run:
        _estimate(output, source)
        return
    from recsmith.cli.train import checked_target
    from recsmith.data import quality
    from recsmith.data.dataset import Dataset
    from recsmith.experiment.quickstart import quickstart as run
    from recsmith.resources import measure

    target = checked_target(bundle)
    with measure() as usage:
        log = source.log()
        checked = quality.check(log)
        data = Dataset.from_log(log)
        output.note(f"{data!r}\n{_quality_words(checked)}")
        output.note(
            "Parameters are chosen on validation, figures are of the test part: each user's last 20 %."
        )
        with output.bars(keep=True) as bars:

            @contextmanager
            def watch(label: str) -> Iterator[Monitor]:
                with bars.bar(label) as bar:
                    yield bar

            found = run(data, seed=seed, watch=watch)
        found.bundle.save(target)
    user = found.bundle.data.users.ids[0]
    answer = _answer(found.bundle, user)
    payload = {
        **found.as_dict(),
        "quality": checked.as_dict(),
        "bundle": str(target),
        "answer": answer,
        "used": {"seconds": usage.seconds, "peak_mb": usage.peak_mb},
    }
    leaderboard = _write(out, payload)
    spent = f"{duration(usage.seconds)}, peak memory {megabytes(usage.peak_mb)}"
    shown = [*_boards(found), *_answer_tables(answer), *_next(target, user, leaderboard, spent)]
    output.show(payload, *shown)


def _write(out: Path, payload: dict[str, Any]) -> Path:
    from recsmith.cli.stream import write_text

    file = out / "leaderboard.json"
    write_text(json_text(payload), file)
    return file


def _quality_words(report: Any) -> str:
    """The quality report in a line or two."""
    state = "fit for use" if report.ok else "needs repair: recsmith data validate tells more"
    kinds = ", ".join(f"{finding.count:,} {finding.code.replace('_', ' ')}" for finding in report.findings)
    return f"Quality: {state}. {f'Noted: {kinds}.' if kinds else 'Nothing was found.'}"


def _boards(found: Quickstart) -> list[Any]:
    """The two leaderboards."""
    judged_on = f"{len(found.ranking[0]):,} users, test part of {found.split.name}"
    lists = {"ndcg@10": "NDCG@10", "precision@10": "P@10", "recall@10": "R@10"}
    title = f"Lists: {judged_on} (* chosen on validation)"
    parts = [_board(title, found.ranking, lists, "recommend", found.chosen)]
    if found.rating:
        parts.append(_board("Ratings", found.rating, {"rmse": "RMSE", "mae": "MAE"}, "predict"))
    best = found.choices[f"ranking/{found.chosen}"].best
    chosen = ", ".join(f"{name}={value}" for name, value in best.parameters.items())
    parts.append(
        line(f"Chosen on validation: {found.chosen} ({chosen}). The bundle holds it, fitted on all the data.")
    )
    return parts


def _board(
    title: str, reports: Sequence[Report], shown: Mapping[str, str], step: str, chosen: str = ""
) -> Any:
    """Reports by the first metric of ``shown`` (metric -> heading), which has its interval beside it."""
    from recsmith.evaluation.report import better_first

    first, *others = shown
    rows = []
    for rank, report in enumerate(better_first(reports, first), start=1):
        low, high = report.intervals[first]
        rows.append(
            (
                f"{rank}{'*' if report.model == chosen else ' '}",
                report.model,
                report.means[first],
                f"{low:.3f} to {high:.3f}",
                *(report.means[metric] for metric in others),
                *(f"{report.seconds[part]:.2f}" for part in ("fit", step)),
            )
        )
    columns = ("", "model", shown[first], "95 %", *(shown[m] for m in others), "fit s", "ask s")
    return Table(title, columns, rows, numbers=(columns[0], *columns[2:]), whole=("model",))


def _answer(bundle: Bundle, user: Any) -> dict[str, Any]:
    """One user's latest history, ten titles, and why the first ones."""
    from recsmith.protocols import Explainer

    history = bundle.history(user)
    history = titled(bundle, history).tail(_SHOWN)
    lists = bundle.recommend([user], _SHOWN)
    lists = titled(bundle, lists)
    items = lists.select("rank", "item_id", "title", "score", "source").to_dicts()
    if isinstance(bundle.pipeline.model, Explainer):
        for item in items[:_EXPLAINED]:
            reasons = bundle.explain(user, item["item_id"]).head(_REASONS)
            reasons = titled(bundle, reasons)
            item["because"] = reasons.to_dicts()
    return {"user_id": user, "history": history.to_dicts(), "items": items}


def _answer_tables(answer: dict[str, Any]) -> list[Any]:
    liked = "; ".join(_with_rating(event) for event in answer["history"])
    rows = []
    for item in answer["items"]:
        because = "; ".join(
            f"{reason['title']} ({reason['contribution']:+.4f})" for reason in item.get("because", ())
        )
        rows.append((item["rank"], item["title"], item["score"], because))
    columns = ("rank", "title", "score", "because of")
    return [
        heading(f"User {answer['user_id']}, the latest {len(answer['history'])} of the history"),
        line(liked),
        Table("Recommended", columns, rows, numbers=("rank", "score")),
    ]


def _with_rating(event: dict[str, Any]) -> str:
    return event["title"] if event.get("rating") is None else f"{event['title']} ({event['rating']:g})"


def _next(bundle: Path, user: Any, leaderboard: Path, spent: str) -> list[Any]:
    commands = (
        f"recsmith recommend {bundle} --user {user} --explain",
        f"recsmith similar {bundle} --item 50",
        f"recsmith serve {bundle}",
        f"recsmith recommend {bundle} --all --out lists.parquet",
        "recsmith compare popular ease ease:half_life=5,reg=1000 --data ml-100k",
        "recsmith train ease --data your.csv --out bundles/yours",
    )
    return [
        line(f"Done in {spent}. Bundle: {bundle}. Figures: {leaderboard}."),
        heading("Next"),
        *(line(f"  {command}") for command in commands),
    ]


def _estimate(output: Output, source: Source) -> None:
    from math import prod

    from recsmith import estimate
    from recsmith.cli.sizes import show_estimate
    from recsmith.experiment.quickstart import RANKERS, RATERS
    from recsmith.experiment.train import make_pipeline

    shape, work = source.shape(), {}
    for kind, entrants in (("lists", RANKERS), ("ratings", RATERS)):
        for entrant in entrants:
            model = make_pipeline(entrant.model).model
            grid = {name: values for name, values in entrant.grid.items() if name != "half_life"}
            fits = 1 + prod(len(values) for values in grid.values())
            one = estimate.of_fit(model, shape)
            work[f"{kind}: {entrant.label}, {fits} fits"] = estimate.Estimate(
                one.seconds * fits, one.memory_mb, one.available_mb
            )
    show_estimate(output, shape, work)
