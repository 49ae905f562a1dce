"""``recsmith recommend``, ``similar``, ``predict`` and ``info``: what a bundle answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsmith.cli.console import Output, facts, line, megabytes
from recsmith.cli.options import DryRun, Index, Json, Quiet, ids_of, listed
from recsmith.errors import ParameterError, UnknownIdError
from recsmith.tables import Table, text_of

if TYPE_CHECKING:
    import polars as pl

    from recsmith.bundle import Bundle

_REASONS = 3  # events of the history named for each item

_Bundle = Annotated[
    Path, typer.Argument(help="A folder that 'train' wrote.", metavar="BUNDLE", show_default=False)
]
_K = Annotated[int, typer.Option("--k", "-k", help="Items in a list.")]


def recommend(
    bundle: _Bundle,
    user: Annotated[
        list[str] | None, typer.Option("--user", "-u", help="User id; may be given again.")
    ] = None,
    history: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="Items of somebody unknown, oldest first.")
    ] = None,
    everybody: Annotated[bool, typer.Option("--all", help="Every user of the log, to --out.")] = False,
    k: _K = 10,
    items: Annotated[str | None, typer.Option(metavar="IDS|FILE", help="Only these items.")] = None,
    exclude: Annotated[str | None, typer.Option(metavar="IDS|FILE", help="None of these items.")] = None,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Also items that the history holds.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say which items of the history made each score.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help=".parquet, .csv or .jsonl, with --all.")
    ] = None,
    index: Index = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Lists for users by id, for a history, or for everybody."""
    output = Output(as_json, quiet)
    _check_request(user, history, everybody, out, explain, k)
    if dry_run:
        _estimate(output, bundle, None if everybody else len(user or "1"), k)
        return
    from recsmith.experiment.train import load_bundle

    loaded = load_bundle(bundle)
    if index and not loaded.pipeline.index:
        loaded = replace(loaded, pipeline=replace(loaded.pipeline, index=True))
    _check_orders(loaded)
    choice: dict[str, Any] = {
        "filter_seen": not include_seen,
        "items": _known_ids(loaded, items),
        "exclude": _known_ids(loaded, exclude),
    }
    if everybody:
        _everybody(output, loaded, k, out or Path(), choice)
    elif history is not None:
        frame = loaded.recommend_for(listed(history), k, **choice)
        found = _records(loaded, frame)
        output.show(
            {"bundle": str(bundle), "lists": [{"user_id": None, "history": listed(history), "items": found}]},
            _list_table(f"For the history {history}", found, explained=False),
        )
        if not found:
            output.note(
                "The list is empty: nothing may be in it, or the model has no evidence in this history and the bundle "
                "has no fallback. Train with --fallback popular."
            )
    else:
        lists = [_one_list(loaded, one, k, choice, explain) for one in user or ()]
        shown = [part for one in lists for part in _shown(one, explain)]
        output.show({"bundle": str(bundle), "lists": lists}, *shown)


def _check_request(
    user: list[str] | None, history: str | None, everybody: bool, out: Path | None, explain: bool, k: int
) -> None:
    """Refuse what does not go together before a large bundle is read."""
    if sum((bool(user), history is not None, everybody)) != 1:
        raise ParameterError(
            "Say for whom: either --user ID (again for more), or --history A,B,..., or --all --out FILE."
        )
    if everybody != (out is not None):
        raise ParameterError("--all and --out go together: lists for everybody are written to a file.")
    if explain and not user:
        raise ParameterError("--explain goes with --user.")
    if history is not None and not listed(history):
        raise ParameterError("--history wants item ids separated by commas.")
    if k < 1:
        raise ParameterError.of("recommend", "k", ">= 1", k)
    if out is not None:
        from recsmith.cli.stream import check_target

        check_target(out)


def _known_ids(bundle: Bundle, text: str | None) -> list[str] | None:
    """Item ids that the bundle knows; a lone one that it does not may be meant as the name of a file."""
    ids = ids_of(text)
    try:
        bundle.data.items.require(ids or [])
    except UnknownIdError as error:
        if ids != [text]:
            raise
        raise UnknownIdError(f"{error} Nor is there a file of that name.") from None
    return ids


def _check_orders(bundle: Bundle) -> None:
    """Refuse a bundle whose model predicts ratings and orders nothing."""
    from recsmith.protocols import Recommender

    if not isinstance(bundle.pipeline.model, Recommender):
        raise ParameterError(
            f"The model {bundle.model_name!r} orders no items, it predicts ratings: use 'recsmith predict'."
        )


def _estimate(output: Output, bundle: Path, n_queries: int | None, k: int) -> None:
    """The cost of lists (None: for everybody), from the manifest alone."""
    from recsmith import estimate
    from recsmith.bundle import USERS_AT_ONCE
    from recsmith.bundle_format import ARRAYS, read_manifest
    from recsmith.cli.sizes import show_estimate
    from recsmith.models.registry import create
    from recsmith.recommend import DEFAULT_MEMORY_MB
    from recsmith.types import Shape

    manifest = read_manifest(bundle)
    model = create(manifest["model"]["name"], **manifest["model"]["config"])
    shape = Shape(*(manifest["data"][size] for size in ("users", "items", "events")))
    asked = shape.n_users if n_queries is None else n_queries
    whole, part = (
        estimate.recommend_cost(model, shape, n, k, DEFAULT_MEMORY_MB)
        for n in (asked, min(asked, USERS_AT_ONCE))
    )
    held = estimate.log_bytes(shape) + manifest["files"][ARRAYS]["bytes"]
    work = estimate.of_cost(replace(whole, bytes=part.bytes), held)
    show_estimate(output, shape, {f"lists for {asked:,} users": work})


def _everybody(output: Output, bundle: Bundle, k: int, out: Path, choice: dict[str, Any]) -> None:
    """Stream all lists to ``out``."""
    from recsmith.cli.stream import write_frames
    from recsmith.resources import measure

    with measure() as usage, output.bars() as bars, bars.bar("recommend") as bar:
        rows = write_frames(bundle.recommend_batches(k, progress=bar, **choice), out)
    users = bundle.data.n_users
    payload = {
        "out": str(out),
        "users": users,
        "rows": rows,
        "used": {"seconds": usage.seconds, "peak_mb": usage.peak_mb},
    }
    rate = users / max(usage.seconds, 1e-9)
    output.show(
        payload,
        line(f"{rows:,} rows for {users:,} users -> {out} ({usage.seconds:.1f} s, {rate:,.0f} users/s, "
             f"peak {megabytes(usage.peak_mb)})"),
    )  # fmt: skip


def _one_list(bundle: Bundle, user: str, k: int, choice: dict[str, Any], explain: bool) -> dict[str, Any]:
    """A user's list with titles, sources and what is to be known about it."""
    index = bundle.data.users.index([user])
    known = bool(index[0] >= 0)
    frame = bundle.recommend([user], k, **choice)
    records = _records(bundle, frame)
    if explain and known:
        for record in records:
            record["because"] = (
                _because(bundle, user, record) if record["source"] == bundle.model_name else []
            )
    reason = None if frame.height == k else bundle.lists(bundle.queries([user]), k, **choice).reason(0)
    return {
        "user_id": bundle.data.users.raw(index)[0] if known else user,
        "known": known,
        "fallback": bundle.fallback_name,
        "items": records,
        "shorter_because": reason,
    }


def _records(bundle: Bundle, frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows ``item_id, title, score, rank, source`` of a list."""
    return titled(bundle, frame).select("rank", "item_id", "title", "score", "source").to_dicts()


def titled(bundle: Bundle, frame: pl.DataFrame, key: str = "item_id") -> pl.DataFrame:
    """The frame with a column ``title``."""
    return frame.with_columns(bundle.item_labels(frame[key]).alias("title"))


def _because(bundle: Bundle, user: str, record: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of the history that added most to a score."""
    top = bundle.explain(user, record["item_id"]).head(_REASONS)
    top = titled(bundle, top)
    return top.select("item_id", "title", "contribution").to_dicts()


def _shown(found: dict[str, Any], explain: bool) -> list[Any]:
    """A list as people read it."""
    answers = "there is no fallback" if found["fallback"] is None else "the fallback answers"
    known = "" if found["known"] else f" (not known to this bundle: {answers})"
    parts: list[Any] = [_list_table(f"For user {found['user_id']}{known}", found["items"], explained=explain)]
    if found["shorter_because"]:
        parts.append(line(found["shorter_because"]))
    return parts


def _list_table(title: str, records: list[dict[str, Any]], *, explained: bool) -> Any:
    columns = ["rank", *_naming(records, "item_id"), "score", "source"]
    shown = [{**r, "item": str(r["item_id"])} for r in records]
    if explained:
        columns.append("because of")
        for r in shown:
            r["because of"] = "; ".join(
                f"{b['title']} {b['contribution']:+.4f}" for b in r.get("because", ())
            )
    return Table(title, columns, [tuple(r[c] for c in columns) for r in shown], numbers=("rank", "score"))


def _naming(records: list[dict[str, Any]], key: str) -> tuple[str, ...]:
    """The columns that name an item; a log without titles needs no second one."""
    return ("item", "title") if any(str(r[key]) != r["title"] for r in records) else ("item",)


def similar(
    bundle: _Bundle,
    item: Annotated[list[str], typer.Option("--item", "-i", help="Item id; may be given again.")],
    k: _K = 10,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The items that are most like an item."""
    from recsmith.experiment.train import load_bundle

    loaded = load_bundle(bundle)
    frame = loaded.similar(item, k)
    frame = titled(loaded, frame, "similar_id")
    asked = loaded.data.items.raw(loaded.data.items.require(item))
    found = [
        {
            "item_id": one,
            "title": title,
            "similar": frame.filter(frame["item_id"] == one)
            .select("rank", "similar_id", "title", "similarity")
            .to_dicts(),
        }
        for one, title in zip(asked, loaded.item_labels(asked), strict=True)
    ]
    shown = []
    for one in found:
        columns = ("rank", *_naming(one["similar"], "similar_id"), "similarity")
        rows = [
            tuple({**r, "item": str(r["similar_id"])}[column] for column in columns) for r in one["similar"]
        ]
        shown.append(Table(f"Like {one['title']}", columns, rows, numbers=("rank", "similarity")))
    Output(as_json, quiet).show({"bundle": str(bundle), "items": found}, *shown)


def predict(
    bundle: _Bundle,
    user: Annotated[list[str], typer.Option("--user", "-u", help="User id; may be given again.")],
    item: Annotated[list[str], typer.Option("--item", "-i", help="Item id; may be given again.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The ratings that users would give to items, each user to each item."""
    from recsmith.experiment.train import load_bundle

    loaded = load_bundle(bundle)
    pairs = [(one, other) for one in user for other in item]
    frame = loaded.predict([one for one, _ in pairs], [other for _, other in pairs])
    frame = titled(loaded, frame)
    found = frame.select("user_id", "item_id", "title", "rating", "std").to_dicts()
    columns = ("user", "item", "title", "rating", "std")
    rows = [tuple(record.values()) for record in found]
    low, high = loaded.data.rating_scale or (None, None)
    title = "Predicted ratings" if low is None else f"Predicted ratings, on a scale of {low:g} to {high:g}"
    shown: list[Any] = [Table(title, columns, rows, numbers=("rating", "std"))]
    unknown = {
        "users": [one for one in user if loaded.data.users.index([one])[0] < 0],
        "items": [one for one in item if loaded.data.items.index([one])[0] < 0],
    }
    if any(unknown.values()):
        names = "; ".join(f"{kind} {', '.join(ids)}" for kind, ids in unknown.items() if ids)
        shown.append(line(f"Not known to this bundle, so rated by averages: {names}."))
    Output(as_json, quiet).show({"bundle": str(bundle), "predictions": found, "unknown": unknown}, *shown)


def info(
    bundle: _Bundle,
    card: Annotated[bool, typer.Option("--card", help="Print the model card.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """What is in a bundle, after checking every file of it."""
    from recsmith.bundle_format import read_manifest
    from recsmith.experiment.train import load_bundle

    loaded = load_bundle(bundle)
    manifest = read_manifest(bundle)
    text = (bundle / "README.md").read_text(encoding="utf-8")
    sizes = {name: entry["bytes"] for name, entry in manifest["files"].items()}
    about = {key: value for key, value in manifest.items() if key not in ("state", "files")}
    payload = {"path": str(bundle), "checks": "passed", "bytes": sizes, **about, "card": text}
    if card:
        Output(as_json, quiet).show(payload, line(text))
        return
    Output(as_json, quiet).show(payload, *_info_tables(bundle, loaded, manifest, sizes))


def _info_tables(path: Path, bundle: Bundle, manifest: dict[str, Any], sizes: dict[str, int]) -> list[Any]:
    data, fallback = manifest["data"], manifest["fallback"]
    entries = {
        "model": f"{manifest['model']['name']} ({_pairs(manifest['model']['config'])})",
        "history": _pairs(manifest["weighting"]),
        "fallback": "none" if fallback is None else f"{fallback['name']} ({_pairs(fallback['config'])})",
        "data": f"{data['name']}: {data['users']:,} users, {data['items']:,} items, {data['events']:,} events",
        "fingerprint": data["fingerprint"],
        "created": f"{manifest['created']} by recsmith {manifest['recsmith']}",
        "checks": "every file is complete and unchanged",
    }
    figures = {name: value for name, value in bundle.info.items() if not isinstance(value, dict | list)}
    entries |= {name.replace("_", " "): text_of(value) for name, value in figures.items()}
    parts = [facts(f"Bundle {path}", entries)]
    parts.append(Table("Files", ("file", "bytes"), list(sizes.items()), numbers=("bytes",)))
    metrics = (bundle.info.get("metrics") or {}).get("figures", {})
    if metrics:
        rows = [(name, row["mean"], _between(row.get("interval"))) for name, row in metrics.items()]
        parts.append(
            Table("Measured on held-out data", ("metric", "value", "95 % interval"), rows, numbers=("value",))
        )
    return parts


def _between(interval: list[float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}"


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())
