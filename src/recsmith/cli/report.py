"""``recsmith report``: runs, an audit and an experiment as one page to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from recsmith.cli.console import Output, facts
from recsmith.cli.options import Json, Quiet, Seed, listed
from recsmith.errors import ParameterError, StorageError


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders of complete runs; the first one says which split."),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE.html", help="The page; pictures go beside it.")
    ],
    audit: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="What 'audit --out' wrote: cold start, fairness, robustness."),
    ] = None,
    ab: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="What 'ab analyze --json' said.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", "-m", help="What decides; else ndcg@10, where all have it.")
    ] = None,
    maps: Annotated[
        str, typer.Option(metavar="A,B", help="Maps of the items: tsne, umap, or none.")
    ] = "tsne,umap",
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write one HTML file that stands alone, with PNG pictures beside it."""
    from recsmith.cli.stream import check_folder
    from recsmith.report import write_report
    from recsmith.report.page import check_out

    check_out(out)
    try:
        check_folder(out)
    except StorageError as error:
        raise ParameterError(str(error)) from None
    output = Output(as_json, quiet)
    chosen: Any = [] if maps == "none" else listed(maps)
    with output.bars() as bars:
        done = write_report(
            runs, out, audit=audit, ab=ab, metric=metric, maps=chosen, seed=seed, step=bars.bar
        )
    told = {
        "page": f"{done.page} ({done.size / 1e6:.1f} MB)",
        "pictures": f"{len(done.pictures)} in {done.pictures[0].parent}" if done.pictures else "none",
        "holds": ", ".join(done.sections),
    }
    output.show(done.as_dict(), facts("Report", told))
