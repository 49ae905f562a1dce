"""What kind of log this is, and how it is cut: test once, validation from the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from recsmith.data.dataset import Dataset
from recsmith.data.split import Split, percent
from recsmith.data.split_by_name import Splitter, parse
from recsmith.data.weighting import SECONDS_PER_DAY
from recsmith.errors import DataError
from recsmith.evaluation.report import smaller_is_better
from recsmith.experiment.validation import Validation, judged_rows

_SMALL = 50_000  # events below which one random cut says too little: three are averaged
_MOST_USERS = 4_000  # asked at a trial; more users make a trial slower, and its figure hardly surer


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The figures of a log that decide how it is judged."""

    name: str
    users: int
    items: int
    events: int
    density: float  #: share of the pairs that occur, at most
    per_user: float  #: median number of events
    busiest_share: float  #: share of the events that the 1 % most popular items have
    repeats: float  #: share of the events whose pair was there before
    timed: bool
    days: float | None  #: between the first and the last event
    first: str | None
    last: str | None
    rated: bool
    weighted: bool

    @classmethod
    def of(cls, data: Dataset) -> Profile:
        """Count."""
        counts = np.sort(data.item_counts())[::-1]
        pairs = int(data.matrix("ones").nnz)
        lengths = np.diff(data.offsets)
        times = None if data.time is None else (int(data.time.min()), int(data.time.max()))
        return cls(
            name=data.name,
            users=data.n_users,
            items=data.n_items,
            events=len(data),
            density=pairs / max(data.n_users * data.n_items, 1),
            per_user=float(np.median(lengths[lengths > 0])),
            busiest_share=float(counts[: max(1, len(counts) // 100)].sum() / len(data)),
            repeats=1 - pairs / len(data),
            timed=times is not None,
            days=None if times is None else (times[1] - times[0]) / SECONDS_PER_DAY,
            first=None if times is None else _day(times[0]),
            last=None if times is None else _day(times[1]),
            rated=data.value is not None and not bool(np.isnan(data.value).all()),
            weighted=data.weight is not None,
        )

    def words(self) -> list[str]:
        """What a reader wants to know, a line each."""
        lines = [
            f"{self.users:,} users, {self.items:,} items, {self.events:,} events; "
            f"{percent(self.density, 1)} of the pairs occur, half of the users have {self.per_user:g} events or fewer.",
            f"The 1 % most popular items have {percent(self.busiest_share, 1)} of the events.",
        ]
        if self.repeats > 0:
            lines.append(f"{percent(self.repeats, 1)} of the events repeat a pair of user and item.")
        if self.timed:
            lines.append(f"Times: {self.first} to {self.last}, {self.days:,.0f} days.")
        else:
            lines.append("No times: what came first is not known.")
        has = [word for word, known in (("ratings", self.rated), ("weights", self.weighted)) if known]
        lines.append(
            f"It has {' and '.join(has)}." if has else "No ratings and no weights: it says who took what."
        )
        return lines

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """How a log is judged."""

    test: Split | None  #: asked once, in the end; None where the log is too small for one
    validation: Validation | None  #: of the rest; None where nobody could be judged
    notes: tuple[str, ...]  #: how it was cut, and what was not possible


def protocol(profile: Profile) -> Splitter:
    """Each user's last events where times are known, else random ones."""
    return parse("user-time:0.2" if profile.timed and (profile.days or 0) > 0 else "random:0.2")


def plan(
    data: Dataset | None,
    test: Split | None,
    splitter: Splitter | None,
    profile: Profile,
    metric: str,
    seed: int,
) -> Plan:
    """Cut test, then validation from what is left; where that is too little, do with less.

    Raises
    ------
    DataError
        A rating metric on a log without ratings, or a given test part in which nobody can be judged.
    """
    if smaller_is_better(metric) and not profile.rated:
        raise DataError(f"{metric} judges ratings, and {profile.name} has none. Choose ndcg@10 or the like.")
    if test is not None:
        judged_rows(test, metric)
    outer = splitter or protocol(profile)
    chance = parse(f"random:0.2:seed={seed}")
    notes: list[str] = []
    if test is None and data is not None:
        test = _test_of(data, [outer, chance], metric, notes)
    rest = data if test is None else test.train
    if rest is None:
        raise DataError("Nothing to learn from was given.")
    ways = [outer, *([] if outer.name == "random" else [chance])]
    for way in ways:
        try:
            folds = _folds(rest, way, seed)
            validation = Validation.of(folds, metric, seed=seed, most=_MOST_USERS)
        except DataError as error:
            notes.append(f"Validation by {way} is not possible: {error}")
            continue
        said = "" if len(folds) == 1 else f", {len(folds)} times"
        notes.append(f"Validation, of the train part: {way}{said}. Everything is chosen on it.")
        return Plan(test=test, validation=validation, notes=tuple(notes))
    notes.append(
        "Nothing could be validated, so nothing could be chosen: the most popular items are the answer."
    )
    return Plan(test=test, validation=None, notes=tuple(notes))


def _test_of(data: Dataset, ways: Sequence[Splitter], metric: str, notes: list[str]) -> Split | None:
    """The test split, by the first way that leaves somebody to judge."""
    for way in ways:
        try:
            split = way.split(data)[0]
            Validation.of(split, metric)
        except DataError as error:
            notes.append(f"A test part by {way} is not possible: {error}")
            continue
        notes.append(f"Test: {way.describe()} It is asked once, when everything is chosen.")
        return split
    notes.append("The log is too small for a test part: how good the result is, is not known.")
    return None


def _folds(rest: Dataset, way: Splitter, seed: int) -> list[Split]:
    """The validation splits: several random ones of a small log."""
    if way.name != "random" or len(rest) >= _SMALL:
        return way.split(rest)
    given = dict(way.parameters)
    return [Splitter("random", {**given, "seed": seed + n}).split(rest)[0] for n in (1, 2, 3)]


def sample_of_users(data: Dataset, events: int, seed: int) -> Dataset:
    """About ``events`` events: all those of a random part of the users."""
    share = min(1.0, max(events / max(len(data), 1), min(200 / max(data.n_users, 1), 1.0)))
    chosen = np.random.default_rng([seed, 77]).random(data.n_users) < share
    return data.take(chosen[data.user]).compact()


def _day(seconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, tz=UTC):%Y-%m-%d}"
    except (OverflowError, ValueError, OSError):
        return f"second {seconds}"
