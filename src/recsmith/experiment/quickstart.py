"""The first run: quick models on one log, parameters chosen on validation, figures on test, one bundle.

Nothing is printed here; ``recsmith quickstart`` shows what this returns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recsmith.bundle import Bundle
from recsmith.data.dataset import Dataset
from recsmith.data.split import Split
from recsmith.data.split_by_name import Splitter
from recsmith.evaluation import evaluate, fold_in_gap, leaderboard
from recsmith.evaluation.report import Report
from recsmith.experiment.choose import Choice, Trial, choose
from recsmith.experiment.train import as_bundle, make_pipeline
from recsmith.experiment.watch import Watch, silent

RANKING_METRIC = "ndcg@10"
RATING_METRIC = "rmse"
SPLIT = Splitter("user-time", {"share": 0.2})


@dataclass(frozen=True, slots=True)
class Entrant:
    """A model by its label, and the parameters among which validation chooses."""

    label: str
    model: str
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)


_HALF_LIVES = (3, 5, 10, 20, 40)
_ORDER = {"pair_half_life": (20, 50), "backward": (0.3,), "half_life": (5, 7, 10)}
_EASE = {"reg": (100, 300, 1000, 3000)}
_IALS = {"reg": (10, 30, 100), "alpha": (1, 10, 40)}
_ITEM_KNN = {"neighbors": (50, 100, 200)}
_USER_KNN = {"neighbors": (50, 100, 200)}
_RATINGS = {"similarity": "pearson_baseline", "shrinkage": 100}

#: What orders items. ``half_life`` counts later events of the same history; for popular it is days.
RANKERS = (
    Entrant("popular", "popular"),
    Entrant("popular, decayed", "popular", {"half_life": (30, 90, 365)}),
    Entrant("item-knn", "item-knn", _ITEM_KNN),
    Entrant("item-knn, recency", "item-knn", {**_ITEM_KNN, "half_life": _HALF_LIVES}),
    Entrant("item-knn, order", "item-knn", _ORDER),
    Entrant("user-knn", "user-knn", _USER_KNN, {"shrinkage": 20}),
    Entrant("user-knn, recency", "user-knn", {**_USER_KNN, "half_life": _HALF_LIVES}, {"shrinkage": 20}),
    Entrant("ease", "ease", _EASE),
    Entrant("ease, recency", "ease", {**_EASE, "half_life": _HALF_LIVES}),
    Entrant("ease, order", "ease", {"reg": (300, 1000), **_ORDER}),
    Entrant("ials", "ials", _IALS),
    Entrant("ials, recency", "ials", {**_IALS, "half_life": _HALF_LIVES}),
)

#: What predicts ratings.
RATERS = (
    Entrant("rating-baseline", "rating-baseline", {"reg_user": (4, 8), "reg_item": (2, 5)}),
    Entrant("item-knn", "item-knn", {"neighbors": (300, 1000)}, _RATINGS),
    Entrant("user-knn", "user-knn", {"neighbors": (40, 100)}, _RATINGS),
    Entrant("biased-mf", "biased-mf", {"embedding_size": (50, 100), "reg": (0.08, 0.12)}),
)


_NEW_SHARES = (0.05, 0.1, 0.25)  # of the events, for the fold-in gap of the chosen model


@dataclass(frozen=True, slots=True, kw_only=True)
class Quickstart:
    """Everything that a first run found."""

    data: Dataset
    split: Split
    choices: Mapping[str, Choice]  #: what validation said, by kind and label: ``"ranking/ease"``
    ranking: tuple[Report, ...]  #: on test, in the order of ``RANKERS``
    rating: tuple[Report, ...]  #: on test; empty where the log has no ratings
    chosen: str  #: label of the ranker that was best on validation
    bundle: Bundle  #: that one, fitted on the whole log

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "data": {
                "name": self.data.name,
                "users": self.data.n_users,
                "items": self.data.n_items,
                "events": len(self.data),
                "fingerprint": self.data.fingerprint(),
            },
            "split": self.split.name,
            "chosen": self.chosen,
            "ranking": leaderboard(self.ranking, RANKING_METRIC).rows,
            "rating": leaderboard(self.rating, RATING_METRIC).rows if self.rating else [],
            "validation": {name: choice.as_dict() for name, choice in self.choices.items()},
            "reports": {
                "ranking": [report.as_dict() for report in self.ranking],
                "rating": [report.as_dict() for report in self.rating],
            },
        }


def quickstart(data: Dataset, *, seed: int = 0, watch: Watch | None = None) -> Quickstart:
    """Compare quick models on a log and fit the best one on all of it.

    The log is split by each user's time; parameters, and the model of the bundle, are chosen on a split of the train
    part, so that the test figures had no part in any choice.

    Parameters
    ----------
    data
        The log; without ratings there is no second leaderboard.
    seed
        Of all fits and intervals.
    watch
        Opens a progress display for a label.

    Raises
    ------
    DataError
        A log that is too small to be split twice.
    """
    show = watch or silent
    split = SPLIT.split(data)[0]
    trial = SPLIT.split(split.train)[0]
    ranking = [_run(one, RANKING_METRIC, split, trial, seed, show) for one in RANKERS]
    raters = RATERS if data.value is not None else ()
    rating = [_run(one, RATING_METRIC, split, trial, seed, show) for one in raters]
    chosen, choice, report = max(ranking, key=lambda run: run[1].best.value)
    best = choice.best
    with show(f"{chosen.label} on all data") as monitor:
        bundle = as_bundle(_pipeline(chosen, best), data, seed=seed, monitor=monitor)
    with show(f"{chosen.label}: fold-in against refit"):
        gap = fold_in_gap(lambda: _pipeline(chosen, best), split, share_new=_NEW_SHARES, seed=seed)
    return Quickstart(
        data=data,
        split=split,
        choices={
            f"{kind}/{one.label}": its
            for kind, runs in (("ranking", ranking), ("rating", rating))
            for one, its, _ in runs
        },
        ranking=tuple(its for _, _, its in ranking),
        rating=tuple(its for _, _, its in rating),
        chosen=chosen.label,
        bundle=bundle.with_info(metrics=report.card(), fold_in_gap=gap.as_dict()),
    )


def _run(
    entrant: Entrant, metric: str, split: Split, trial: Split, seed: int, show: Watch
) -> tuple[Entrant, Choice, Report]:
    """Choose on ``trial`` and judge on ``split``."""
    rates = metric == RATING_METRIC
    with show(entrant.label) as monitor:
        choice = choose(
            entrant.model, entrant.grid, trial, metric, fixed=entrant.fixed, seed=seed, monitor=monitor
        )
        pipeline = _pipeline(entrant, choice.best)
        metrics = () if rates else None
        report = evaluate(pipeline, split, name=entrant.label, metrics=metrics, rating=rates, seed=seed)
    return entrant, choice, report


def _pipeline(entrant: Entrant, trial: Trial) -> Any:
    return make_pipeline(entrant.model, **trial.parameters)
