"""The sections made of an audit: little known users, groups of users and of items, and how far figures hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from recsmith.evaluation.comparison import HOLM, correction_title
from recsmith.evaluation.groups import counted
from recsmith.evaluation.robustness import only_best
from recsmith.plots import judgement as plots
from recsmith.report.html import Html, Section, bullets, folded, gallery, paragraph, table
from recsmith.report.inputs import Inputs
from recsmith.report.pictures import Pictures
from recsmith.tables import Table

_MOST_GROUPS = 25  # of a picture
_EQUAL = 1e-12  # figures that differ by less are one


def cold_start(inputs: Inputs, pictures: Pictures) -> Section:
    """Curves over the number of events told, and what models do with new items."""
    audit = _of(inputs)
    found = audit["cold_start"]
    rows, metric = _frame(found["rows"]), _metric(inputs, found["metrics"])
    figure = plots.cold_start_curves(rows, metric)
    alt = (
        f"{metric} of users unknown to train over the number of events told of them, a panel for each model."
    )
    caption = "Bands are 95 % intervals. Where a model has no evidence its fallback answers: there the two lines meet."
    parts = [
        _note(inputs),
        paragraph(
            f"{counted(found['users'], 'user')} unknown to train are asked about. Each model is told their first "
            "events, ever more of them; what is to be found stays the same."
        ),
        gallery([pictures.show("cold-start", figure, alt, caption)]),
        table(_curve_table(rows, metric)),
        folded("By popularity of what is to be found, and by activity", *_strata(rows, metric)),
        *([table(_new_items(found["new_items"]))] if "new_items" in found else []),
        bullets(found["notes"]),
    ]
    return Section("cold-start", "Cold start", parts)


def fairness(inputs: Inputs, pictures: Pictures) -> Section:
    """Groups of users and of items, as the audit's best model treats them; gaps of all models."""
    found, model = _of(inputs)["fairness"], _best(inputs)
    own = [one for one in found["users"] if one["model"] == model]
    items = [one for one in found["items"] if one["model"] == model]
    bias = found["popularity_bias"]
    tables = [table(_group_table(one, _decides(one, inputs))) for one in own]
    warnings = [text for one in own for text in one["warnings"]]
    parts = [
        _note(inputs),
        paragraph(
            "A group that looks served worse may be so by chance: bars are hatched where users are too few to say."
        ),
        gallery([*_users_drawn(own, inputs, pictures), *_items_drawn(items, pictures)]),
        *(
            [folded("The largest gap of each model", table(_gaps(found["users"], inputs)))]
            if found["users"]
            else []
        ),
        *([folded("Popularity and calibration", table(_bias(bias)))] if bias else []),
        *([folded(f"All groups of users, {model}", *tables)] if tables else []),
        *([folded("Groups that are too small to say", bullets(warnings))] if warnings else []),
    ]
    return Section("fairness", "Fairness", parts)


def _users_drawn(own: Sequence[Mapping[str, Any]], inputs: Inputs, pictures: Pictures) -> list[Html]:
    shown, overall = [], _of(inputs)["reports"][0]["means"]
    for one in own:
        metric, by = _decides(one, inputs), one["by"]
        rows = _frame(one["rows"]).filter(pl.col("metric") == metric)
        if rows.height > _MOST_GROUPS:
            rows = rows.sort("users", descending=True).head(_MOST_GROUPS)
        figure = plots.fairness_bars(rows, metric, model=one["model"], by=by, overall=overall.get(metric))
        alt = f"{metric} of {one['model']} for groups of users by {by}: {_told(rows)}."
        shown.append(pictures.show(f"users-by-{_name(by)}", figure, alt, _gap_words(one, metric)))
    return shown


def _items_drawn(own: Sequence[Mapping[str, Any]], pictures: Pictures) -> list[Html]:
    shown = []
    for one in own:
        rows = _frame(one["rows"]).sort("items", descending=True).head(_MOST_GROUPS)
        figure = plots.exposure(rows, model=one["model"], by=one["by"])
        alt = f"Share of the items, of what was wanted and of the places in lists for groups of items by {one['by']}."
        caption = "A triangle right of the square: lists show the group more than users wanted it."
        shown.append(pictures.show(f"items-by-{_name(one['by'])}", figure, alt, caption))
    return shown


def _decides(one: Mapping[str, Any], inputs: Inputs) -> str:
    """The metric that decides, of those by which groups of users were compared."""
    return _metric(inputs, list(dict.fromkeys(row["metric"] for row in one["rows"])))


def robustness(inputs: Inputs, pictures: Pictures) -> Section:
    """Other seeds and splits, and less to learn from."""
    found = _of(inputs)["robustness"]
    stable, learned = found["stability"], found["learning_curve"]
    figure = plots.learning_curve(_frame(learned["rows"]), learned["metric"], model=learned["model"])
    alt = f"{learned['metric']} of {learned['model']} over the number of train events."
    caption = "A curve that still rises says that more data would help. The band is a 95 % interval."
    parts = [
        _note(inputs),
        table(_stability(stable)),
        gallery([pictures.show("learning-curve", figure, alt, caption)]),
    ]
    return Section("robustness", "Robustness", parts)


def in_short(inputs: Inputs) -> list[str]:
    """Sentences for the top of the page."""
    audit = _of(inputs)
    rows = _frame(audit["cold_start"]["rows"])
    metric = _metric(inputs, audit["cold_start"]["metrics"])
    lines = [_best_of_unknown(rows.filter((pl.col("metric") == metric) & (pl.col("stratum") == "all")))]
    own = [one for one in audit["fairness"]["users"] if one["model"] == _best(inputs)]
    differ = [one["by"] for one in own if any(_differs(row, metric) for row in one["rows"])]
    if own:
        found = f"a difference by {', '.join(differ)}" if differ else "no difference beyond chance is shown"
        groups = ", ".join(one["by"] for one in own)
        lines.append(
            f"{metric} of {_best(inputs)}, the best of the audit, for users grouped by {groups}: {found}."
        )
    return lines


def _best_of_unknown(rows: pl.DataFrame) -> str:
    """The best model at each number of events told; those of one figure together."""
    told: dict[str, list[str]] = {}
    for (given,), point in rows.sort("given").group_by("given", maintain_order=True):
        told.setdefault(_leaders(point), []).append(str(given))
    said = "; ".join(f"told {', '.join(numbers)}: {who}" for who, numbers in told.items())
    return f"Best for users unknown to train, by the number of events told of them: {said}."


def _leaders(point: pl.DataFrame) -> str:
    """Who has the best figure of one point, and whether it is the fallback's."""
    best = point.filter(pl.col("value") >= pl.col("value").max() - _EQUAL)
    if best.height == 1:
        return str(best["model"][0])
    who = "all models" if best.height == point.height else ", ".join(best["model"])
    stand_in = (
        " (where a model has no evidence its fallback answers)" if best["fallback_share"].max() == 1 else ""
    )
    return f"{who} alike{stand_in}"


def _differs(row: Mapping[str, Any], metric: str) -> bool:
    return row["metric"] == metric and row["verdict"] in ("better", "worse")


def _of(inputs: Inputs) -> Mapping[str, Any]:
    return inputs.audit or {}


def _best(inputs: Inputs) -> str:
    """The audit's best model."""
    return str(_of(inputs)["reports"][0]["model"])


def _metric(inputs: Inputs, known: Sequence[str]) -> str:
    """The metric that decides where the audit has it, else the audit's first."""
    return inputs.metric if inputs.metric in known else known[0]


def _note(inputs: Inputs) -> Html:
    return paragraph(inputs.audit_note, class_="missing") if inputs.audit_note else Html("")


def _frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, infer_schema_length=None)


def _name(text: str) -> str:
    """A column's name as part of a file's."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in text.lower())


def _bounds(low: float | None, high: float | None, form: str = ".4f") -> str:
    return "" if low is None or high is None else f"{low:{form}} to {high:{form}}"


def _between(pair: Sequence[float | None], form: str = ".4f") -> str:
    low, high = pair
    return _bounds(low, high, form)


def _told(rows: pl.DataFrame) -> str:
    return ", ".join(
        f"{group} {value:.3f}"
        for group, value in rows.select("group", "value").iter_rows()
        if value is not None
    )


def _curve_table(rows: pl.DataFrame, metric: str, stratum: str = "all") -> Table:
    own = rows.filter((pl.col("metric") == metric) & (pl.col("stratum") == stratum))
    given = own["given"].unique().sort().to_list()
    columns = ["model", *(f"{g} told" for g in given)]
    cells = {
        (r["model"], r["given"]): f"{r['value']:.3f}\n{_bounds(r['low'], r['high'], '.3f')}"
        for r in own.iter_rows(named=True)
    }
    models = own["model"].unique(maintain_order=True).to_list()
    lines = [(model, *(cells.get((model, g), "") for g in given)) for model in models]
    users = max(own["users"], default=0)
    return Table(f"{metric}, {stratum}: {users:,} users", columns, lines, numbers=columns[1:])


def _strata(rows: pl.DataFrame, metric: str) -> list[Html]:
    names = [name for name in rows["stratum"].unique(maintain_order=True) if name != "all"]
    return [table(_curve_table(rows, metric, name)) for name in names]


def _new_items(found: Mapping[str, Any]) -> Table:
    metrics = list(found["rows"][0]["figures"]) if found["rows"] else []
    columns = ("model", "by features", "reachable", "of places", "coverage", *metrics)
    rows = [
        (
            row["model"],
            bool(row["extended"]),
            *(f"{row[name]:.1%}" for name in ("reachable", "places", "coverage")),
            *(f"{row['figures'][m]:.3f} ({_between(row['intervals'][m], '.3f')})" for m in metrics),
        )
        for row in found["rows"]
    ]
    caption = f"By chance a list would hold {found['of_catalogue']:.1%} of them."
    title = f"New items: {found['items']:,} without an event in train, {found['users']:,} users who took one"
    return Table(title, columns, rows, numbers=columns[2:], caption=caption)


def _gap_words(one: Mapping[str, Any], metric: str) -> str:
    gap = next((gap for gap in one["gaps"] if gap["metric"] == metric), None)
    if gap is None:
        return "Fewer than two groups are large enough to be compared."
    return (
        f"Largest gap of the groups compared: {gap['low']} / {gap['high']} = {gap['ratio']:.2f}; "
        f"any difference at all: p = {gap['p']:.3f} (permutations)."
    )


def _group_table(one: Mapping[str, Any], metric: str) -> Table:
    columns = ("group", "users", "value", "95 %", "against the rest", "p (Holm)", "verdict")
    rows = [
        (row["group"], row["users"], row["value"], _between(row["interval"]),
         "" if row["difference"] is None else f"{row['difference']:+.4f} ({_between(row['difference_interval'])})",
         row["p_corrected"], row["verdict"])
        for row in one["rows"] if row["metric"] == metric
    ]  # fmt: skip
    return Table(f"{metric} by {one['by']}", columns, rows, numbers=columns[1:6])


def _gaps(users: Sequence[Mapping[str, Any]], inputs: Inputs) -> Table:
    columns = ("model", "by", "best served", "worst served", "gap", "low / high", "p")
    rows = []
    for one in users:
        metric = _metric(inputs, [gap["metric"] for gap in one["gaps"]] or [""])
        rows += [
            (one["model"], one["by"], gap["high"], gap["low"],
             f"{gap['difference']:.4f} ({_between(gap['interval'])})", f"{gap['ratio']:.2f}", gap["p"])
            for gap in one["gaps"] if gap["metric"] == metric
        ]  # fmt: skip
    caption = "p: permutation test of no difference between any groups. The two groups were chosen for their figures."
    return Table(
        "Largest gaps between the groups compared",
        columns,
        rows,
        numbers=columns[4:],
        caption=caption,
    )


def _bias(found: Sequence[Mapping[str, Any]]) -> Table:
    names = list(found[0]["figures"])
    rows = [(one["model"], *(one["figures"].get(name) for name in names)) for one in found]
    columns = ("model", *(name.replace("_", " ") for name in names))
    caption = (
        "arp: mean popularity of what is shown; aplt: share of the tail in a list; aclt: items of the tail in a list; "
        "miscalibration: distance of a list's categories from the user's own."
    )
    return Table(
        f"Popularity and calibration, {found[0]['k']} places",
        columns,
        rows,
        numbers=columns[1:],
        caption=caption,
    )


def _stability(found: Mapping[str, Any]) -> Table:
    corrected = correction_title(
        found.get("correction", HOLM)
    )  # older audits have no correction of their own
    columns = ("model", "mean", "sd", "sd seeds", "sd splits", "difference", corrected, "verdict")
    rows = [
        (row["model"], row["mean"], row["sd"], row["sd_seeds"], row["sd_splits"],
         "" if row["difference"] is None else f"{row['difference']:+.4f}", row["p_corrected"], row["verdict"])
        for row in found["rows"]
    ]  # fmt: skip
    title = f"{found['metric']} over {len(found['splits'])} splits and {len(found['seeds'])} seeds"
    caption = f"Against {found['reference']}: paired, {found['test']}. Splits: {', '.join(found['splits'])}."
    if left_out := found.get("left_out"):
        caption += f" {only_best(len(found['rows']), left_out)}"
    return Table(title, columns, rows, numbers=columns[1:7], caption=caption)
