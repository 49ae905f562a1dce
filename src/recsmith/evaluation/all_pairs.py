"""All pairs of models at once: p-values and intervals that hold whichever two are looked at afterwards.

The best of the same data is such a choice. Tested against it as if it had been named beforehand, one of twenty equal
models is called worse in up to a quarter of the comparisons. Where the best is not known beforehand, all pairs may be
looked at (J. Hsu, "Multiple Comparisons: Theory and Methods", 1996, chapter 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from recsmith import parallel
from recsmith.evaluation.significance import Interval, PairedTest, Sample, differences, holm, paired_p
from recsmith.types import FloatArray

_FLIPS = 1 << 21  # signs per task: 16 MB


def all_pairs_p(
    samples: Sequence[Sample], *, test: PairedTest = "randomization", flips: int = 9999, seed: int = 0
) -> FloatArray:
    """Two-sided p-values of "these two models are equally good", corrected for the number of pairs.

    Parameters
    ----------
    samples
        The same figure of m models, with equal counts.
    test
        ``"randomization"``: the single-step max-T procedure of P. Westfall and S. Young, "Resampling-Based Multiple
        Testing", 1993, section 2.3. A draw gives each user one sign for the differences of all pairs; a pair's
        statistic is its sum of differences over the root of their sum of squares, which signs do not change, and p is
        the share of draws in which the largest statistic of all pairs is as large or larger. Its smallest value is
        ``1 / (flips + 1)``, and for two models it is ``paired_p``. ``"t"``: Holm's correction of all pairs' t-tests.

    Returns
    -------
    numpy.ndarray
        (m, m) float64, symmetric, 1 on the diagonal.

    Raises
    ------
    ParameterError
        Where the samples are not over the same users.
    """
    m = len(samples)
    pairs = list(combinations(range(m), 2))
    if test == "t" or m < 3:
        alone = [paired_p(samples[i], samples[j], test=test, flips=flips, seed=seed) for i, j in pairs]
        return square(m, holm(alone))
    columns = np.column_stack([differences(sample, samples[0]) for sample in samples])
    norms = [
        _inverse(np.sqrt(((columns[:, i + 1 :] - columns[:, [i]]) ** 2).sum(axis=0))) for i in range(m - 1)
    ]
    whole = columns.sum(axis=0)

    def statistics(sums: FloatArray, i: int) -> FloatArray:
        return np.abs(sums[:, i + 1 :] - sums[:, [i]]) * norms[i]

    def block(rows: slice) -> FloatArray:
        shape = (rows.stop - rows.start, (len(columns) + 7) // 8)
        coins = np.random.default_rng([seed, rows.start]).integers(0, 256, shape, dtype=np.uint8)
        kept = np.unpackbits(coins, axis=1, count=len(columns)).astype(np.float64)
        sums = 2 * (kept @ columns) - whole
        return np.asarray(np.max([statistics(sums, i).max(axis=1) for i in range(m - 1)], axis=0))

    tasks = parallel.blocks(flips, max(1, _FLIPS // max(len(columns), 1)))
    largest = np.sort(np.concatenate(parallel.run(block, tasks)))
    observed = np.concatenate([statistics(whole[None], i)[0] for i in range(m - 1)])
    extreme = flips - np.searchsorted(
        largest, observed * (1 - 1e-9), side="left"
    )  # equal sums differ by rounding
    return square(m, ((extreme + 1) / (flips + 1)).tolist())


def square(m: int, of_pairs: Sequence[float]) -> FloatArray:
    """The (m, m) symmetric matrix of the p-values of all pairs in the order of ``itertools.combinations``."""
    out = np.ones((m, m))
    for (i, j), p in zip(combinations(range(m), 2), of_pairs, strict=True):
        out[i, j] = out[j, i] = p
    return out


def simultaneous_intervals(
    drawn: FloatArray, values: FloatArray, reference: int, level: float
) -> list[Interval]:
    """Intervals of what each figure exceeds the reference by, which all pairs' differences together keep to.

    A difference plus and minus its bootstrap standard error times the quantile of the largest studentized difference of
    all pairs.

    Parameters
    ----------
    drawn
        (resamples, m) as ``replicates`` gives them.
    values
        (m,) the figures.
    """
    centred = (drawn - values)[~np.isnan(drawn).any(axis=1)]
    m = len(values)
    if not len(centred):
        return [Interval(float("nan"), float("nan"))] * m
    largest = np.zeros(len(centred))
    for i in range(m - 1):
        gaps = centred[:, i + 1 :] - centred[:, [i]]
        np.maximum(largest, np.abs(gaps * _inverse(gaps.std(axis=0))).max(axis=1), out=largest)
    errors = (centred - centred[:, [reference]]).std(axis=0)
    half = float(np.quantile(largest, level)) * errors
    gap = values - values[reference]
    return [Interval(float(low), float(high)) for low, high in zip(gap - half, gap + half, strict=True)]


def _inverse(scale: FloatArray) -> FloatArray:
    """``1 / scale``, 0 where it is 0: two models that never differ."""
    return np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
