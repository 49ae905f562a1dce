"""evaluate and judge: the one way in which a pipeline is measured.

The lists come from ``Pipeline.recommend``, which is what the service calls too.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from recsmith.data.leakage import leakage
from recsmith.data.split import Split
from recsmith.errors import ParameterError
from recsmith.evaluation.answers import Ranked, Rated, can_rank, can_rate, fingerprint, rank, rate
from recsmith.evaluation.metrics import beyond_accuracy as beyond
from recsmith.evaluation.metrics import ranking
from recsmith.evaluation.report import Report, Stratum, sample_of, summarize
from recsmith.evaluation.significance import few_hits_notes
from recsmith.protocols import Monitor
from recsmith.recommend import SOURCES, Pipeline
from recsmith.resources import measure
from recsmith.types import BoolArray, FloatArray

DEFAULT_CUTS = (5, 10, 20)
MAIN_CUT = 10  #: beyond-accuracy figures are taken there, or at the largest cut-off where 10 is not asked for


def evaluate(
    pipeline: Pipeline,
    split: Split,
    *,
    name: str | None = None,
    ks: Sequence[int] = DEFAULT_CUTS,
    metrics: Iterable[str] | None = None,
    filter_seen: bool = True,
    rating: bool | None = None,
    rating_times: bool = False,
    resamples: int = 1000,
    seed: int = 0,
    monitor: Monitor | None = None,
) -> Report:
    """Fit a pipeline on ``split.train`` and judge it: see ``judge``, which takes one that is fitted.

    ``seed`` is that of the fit and of the intervals; ``monitor`` is passed to the fit.

    Returns
    -------
    Report
        With the fit's seconds and peak memory.

    Raises
    ------
    InputError
        As ``judge``; whatever the model's ``fit`` raises passes through.
    """
    with measure() as usage:
        fitted = pipeline.fit(split.train, rng=seed, monitor=monitor)
    report = judge(
        fitted,
        split,
        name=name,
        ks=ks,
        metrics=metrics,
        filter_seen=filter_seen,
        rating=rating,
        rating_times=rating_times,
        resamples=resamples,
        seed=seed,
    )
    return replace(
        report,
        seconds={"fit": usage.seconds, **report.seconds},
        memory_mb={"fit": usage.peak_mb, **report.memory_mb},
    )


def judge(
    fitted: Pipeline,
    split: Split,
    *,
    name: str | None = None,
    ks: Sequence[int] = DEFAULT_CUTS,
    metrics: Iterable[str] | None = None,
    filter_seen: bool = True,
    rating: bool | None = None,
    rating_times: bool = False,
    resamples: int = 1000,
    seed: int = 0,
    ranked: Ranked | None = None,
) -> Report:
    """Judge a pipeline that is fitted on ``split.train``.

    A model that orders items is judged by its lists, one that predicts ratings by its errors where the truth
    has ratings, one that does both by both.

    Parameters
    ----------
    fitted
        What ``Pipeline.fit(split.train)`` returned.
    split
        Questions and truth.
    name
        How the report calls the pipeline; None: the class of the model.
    ks
        Cut-offs, >= 1.
    metrics
        Names from ``metrics.ranking.METRICS``, at every cut-off, or at one of their own (``"recall@50"``);
        None: precision, recall, ndcg, map, mrr, hit_rate.
    filter_seen
        Leave the items of a user's history out of the lists, and out of the truth: they could not be found.
    rating
        Judge ratings: None where possible, False never, True or an error.
    rating_times
        Tell the model the moment of each rating that it is to predict. Off by default: a recommender is asked
        before that is known, and a model that looks at it is more accurate than it can be in service.
    resamples
        Bootstrap draws behind the intervals.
    seed
        Seed of the draws.
    ranked
        What ``rank`` gave for the same pipeline, split, metrics and ``filter_seen``, where somebody has it already.

    Raises
    ------
    ParameterError
        An unknown metric or a bad cut-off; a pipeline fitted on other items; nothing to judge.
    NotFittedError
        A pipeline that is not fitted.
    DataError
        A split without truth, or a prediction that is not a number.
    """
    start = time.perf_counter()
    names = ranking.expand(ranking.DEFAULT_METRICS if metrics is None else metrics, ks)
    rates = _judges_ratings(fitted, split, rating)
    if can_rank(fitted) and not names and not rates:
        raise ParameterError.of(
            "judge", "metrics", "at least one name, with at least one cut-off in ks", names
        )
    if ranked is None and can_rank(fitted) and names:
        ranked = rank(fitted, split, names, filter_seen=filter_seen)
    rated = rate(fitted, split, rating_times=rating_times) if rates else None
    protocol = {
        "filter_seen": filter_seen,
        "rating_times": rating_times,
        "resamples": resamples,
        "seed": seed,
    }
    report = _report(fitted, split, ranked, rated, name or type(fitted.model).__name__, protocol)
    if ranked is not None:
        figures = beyond_accuracy(ranked, split, _main_cut(names), filter_seen=filter_seen)
        report = replace(report, beyond=figures)
    spent = sum(report.seconds.values())
    return replace(report, seconds={**report.seconds, "evaluate": time.perf_counter() - start - spent})


def beyond_accuracy(ranked: Ranked, split: Split, k: int, *, filter_seen: bool = True) -> dict[str, float]:
    """Figures of the lists' first ``k`` places: over all lists, or means over users.

    ``diversity`` compares items by their audience in train, ``genre_diversity`` by the item feature ``genres``
    where the log has it.
    """
    train, items, hit = split.train, ranked.top.items[:, :k], ranked.hit[:, :k]
    shares = beyond.user_shares(train)
    expected = beyond.popular_lists(ranked.queries, shares, k, filter_seen=filter_seen)
    figures = {
        "coverage": beyond.coverage(items, train.n_items),
        "gini": beyond.gini(items, train.n_items),
        "diversity": _mean(beyond.diversity(items, beyond.audience_vectors(train))),
        "novelty": _mean(beyond.novelty(items, shares)),
        "popularity": _mean(beyond.popularity(items, shares)),
        "serendipity": _mean(beyond.serendipity(items, hit, expected)),
    }
    features = train.item_features
    if features is not None and "genres" in features.columns:
        figures["genre_diversity"] = _mean(
            beyond.diversity(items, beyond.category_vectors(features["genres"]))
        )
    return {f"{name}@{k}": value for name, value in figures.items()}


def described(pipeline: Pipeline) -> dict[str, Any]:
    """Classes and parameters of a pipeline, as JSON values."""

    def part(model: Any) -> dict[str, Any]:
        return {"class": type(model).__name__, **model.config.model_dump(mode="json")}

    return {
        "model": part(pipeline.model),
        "fallback": None if pipeline.fallback is None else part(pipeline.fallback),
        "weighting": pipeline.weighting.model_dump(mode="json"),
    }


def _judges_ratings(fitted: Pipeline, split: Split, rating: bool | None) -> bool:
    """Whether ratings are judged; an error where that leaves nothing, or where they are wanted in vain."""
    possible = can_rate(fitted, split)
    model = type(fitted.model).__name__
    if rating and not possible:
        raise ParameterError(
            f"rating=True, but {model} predicts no ratings or the truth of {split.name!r} has none."
        )
    judged = possible and rating is not False
    if not judged and not can_rank(fitted):
        raise ParameterError(
            f"There is nothing to judge: {model} orders no items, and "
            f"{'rating is False' if possible else f'the truth of {split.name!r} has no ratings it could predict'}."
        )
    return judged


def _report(
    fitted: Pipeline,
    split: Split,
    ranked: Ranked | None,
    rated: Rated | None,
    name: str,
    protocol: Mapping[str, Any],
) -> Report:
    """Everything but the beyond-accuracy figures."""
    draws = {part: protocol[part] for part in ("resamples", "seed")}
    used = {step: part for step, part in (("recommend", ranked), ("predict", rated)) if part is not None}
    parts = list(used.values())
    rows = np.unique(np.concatenate([part.rows for part in parts]))
    values = {
        metric: _spread(column, part.rows, rows) for part in parts for metric, column in part.values.items()
    }
    pairs = None if rated is None else np.nan_to_num(_spread(rated.pairs, rated.rows, rows)).astype(np.int64)
    samples = {metric: sample_of(metric, column, pairs) for metric, column in values.items()}
    means, bounds = summarize(samples, **draws)
    known = split.known[rows]
    strata = {}
    for group, mask in (("known", known), ("unknown", ~known)):
        if mask.any():
            some = {metric: sample.take(mask) for metric, sample in samples.items()}
            figures = (means, bounds) if mask.all() else summarize(some, **draws)
            strata[group] = Stratum(int(mask.sum()), *figures)
    return Report(
        model=name,
        config=described(fitted),
        protocol={"split_fingerprint": fingerprint(split), **protocol},
        split=split.name,
        notes=(*split.notes, *(note for part in parts for note in part.notes), *few_hits_notes(samples)),
        leakage=tuple(leakage(split)),
        user_ids=split.user_ids.gather(rows),
        known=known,
        values=values,
        pairs=pairs,
        means=means,
        intervals=bounds,
        strata=strata,
        shares=_shares(split, ranked),
        seconds={step: part.usage.seconds for step, part in used.items()},
        memory_mb={step: part.usage.peak_mb for step, part in used.items()},
    )


def _spread(column: Any, rows: Any, wanted: Any) -> FloatArray:
    """Values of ``rows`` at the places that these have in ``wanted``; NaN elsewhere."""
    out = np.full(len(wanted), np.nan)
    out[np.searchsorted(wanted, rows)] = column
    return out


def _shares(split: Split, ranked: Ranked | None) -> Mapping[str, float]:
    shares = {"truth_not_in_train": _share(split.truth.items < 0)}
    if ranked is not None:
        sources = ranked.top.sources
        shares["fallback_slots"] = _share(sources == SOURCES.index("fallback"))
        shares["empty_slots"] = _share(sources < 0)
    return shares


def _share(mask: BoolArray) -> float:
    return float(mask.mean()) if mask.size else 0.0


def _main_cut(names: Iterable[str]) -> int:
    cuts = {k for _, k in map(ranking.parse, names)}
    return MAIN_CUT if MAIN_CUT in cuts else max(cuts)


def _mean(values: FloatArray) -> float:
    judged = values[~np.isnan(values)]
    return float(judged.mean()) if len(judged) else float("nan")
