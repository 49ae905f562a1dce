"""What another bundle would have earned, from the service's own log of answers and events.

A bundle gives one list, so the target's probability of an item in a place is 1 or 0. The log says something of it where
chance had a part: places that exploration filled, or variants of an experiment. Where the logged list was certain
(propensity 1) and the bundle would have shown something else, nothing can be said, and no figure is given.

A bundle that was fitted on what came after an answer has learned from the reward that is to evaluate it. So only
answers after the newest event of its log count, unless the in-sample estimate is requested, which is optimistic and
says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from recsmith.bundle import Bundle
from recsmith.data.ids import IdMap
from recsmith.errors import DataError
from recsmith.evaluation.off_policy import LoggedBandit, LoggedSlates, OffPolicyResult
from recsmith.evaluation.off_policy.evaluate import evaluate_policy, evaluate_slates
from recsmith.serving.events import digest
from recsmith.serving.histories import Reader, Seen, queries
from recsmith.serving.settings import SIGNALS, Signal
from recsmith.serving.store import Store
from recsmith.types import FloatArray, IntArray

_EVENTS = 10_000  # of a user that a list may be made of
_AT_ONCE = 4096  # lists that are asked of the bundle together


@dataclass(frozen=True, slots=True, eq=False)
class ServiceLog:
    """The places that were shown, as off-policy evaluation takes them."""

    slots: pl.DataFrame  #: a row for each place, as ``rewarded`` gives it
    left_out: int  #: places without a propensity

    @classmethod
    def of(cls, rewarded: pl.DataFrame, *, explored: bool = False) -> ServiceLog:
        """The places of ``recsmith.serving.logged.rewarded`` that somebody saw.

        Parameters
        ----------
        explored
            Only places that a policy filled: ``chance`` below 1.

        Raises
        ------
        DataError
            No such place is left.
        """
        shown = rewarded.filter(~pl.col("shadow"))
        kept = shown.filter(pl.col("propensity").is_not_null())
        left_out = shown.height - kept.height
        if explored:
            kept = kept.filter(pl.col("chance") < 1)
        if not kept.height:
            what = "place that a policy filled" if explored else "place that was shown"
            raise DataError(f"The log holds no {what} in that time. Serve with exploration, and ask again.")
        return cls(kept, left_out)

    def bandit(self) -> LoggedBandit:
        """A round for each place; the rounds of one user, or of one list to nobody by name, are drawn together."""
        slots = self.slots
        items = IdMap.of(slots["item_id"], kind="item")
        owner = slots.select(pl.when(pl.col("user_id") == "").then("recomm_id").otherwise("user_id"))
        return LoggedBandit(
            action=items.index(slots["item_id"]),
            reward=slots["reward"].to_numpy(),
            propensity=slots["propensity"].to_numpy(),
            n_actions=len(items),
            position=slots["rank"].to_numpy() - 1,
            n_positions=int(slots["rank"].to_numpy().max()),
            unit=owner.to_series().rank("dense").to_numpy() - 1,
        )

    def lists(self, target: FloatArray) -> LoggedSlates:
        """The places of each answer together; ``target`` (n,) as for ``slots``.

        The variant of an experiment is drawn once for a list: its probability stands at the first place.
        """
        first = pl.col("rank") == pl.col("rank").min().over("recomm_id")
        drawn = pl.when(first).then("propensity").otherwise("chance")
        return LoggedSlates(
            slate=self.slots["recomm_id"].rank("dense").to_numpy(),
            position=self.slots["rank"].to_numpy() - 1,
            reward=self.slots["reward"].to_numpy(),
            propensity=self.slots.select(drawn).to_series().to_numpy(),
            logged_marginal=self.slots["propensity"].to_numpy(),
            target=target,
        )


def would_show(
    bundle: Bundle, slots: pl.DataFrame, store: Store, signals: Mapping[str, Signal] = SIGNALS
) -> FloatArray:
    """Whether a bundle, asked at that moment, would have put the same item into the same place.

    Parameters
    ----------
    bundle
        Asked with what the user had done before the answer: of its own log, too, only earlier events count. Its lists
        are its own: without rules, filters and items left out by the request, which are not logged.
    slots
        Columns ``recomm_id, user_id, timestamp, item_id, rank``.
    store
        Where the users' events are.
    signals
        Type of event -> what it says, as the service is set.

    Returns
    -------
    numpy.ndarray
        (n,) float64, 1 or 0.

    Raises
    ------
    DataError
        The bundle's log has no times.
    """
    answers = slots.group_by("recomm_id", maintain_order=True).agg(
        pl.col("user_id", "timestamp").first(), k=pl.col("rank").max()
    )
    histories = _histories(bundle, answers, store, signals)
    k = int(answers["k"].to_numpy().max())
    found = np.full((answers.height, k), -1, dtype=np.int64)
    for start in range(0, answers.height, _AT_ONCE):
        some = histories[start : start + _AT_ONCE]
        hidden = [history.hidden for history in some]
        bounds = np.r_[0, np.cumsum([len(items) for items in hidden])]
        lists = bundle.pipeline.recommend(
            bundle.with_context(queries(some)),
            k,
            exclude_each=(bounds, np.concatenate(hidden).astype(np.int64)),
        )
        found[start : start + len(some)] = lists.items
    row = slots.join(answers.with_row_index("answer"), on="recomm_id", maintain_order="left")["answer"]
    item: IntArray = bundle.data.items.index(slots["item_id"])
    theirs = found[row.to_numpy(), slots["rank"].to_numpy() - 1]
    same: FloatArray = ((item >= 0) & (theirs == item)).astype(np.float64)
    return same


def _histories(
    bundle: Bundle, answers: pl.DataFrame, store: Store, signals: Mapping[str, Signal]
) -> Sequence[Any]:
    """What each answer could know: the bundle's part and the events before its moment."""
    users = answers["user_id"].to_list()
    events = store.history([user for user in dict.fromkeys(users) if user], _EVENTS)
    erased = store.erased()
    seen = [
        Seen(events=tuple(e for e in events[user] if e.timestamp < at), erased=digest(user) in erased)
        if user
        else Seen()
        for user, at in zip(users, answers["timestamp"].to_list(), strict=True)
    ]
    known = bundle.data.users.index(users)
    return Reader(bundle.data, signals).read_before(known, seen, answers["timestamp"].to_numpy())


def estimate(
    rewarded: pl.DataFrame,
    bundle: Bundle,
    store: Store,
    *,
    signals: Mapping[str, Signal] = SIGNALS,
    explored: bool = False,
    per_list: bool = False,
    in_sample: bool = False,
    **options: Any,
) -> OffPolicyResult:
    """What ``bundle`` would have earned in the place of what was shown.

    Parameters
    ----------
    rewarded
        Frame of ``recsmith.serving.logged.rewarded``.
    explored
        Judge only the places that a policy filled.
    per_list
        Judge whole lists instead of single places; see ``evaluate_slates``.
    in_sample
        Answers up to the newest event of the bundle's log count too. The bundle was fitted on events that came after
        them, their rewards among these, so the estimate is optimistic; the notes say of how many places.
    **options
        Of ``evaluate_policy`` or ``evaluate_slates``.

    Raises
    ------
    DataError
        Nothing was shown, or nothing after the bundle's newest event; the bundle's log has no times; or the log has no
        overlap with the bundle.
    """
    log, learned = _evaluating(ServiceLog.of(rewarded, explored=explored), bundle, in_sample)
    target = would_show(bundle, log.slots, store, signals)
    found = (
        evaluate_slates(log.lists(target), **options)
        if per_list
        else evaluate_policy(log.bandit(), target, **options)
    )
    agreed = f"The bundle would have shown {target.mean():.1%} of the {len(target):,} places as they were."
    missing = f"{log.left_out:,} places without a propensity are left out."
    return replace(found, notes=(agreed, *learned, *found.notes, *([missing] if log.left_out else [])))


def _evaluating(log: ServiceLog, bundle: Bundle, in_sample: bool) -> tuple[ServiceLog, list[str]]:
    """The places whose rewards the bundle cannot have learned, or all of them; and what to say of the others."""
    newest = bundle.data.last_time()
    if newest is None:
        raise DataError(
            f"The bundle's log {bundle.data.name!r} has no times, so whether the bundle was fitted on what the answers "
            "earned is not known. Fit it on a log with times, of events before the answers."
        )
    later = pl.col("timestamp") > newest
    learned = log.slots.filter(~later).height
    if not learned:
        return log, []
    until = f"{datetime.fromtimestamp(newest, UTC):%Y-%m-%d %H:%M:%S} UTC"
    if in_sample:
        return log, [
            f"Warning: {learned:,} of {log.slots.height:,} places were shown up to {until}, the newest event that the "
            "bundle was fitted on: it has learned from their rewards, so the estimate is optimistic."
        ]
    if learned == log.slots.height:
        raise DataError(
            f"All {learned:,} places were shown up to {until}, the newest event that the bundle was fitted on: it has "
            "learned from their rewards. Evaluate it by answers that came later, or a bundle that is fitted on events "
            "before the answers; or ask for the optimistic estimate: --in-sample (in_sample=True)."
        )
    said = f"{learned:,} places that were shown up to {until}, the newest event of the bundle's log, are left out"
    return replace(log, slots=log.slots.filter(later)), [
        f"{said}: the bundle has learned from their rewards."
    ]
