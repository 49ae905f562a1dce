"""Users in groups by an attribute, and whether a figure differs between the groups by more than chance.

A group is compared with all other users whose attribute is known. The test permutes the labels and looks at Welch's t:
a permutation test of a studentized difference keeps its level for equal means also where the groups differ in
spread (E. Chung, J. Romano, "Exact and asymptotically robust permutation tests", Annals of Statistics 41(2), 2013).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from recsmith import parallel
from recsmith.errors import DataError, ParameterError
from recsmith.evaluation.significance import Sample
from recsmith.kernels import njit
from recsmith.types import FloatArray, IntArray

UNKNOWN = "unknown"
AGE_EDGES = (18, 25, 35, 45, 50, 56)  #: the age bands of MovieLens-1M
MOST_GROUPS = 50  #: of one attribute
_FEW_NUMBERS = 12  # different numbers up to here are groups by themselves
_LABELS = 1 << 21  # labels permuted per task
_COLUMNS = 6  # sums that a group's t is made of


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """The group of each user."""

    name: str  #: of the attribute
    groups: tuple[str, ...]  #: those that occur, in order
    codes: IntArray  #: (n,) int64 index into ``groups``, -1 where the attribute is missing

    @property
    def unknown(self) -> int:
        """Users whose attribute is missing."""
        return int((self.codes < 0).sum())

    @property
    def sizes(self) -> IntArray:
        """(groups,) users of each group."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.groups))


def user_labels(
    user_ids: pl.Series, table: pl.DataFrame, by: str, *, edges: Sequence[float] | None = None
) -> Labels:
    """The group of each of ``user_ids`` by the column ``by`` of a table of users.

    A user without a row, or with a null there, has no group. Numbers with more than 12 different values become bands:
    between ``edges``, else those of MovieLens-1M for a column named ``age``, else quarters.

    Parameters
    ----------
    user_ids
        (n,) raw ids.
    table
        With a column ``user_id``.
    by
        Another column of it: text, a category, a truth value or a number.
    edges
        Rising lower bounds of all bands but the first.

    Raises
    ------
    ParameterError
        No such column, edges that do not rise, more than 50 groups, or fewer than two.
    DataError
        No column ``user_id``, one of another type than the ids, or none of the ids in it.
    """
    if "user_id" not in table.columns:
        raise DataError(f"The table of users has no column user_id. It has: {', '.join(table.columns)}.")
    if by not in table.columns or by == "user_id":
        raise ParameterError.unknown("user attribute", by, [c for c in table.columns if c != "user_id"])
    try:
        rows = table.select(pl.col("user_id").cast(user_ids.dtype), pl.col(by))
    except pl.exceptions.PolarsError:
        kinds = f"{table['user_id'].dtype} in the table of users and {user_ids.dtype} in the report"
        raise DataError(f"user_id is {kinds}. Cast one of them.") from None
    rows = rows.drop_nulls("user_id").unique("user_id", keep="first", maintain_order=True)
    check_ids(rows["user_id"], user_ids, "user", "among the judged users")
    found = pl.DataFrame({"user_id": user_ids}).join(rows, on="user_id", how="left", maintain_order="left")
    return labels_of(found[by], edges=edges)


def check_ids(known: pl.Series, wanted: pl.Series, kind: str, where: str = "in the log") -> None:
    """See that a table of users or items is of these users or items at all.

    Parameters
    ----------
    known
        The ids that the table has rows for.
    wanted
        Those of the log.
    kind
        ``"user"`` or ``"item"``.
    where
        Where ``wanted`` come from, for the message.

    Raises
    ------
    DataError
        None of ``wanted`` is in the table.
    """
    if known.cast(wanted.dtype, strict=False).is_in(wanted.unique().implode()).any() or wanted.is_empty():
        return
    found = f"ids such as {known[0]!r}" if len(known) else "no ids"
    raise DataError(
        f"The table of {kind}s does not belong to this log: none of the ids in its column {kind}_id is {where}. "
        f"The table has {found}, the log has ids such as {wanted[0]!r}."
    )


def counted(n: int, noun: str) -> str:
    """``1 user``, ``1,234 users``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def labels_of(column: pl.Series, *, edges: Sequence[float] | None = None, kind: str = "user") -> Labels:
    """Groups of a column's values; see ``user_labels``, which raises the same errors about users (``kind``)."""
    if column.dtype.is_nested():
        raise ParameterError.of(
            "groups", "by", "a column of single values, not of lists", f"{column.name}: {column.dtype}"
        )
    if column.dtype.is_numeric():
        column = column.fill_nan(None) if column.dtype.is_float() else column
        if edges is not None or column.drop_nulls().n_unique() > _FEW_NUMBERS:
            return _at_least_two(_banded(column, edges), kind)
    kept = column.drop_nulls().unique().sort()
    if len(kept) > MOST_GROUPS:
        raise ParameterError(
            f"{column.name!r} has {len(kept)} different values among these {kind}s: too many groups to compare, "
            f"{MOST_GROUPS} are the most. Choose a coarser attribute."
        )
    index = pl.DataFrame({"value": kept}).with_row_index("code")
    joined = pl.DataFrame({"value": column}).join(index, on="value", how="left", maintain_order="left")
    codes = joined["code"].cast(pl.Int64).fill_null(-1).to_numpy()
    return _at_least_two(Labels(column.name, tuple(map(str, kept.to_list())), codes), kind)


def permutation_p(
    samples: Sequence[Sample],
    labels: Labels,
    tested: IntArray,
    *,
    least: int = 2,
    permutations: int = 9999,
    seed: int = 0,
) -> tuple[FloatArray, FloatArray]:
    """Two-sided p-values of "this group is served like the others", by permuted labels.

    Labels are permuted among the users that have the figure, so a group has as many of them in every permutation.
    Figures that are roots (RMSE) are tested by their squares, which are means.

    Parameters
    ----------
    samples
        m figures over the same n users.
    labels
        (n,) groups; users without one take no part.
    tested
        Groups to test.
    least
        Users with the figure, >= 2, that a tested group must have; others take part only among the rest.
    permutations
        The smallest p-value is ``1 / (permutations + 1)``.
    seed
        Equal seeds give equal digits for any number of threads.

    Returns
    -------
    tuple of (len(tested), m) and (m,) float64
        Of each group against the rest, not corrected for their number, NaN where it has fewer than ``least`` users with
        the figure or the rest fewer than two; and of "no group differs", by the largest absolute t of the groups that
        have a p-value, NaN where none has.
    """
    p, overall = np.full((len(tested), len(samples)), np.nan), np.full(len(samples), np.nan)
    together: dict[bytes, list[int]] = {}
    for at, sample in enumerate(samples):
        together.setdefault((sample.count > 0).tobytes(), []).append(at)
    for rows in together.values():
        have = (samples[rows[0]].count > 0) & (labels.codes >= 0)
        codes, columns = labels.codes[have], [_columns(samples[at].take(have)) for at in rows]
        enough = np.bincount(codes, minlength=len(labels.groups))[tested] >= least
        if enough.any():
            found = _permuted(columns, codes, len(labels.groups), tested[enough], permutations, seed)
            p[np.ix_(np.flatnonzero(enough), np.array(rows))], overall[rows] = found
    return p, overall


def _permuted(
    figures: Sequence[FloatArray],
    codes: IntArray,
    groups: int,
    tested: IntArray,
    permutations: int,
    seed: int,
) -> tuple[FloatArray, FloatArray]:
    """``permutation_p`` of figures (n, 6) that all n users have, all of them in a group."""
    codes, columns = codes.astype(np.int16), np.concatenate(figures, axis=1)

    def statistics(shuffled: IntArray) -> FloatArray:
        sums = np.zeros((len(shuffled), groups, columns.shape[1]))
        _group_sums(shuffled, columns, sums)
        return np.abs(_welch(sums.reshape(len(shuffled), groups, len(figures), _COLUMNS))[:, tested])

    observed = statistics(codes[None])[0]
    if np.isnan(observed).all():  # the rest of the only group has fewer than two users
        return observed, observed[0]
    least = observed * (1 - 1e-9)  # equal figures may differ by rounding
    largest = np.nanmax(least, axis=0)

    def block(rows: slice) -> tuple[IntArray, IntArray]:
        rng = np.random.default_rng([seed, rows.start])
        drawn = statistics(rng.permuted(np.tile(codes, (rows.stop - rows.start, 1)), axis=1))
        return (drawn >= least).sum(axis=0), (np.nanmax(drawn, axis=1) >= largest).sum(axis=0)

    parts = parallel.run(block, parallel.blocks(permutations, max(1, _LABELS // max(len(codes), 1))))
    each, most = (np.asarray(sum(part)) for part in zip(*parts, strict=True))
    p = (each + 1) / (permutations + 1)
    return np.where(np.isnan(observed), np.nan, p), (most + 1) / (permutations + 1)


def _at_least_two(labels: Labels, kind: str) -> Labels:
    if len(labels.groups) < 2:
        found = ", ".join(labels.groups) or "none"
        raise ParameterError(
            f"A comparison of groups by {labels.name!r} needs at least two among the {kind}s. Got {found}; "
            f"the attribute is missing for {labels.unknown:,} of {counted(len(labels.codes), kind)}."
        )
    return labels


def _banded(column: pl.Series, edges: Sequence[float] | None) -> Labels:
    """Bands between edges; only those that somebody is in."""
    values = column.cast(pl.Float64).to_numpy()
    known = ~np.isnan(values)
    if edges is not None and (not len(edges) or (np.diff(edges) <= 0).any()):
        raise ParameterError.of("groups", "edges", "rising numbers", list(edges))
    if edges is None:
        edges = AGE_EDGES if column.name.lower() == "age" else np.quantile(values[known], (0.25, 0.5, 0.75))
    bounds = np.unique(np.asarray(edges, dtype=np.float64))
    band = np.searchsorted(bounds, values, side="right")
    names = _band_names(bounds, whole=column.dtype.is_integer())
    used = np.unique(band[known])
    codes = np.where(known, np.searchsorted(used, band), -1).astype(np.int64)
    return Labels(column.name, tuple(names[b] for b in used), codes)


def _band_names(bounds: FloatArray, *, whole: bool) -> list[str]:
    """``under 18``, ``18 to 24``, ..., ``56 and more``; of numbers that are not whole, ``18 to under 25``."""
    step = 1 if whole and (bounds == np.round(bounds)).all() else 0
    middle = [
        f"{low:g} to {high - step:g}" if step else f"{low:g} to under {high:g}"
        for low, high in pairwise(bounds)
    ]
    return [f"under {bounds[0]:g}", *middle, f"{bounds[-1]:g} and more"]


def _columns(sample: Sample) -> FloatArray:
    """(n, 6) what each user adds to the sums that Welch's t of a ratio is made of."""
    t, c = sample.total, sample.count
    return np.column_stack([c > 0, t, c, t * t, t * c, c * c]).astype(np.float64)


def _welch(sums: FloatArray) -> FloatArray:
    """(draws, groups, m) t of each group's ratio against that of the rest, from (draws, groups, m, 6) sums."""
    value, variance = _ratio(sums)
    other, other_variance = _ratio(sums.sum(axis=1, keepdims=True) - sums)
    difference, spread = value - other, np.sqrt(variance + other_variance)
    alike = np.abs(difference) <= 1e-12 * (np.abs(value) + np.abs(other))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(alike, 0.0, difference / spread)
    t[np.isnan(variance + other_variance)] = np.nan
    return np.asarray(t)


def _ratio(sums: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Ratio of sums and its variance by the delta method; NaN with fewer than two users."""
    n, t, c, tt, tc, cc = np.moveaxis(sums, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        r = t / c
        square = tt - 2 * r * tc + r * r * cc
        square = np.where(square > 1e-12 * tt, square, 0.0)
        variance = square * n / (n - 1) / (c * c)
    return r, np.where(n < 2, np.nan, variance)


@njit(cache=True, nogil=True)
def _group_sums(codes, columns, sums):  # type: ignore[no-untyped-def]
    for r in range(codes.shape[0]):
        for i in range(codes.shape[1]):
            group = sums[r, codes[r, i]]
            for c in range(columns.shape[1]):
                group[c] += columns[i, c]
