"""What the numbers of a report do not say, in words, out of the facts of its split."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from recsmith.data.split import Split, percent, repeats
from recsmith.evaluation.fairness import MIN_USERS
from recsmith.evaluation.groups import counted
from recsmith.evaluation.metrics import fairness, ranking
from recsmith.evaluation.report import Report

_DAY = 86_400
_WIDE = 0.1  # half an interval over its figure, from which on it is called wide
_FEW_EVENTS = 3  # truth events of a user, up to which one of them decides


def limits(report: Report, split: Split) -> tuple[str, ...]:
    """Sentences on what cannot be concluded, each with the figure that it comes from.

    A limit that the split does not have is not listed. Leakage is told by ``data.leakage.leakage``.

    Parameters
    ----------
    report
        Of a model on ``split``.
    split
        The same split.
    """
    return (
        *_offline(split),
        *_who(report, split),
        *_what(report, split),
        *_when(split),
        *_how_sure(report, split),
    )


def _offline(split: Split) -> list[str]:
    """Offline, and what the log shows only because somebody was shown it."""
    counts = split.train.item_counts()
    head = fairness.popularity_groups(counts) == 0
    said = [
        f"These are answers to {counted(len(split.queries), 'question')} of a log. What people do with other lists "
        "than those that they were shown is not in it; an A/B test says that.",
        f"The log does not say what was shown. {percent(int(head.sum()), len(counts))} of the items hold 80 % of the "
        "train events, and an item that nobody was shown counts as wrong: models that follow what was shown before "
        "look better than they are.",
    ]
    values, scale = split.truth.values, split.train.rating_scale
    if values is not None and (rated := values[~np.isnan(values)]).size:
        middle = sum(scale) / 2 if scale is not None else float(np.median(rated))
        if low := int((rated < middle).sum()):
            said.append(
                f"{percent(low, len(rated))} of the ratings to be found are below {middle:g}: in the metrics of lists "
                "an item that was rated low counts as right. --min-rating leaves such events out."
            )
    return said


def _who(report: Report, split: Split) -> list[str]:
    known, n = report.known, len(report)
    said = []
    for group, mask in (("known to train", known), ("unknown to train", ~known)):
        count = int(mask.sum())
        if count == 0:
            said.append(f"None of the {counted(n, 'judged user')} is {group}: nothing is said of such users.")
        elif count < MIN_USERS:
            said.append(
                f"Only {count} of the {counted(n, 'judged user')} {'is' if count == 1 else 'are'} {group}: too few to "
                "say how these are served."
            )
    if silent := len(split.queries) - n:
        said.append(
            f"{silent:,} of {counted(len(split.queries), 'user')} "
            f"{'has nothing left to be found and is' if silent == 1 else 'have nothing left to be found and are'} "
            "not judged."
        )
    single = int((np.diff(split.truth.offsets) <= _FEW_EVENTS).sum())
    if single:
        said.append(
            f"{percent(single, len(split.queries))} of the users have {_FEW_EVENTS} events or fewer to be found: "
            "the figure of each of them is coarse, and only means over many say something."
        )
    return said


def _what(report: Report, split: Split) -> list[str]:
    said = []
    outside = report.shares.get("truth_not_in_train", 0.0)
    if outside:
        said.append(
            f"{percent(outside, 1.0)} of the events to be found are of items that train does not hold. No model can "
            "find them, so the best possible recall is below 1."
        )
    fallback = report.shares.get("fallback_slots", 0.0)
    if fallback:
        said.append(
            f"The fallback filled {percent(fallback, 1.0)} of the places: the figures are partly its own."
        )
    seen, _ = repeats(split.queries, split.truth, split.train.n_items)
    if seen.any() and report.protocol.get("filter_seen"):
        said.append(
            f"{percent(int(seen.sum()), len(seen))} of the events to be found repeat what the user had and were left "
            "out: nothing is said of repeated use."
        )
    return said


def _when(split: Split) -> list[str]:
    at, times = split.queries.at, split.truth.times
    if at is None or times is None or not len(times):
        return [
            "The log has no times: whether a model would have known in time what it knows cannot be said."
        ]
    said = []
    first, last = int(times.min()), int(times.max())
    window = f"from {_date(first)} to {_date(last)} ({counted(max(1, round((last - first) / _DAY)), 'day')})"
    if (at == at[0]).all():
        said.append(f"One window of time was judged, {window}. Other seasons are other figures.")
    else:
        said.append(
            f"Each user is asked at a moment of his own, {window}: the figures are no forecast of one day's lists."
        )
    queries = split.queries
    if queries.times is not None and len(queries.times):
        has = np.flatnonzero((queries.lengths > 0) & (np.diff(split.truth.offsets) > 0))
        newest = queries.times[queries.offsets[has + 1] - 1]
        tied = int((newest == times[split.truth.offsets[has]]).sum())
        if tied:
            said.append(
                f"{percent(tied, len(has))} of the histories end in the very second in which what is to be found "
                "begins: there the order of the file decides what came first."
            )
    return said


def _how_sure(report: Report, split: Split) -> list[str]:
    said = [
        f"One fit with seed {report.protocol.get('seed')} and one split: the intervals hold the luck of the users, not "
        "that of the seed or of the split."
    ]
    for metric in [name for name in report.means if "@" not in name or ranking.parse(name)[1] == 10]:
        low, high = report.intervals[metric]
        half, value = (high - low) / 2, abs(report.means[metric])
        if value > 0 and half > _WIDE * value:
            said.append(
                f"{metric} is known to +- {percent(half, value)} of itself from {counted(len(report), 'user')}: two "
                "reports that differ by less may be equal. Only a paired comparison on the same users says more."
            )
    return said


def _date(moment: int) -> str:
    """A day for people; Unix seconds beyond the calendar stay a number."""
    try:
        return f"{datetime.fromtimestamp(moment, tz=UTC):%Y-%m-%d}"
    except (OverflowError, ValueError, OSError):
        return f"Unix second {moment}"
