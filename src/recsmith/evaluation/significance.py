"""How sure a figure is: bootstrap intervals over users, paired tests, and the price of many comparisons.

Users are the units that are drawn: the events of one user belong together. A figure is a ratio of two sums
over users, so means (every user counts 1) and figures over pairs (RMSE: every user counts as often as it
rated) are one case. Where a choice among many models is made on the same data, see ``all_pairs.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Self

import numpy as np
from scipy.special import betaincinv, stdtr

from recsmith import parallel
from recsmith.errors import ParameterError
from recsmith.types import BoolArray, FloatArray, IntArray

PairedTest = Literal["randomization", "t"]
ALIKE = "no difference shown"  #: a verdict
FEW_HITS = (
    10  #: users with a value above 0, and below 1, from which on a bootstrap of values in [0, 1] is trusted
)
_SKEWED = 25  # times the squared skewness: so many users the sign flips need
_DRAWS = 1 << 20  # users drawn per task: about 16 MB
_FLIPS = 1 << 23  # signs per task


class Interval(NamedTuple):
    """Bounds of a confidence interval; NaN where there is nothing to draw from."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A figure as sums over users: ``sum(total) / sum(count)``, or the root of it."""

    total: FloatArray  #: (n,) float64 what each user adds above the line
    count: FloatArray  #: (n,) float64 what each user adds below it
    root: bool = False
    bounded: bool = False  #: counts are 0 or 1 and values lie in [0, 1]

    @classmethod
    def of_users(cls, values: FloatArray, *, bounded: bool = False) -> Self:
        """A mean in which every user counts once; NaN is a user that is not judged. ``bounded``: values in [0, 1]."""
        judged = ~np.isnan(values)
        return cls(np.where(judged, values, 0.0), judged.astype(np.float64), bounded=bounded)

    @classmethod
    def of_pairs(cls, values: FloatArray, pairs: IntArray, *, root: bool = False) -> Self:
        """A mean over pairs of per-user means ``values``; with ``root``, of per-user roots of mean squares."""
        has = pairs > 0
        each = np.where(has, values, 0.0)
        return cls((each**2 if root else each) * pairs, pairs.astype(np.float64), root)

    def take(self, rows: IntArray | BoolArray) -> Self:
        """The users ``rows`` (indices or a mask)."""
        return replace(self, total=self.total[rows], count=self.count[rows])

    @property
    def evaluated(self) -> FloatArray:
        """(m,) what the users that count add above the line."""
        return self.total[self.count > 0]

    @property
    def few_hits(self) -> bool:
        """Whether too few users have a value above 0, or below 1, for a bootstrap: draws hardly vary then."""
        if not self.bounded:
            return False
        values = self.evaluated
        return len(values) > 0 and min(int((values > 0).sum()), int((values < 1).sum())) < FEW_HITS

    def estimate(self) -> float:
        """The figure; NaN without users."""
        return float(_ratio(self.total.sum(), self.count.sum(), self.root))


def replicates(samples: Sequence[Sample], *, resamples: int = 1000, seed: int = 0) -> FloatArray:
    """Figures of ``resamples`` draws of n users out of n, with replacement; one draw serves all samples.

    Parameters
    ----------
    samples
        m figures over the same n users.
    resamples
        Number of draws, >= 1.
    seed
        Equal seeds give equal digits for any number of threads.

    Returns
    -------
    numpy.ndarray
        (resamples, m) float64; NaN in a draw without a judged user.

    Raises
    ------
    ParameterError
        Where the samples are not over the same number of users.
    """
    lengths = {len(s.total) for s in samples}
    if len(lengths) > 1:
        raise ParameterError.of("replicates", "samples", "over the same users", sorted(lengths))
    out = np.full((resamples, len(samples)), np.nan)
    n = lengths.pop() if lengths else 0
    if n == 0:
        return out
    counts = {s.count.tobytes(): s.count for s in samples}  # most figures share theirs
    which = [list(counts).index(s.count.tobytes()) + len(samples) for s in samples]
    columns = np.column_stack([*(s.total for s in samples), *counts.values()])
    roots = np.array([s.root for s in samples])

    def block(rows: slice) -> None:
        height = rows.stop - rows.start
        drawn = np.random.default_rng([seed, rows.start]).integers(0, n, size=(height, n), dtype=np.int64)
        drawn += np.arange(height)[:, None] * n
        weights = np.bincount(drawn.ravel(), minlength=height * n).reshape(height, n).astype(np.float64)
        sums = weights @ columns
        out[rows] = _ratio(sums[:, : len(samples)], sums[:, which], roots)

    parallel.run(block, parallel.blocks(resamples, max(1, _DRAWS // n)))
    return out


def few_hits_notes(samples: Mapping[str, Sample]) -> list[str]:
    """A sentence with the figures whose intervals are Stringer's bounds, as too few users have a hit or a miss."""
    rare: dict[str, list[str]] = {}
    for name, sample in samples.items():
        if sample.few_hits:
            values = sample.evaluated
            hits = int((values > 0).sum())
            many = hits >= FEW_HITS
            number, what = (int((values < 1).sum()), "below 1") if many else (hits, "above 0")
            rare.setdefault(f"{number} of {len(values):,} users have a value {what}", []).append(name)
    return [
        f"Too few users for a bootstrap: {said} of {', '.join(names)}. Their intervals are Stringer's bounds, and "
        "differences of so few say little."
        for said, names in rare.items()
    ]


def intervals(
    samples: Mapping[str, Sample],
    *,
    against: str | None = None,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Intervals of all figures, or of what each exceeds the figure ``against`` by.

    Percentile bootstrap: B. Efron, R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13. Figures with
    ``few_hits`` have Stringer's bounds, see ``stringer``; differences do not.

    Raises
    ------
    ParameterError
        ``level`` outside (0, 1), or samples over different users.
    """
    if not 0 < level < 1:
        raise ParameterError.of("intervals", "level", "in (0, 1)", level)
    drawn = replicates(list(samples.values()), resamples=resamples, seed=seed)
    if against is not None:
        drawn -= drawn[:, [list(samples).index(against)]]
        return {name: percentiles(drawn[:, j], level) for j, name in enumerate(samples)}
    return {name: interval_of(sample, drawn[:, j], level) for j, (name, sample) in enumerate(samples.items())}


def interval_of(sample: Sample, drawn: FloatArray, level: float) -> Interval:
    """The interval of one figure from its draws (``replicates``), or Stringer's bounds where it has ``few_hits``."""
    return stringer(sample.evaluated, level) if sample.few_hits else percentiles(drawn, level)


def stringer(values: FloatArray, level: float) -> Interval:
    r"""Stringer's bounds of the mean of n >= 1 values in [0, 1] of which few are above 0, or below 1.

    The upper one is :math:`u_0 + \sum_j (u_j - u_{j - 1})\, x_{(j)}` with the values in falling order and :math:`u_j`
    the upper bound of Clopper and Pearson for j hits of n; the lower one is that of ``1 - x``, turned around. For
    values of 0 and 1 these are Clopper's and Pearson's own; otherwise they err on the wide side. P. Bickel, "Inference
    and auditing: the Stringer bound", International Statistical Review 60(2), 1992.
    """
    n, above = len(values), np.sort(values[values > 0])
    hits = np.arange(n + 1, dtype=np.float64)
    bound = np.append(betaincinv(hits[:-1] + 1, n - hits[:-1], (1 + level) / 2), 1.0)
    steps = np.diff(bound)  # of the largest value first
    upper = bound[0] + steps[: len(above)] @ above[::-1]
    lower = steps[n - len(above) :] @ above
    return Interval(float(lower), float(upper))


def percentiles(drawn: FloatArray, level: float) -> Interval:
    """The bounds that hold the middle ``level`` of what was drawn, NaN aside."""
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn):
        return Interval(float("nan"), float("nan"))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def paired_p(
    first: Sample, second: Sample, *, test: PairedTest = "randomization", flips: int = 9999, seed: int = 0
) -> float:
    """Two-sided p-value of "both models are equally good", on the same users.

    Parameters
    ----------
    first, second
        The same figure of two models, with equal counts.
    test
        ``"randomization"``: swap the two models in every user by a coin, ``flips`` times. It tests that the models can
        be exchanged, so that differences are as likely to have either sign; as a test of equal means it assumes that
        they are symmetric, or many: see ``skewed``. Its smallest value is ``1 / (flips + 1)``. ``"t"``: Student's
        paired t, which needs as many. They agree on more than a few dozen users (M. Smucker, J. Allan, B. Carterette,
        CIKM 2007).

    Raises
    ------
    ParameterError
        Where the two are not over the same users.
    """
    difference = differences(first, second)
    if not difference.any():
        return 1.0
    if test == "t":
        return _t_test(difference)
    return _randomization_test(difference[difference != 0], flips, seed)


def differences(first: Sample, second: Sample) -> FloatArray:
    """(m,) what each user that counts adds to the figure of the first model and not to that of the second.

    Raises
    ------
    ParameterError
        Where the two are not over the same users.
    """
    if len(first.total) != len(second.total) or not np.array_equal(first.count, second.count):
        raise ParameterError("A paired test needs the same figure of two models over the same users.")
    return (first.total - second.total)[first.count > 0]


def skewed(difference: FloatArray) -> bool:
    r"""Whether the differences (m,) of two models are too few and skewed for their p-value and interval.

    Fewer than ten users differ, or fewer than :math:`25\, g^2` with g the skewness of those that do. In simulations of
    skewed differences with a mean of 0 the sign flips reject up to 6 % on the edge of that rule, and 7 to 40 % beyond.
    """
    moved = difference[difference != 0]
    if not len(moved):
        return False
    centred = moved - moved.mean()
    spread = float(np.sqrt(np.mean(centred**2)))
    skewness = float(np.mean(centred**3)) / spread**3 if spread > 1e-9 * float(np.abs(moved).max()) else 0.0
    return len(moved) < max(FEW_HITS, _SKEWED * skewness**2)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (S. Holm, Scandinavian Journal of Statistics 6(2), 1979).

    The chance that any true "equally good" is called different stays below the level, whatever the dependence.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in corrected]


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Y. Benjamini, Y. Hochberg, JRSS B 57(1), 1995).

    Of those below the level, the share that are false is expected to stay below it, where the tests are independent
    or positively dependent. This promises less than ``holm`` and finds more.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(-p, kind="stable")
    stepped = np.minimum.accumulate(p[order] * len(p) / np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in corrected]


def verdict(difference: float, p: float, alpha: float, *, smaller_is_better: bool) -> str:
    """``better`` or ``worse`` where ``p`` is below ``alpha``, else ``ALIKE``; so also where ``p`` is NaN."""
    if not p < alpha:
        return ALIKE
    return "better" if (difference < 0) == smaller_is_better else "worse"


def _ratio(total: FloatArray, count: FloatArray, root: BoolArray | bool) -> FloatArray:
    mean: FloatArray = np.full(np.shape(total), np.nan)
    np.divide(total, count, out=mean, where=np.asarray(count) > 0)
    return np.where(root, np.sqrt(np.abs(mean)), mean)


def _t_test(difference: FloatArray) -> float:
    n = len(difference)
    spread = float(difference.std(ddof=1)) if n > 1 else 0.0
    if spread == 0:  # one user says nothing; many equal differences say all
        return 1.0 if n < 2 else 0.0
    t = difference.mean() / (spread / np.sqrt(n))
    return float(2 * stdtr(n - 1, -abs(t)))


def _randomization_test(difference: FloatArray, flips: int, seed: int) -> float:
    """Users without a difference are left out by the caller: a swap changes nothing there."""
    n = len(difference)
    single = difference.astype(np.float32)
    observed = abs(difference.sum()) - 1e-6 * np.abs(difference).sum()  # equal sums may differ by rounding

    def block(rows: slice) -> int:
        shape = (rows.stop - rows.start, (n + 7) // 8)
        coins = np.random.default_rng([seed, rows.start]).integers(0, 256, shape, dtype=np.uint8)
        kept = np.unpackbits(coins, axis=1, count=n).astype(np.float32) @ single
        return int((np.abs(2.0 * kept - difference.sum()) >= observed).sum())

    extreme: int = sum(parallel.run(block, parallel.blocks(flips, max(1, _FLIPS // n))))
    return (extreme + 1) / (flips + 1)
