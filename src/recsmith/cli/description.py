"""What a log holds, as plain values."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl

from recsmith.data.schema import Log

_QUANTILES = {"least": 0.0, "quarter": 0.25, "half": 0.5, "three_quarters": 0.75, "most": 1.0}
_TOP = 10
_MAX_LEVELS = 20


def describe(log: Log) -> dict[str, Any]:
    """Sizes, density, time span, ratings, activity and the busiest items of a log, JSON-able.

    The rating histogram has a row for each rating that occurs, or 10 bins where more than 20 do.
    """
    frame = log.interactions
    users, items = frame["user_id"].n_unique(), frame["item_id"].n_unique()
    pairs = frame.select(pl.struct("user_id", "item_id").n_unique()).item() if frame.height else 0
    return {
        "name": log.name,
        "origin": log.origin,
        "columns": ", ".join(frame.columns),
        "users": users,
        "items": items,
        "catalogue_items": None if log.items is None else log.items.height,
        "events": frame.height,
        "density": pairs / (users * items) if users and items else 0.0,
        "repeated_pairs": frame.height - pairs,
        "rating_scale": None if log.rating_scale is None else "{:g} to {:g}".format(*log.rating_scale),
        "time": _span(frame),
        "ratings": _histogram(frame),
        "events_per_user": _quantiles(frame, "user_id"),
        "events_per_item": _quantiles(frame, "item_id"),
        "top_items": _top_items(log),
        "citation": log.citation,
    }


def _span(frame: pl.DataFrame) -> dict[str, str] | None:
    if "timestamp" not in frame.columns or frame["timestamp"].null_count() == frame.height:
        return None
    first, last = frame.select(pl.min("timestamp").alias("first"), pl.max("timestamp").alias("last")).row(0)
    return {"first": _utc(first), "last": _utc(last)}


def _utc(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _histogram(frame: pl.DataFrame) -> list[dict[str, Any]] | None:
    """``rating, events``, by rising rating; the lower bounds of bins where there are too many ratings."""
    if "rating" not in frame.columns:
        return None
    rating = frame["rating"].fill_nan(None).drop_nulls()
    if rating.n_unique() > _MAX_LEVELS:
        low, high = float(rating.min()), float(rating.max())  # type: ignore[arg-type]
        width = (high - low) / 10
        rating = pl.Series("rating", low + ((rating - low) / width).floor().clip(0, 9) * width)
    counts = rating.value_counts(name="events").sort("rating")
    return [{"rating": float(value), "events": events} for value, events in counts.iter_rows()]


def _quantiles(frame: pl.DataFrame, column: str) -> dict[str, int]:
    counts = frame[column].drop_nulls().value_counts()["count"]
    return {name: int(counts.quantile(q, "nearest") or 0) for name, q in _QUANTILES.items()}


def _top_items(log: Log) -> list[dict[str, Any]]:
    """``item_id, title, events`` of the busiest items; ties go to the smaller id."""
    counts = log.interactions["item_id"].drop_nulls().value_counts(name="events")
    top = counts.sort(["events", "item_id"], descending=[True, False]).head(_TOP)
    if log.items is None or "title" not in log.items.columns:
        return [{"item_id": i, "title": None, "events": n} for i, n in top.iter_rows()]
    titles = log.items.select("item_id", "title").unique("item_id", keep="first")
    if titles["item_id"].dtype != top["item_id"].dtype:
        titles = titles.with_columns(pl.col("item_id").cast(top["item_id"].dtype))
    joined = top.join(titles, on="item_id", how="left", maintain_order="left")
    return joined.select("item_id", "title", "events").to_dicts()
