"""Errors of predicted ratings, over all pairs and for each user. Formulas: docs/notation.md."""

from __future__ import annotations

import numpy as np

from recsmith.errors import DataError
from recsmith.types import FloatArray, IntArray

METRICS = ("rmse", "mae")


def rmse(predicted: FloatArray, actual: FloatArray) -> float:
    """Root of the mean squared error over all pairs, on the data's rating scale; NaN without pairs.

    Parameters
    ----------
    predicted, actual
        (p,) ratings of the same pairs.

    Raises
    ------
    DataError
        Where a prediction or a rating is not a finite number, or the numbers of both differ.
    """
    error = _errors(predicted, actual)
    return float(np.sqrt(np.mean(error**2))) if len(error) else float("nan")


def mae(predicted: FloatArray, actual: FloatArray) -> float:
    """Mean absolute error over all pairs, on the data's rating scale; see ``rmse``."""
    error = _errors(predicted, actual)
    return float(np.mean(np.abs(error))) if len(error) else float("nan")


def user_errors(
    predicted: FloatArray, actual: FloatArray, rows: IntArray, n: int
) -> tuple[dict[str, FloatArray], IntArray]:
    """Errors of each user by itself.

    The global figures come back from them: with c pairs per user, ``rmse ** 2 = sum c v ** 2 / sum c`` and
    ``mae = sum c v / sum c``.

    Parameters
    ----------
    predicted, actual
        (p,) ratings of the same pairs.
    rows
        (p,) user row of each pair, in ``0 .. n - 1``.
    n
        Number of users.

    Returns
    -------
    values
        ``{"rmse": (n,) float64, "mae": (n,) float64}``, NaN for a user without a pair.
    pairs
        (n,) int64 number of pairs of each user.

    Raises
    ------
    DataError
        As in ``rmse``.
    """
    error = _errors(predicted, actual)
    pairs = np.bincount(rows, minlength=n)
    squared = np.bincount(rows, weights=error**2, minlength=n)
    absolute = np.bincount(rows, weights=np.abs(error), minlength=n)
    empty = np.full(n, np.nan)
    has = pairs > 0
    return {
        "rmse": np.sqrt(np.divide(squared, pairs, out=empty.copy(), where=has)),
        "mae": np.divide(absolute, pairs, out=empty, where=has),
    }, pairs


def _errors(predicted: FloatArray, actual: FloatArray) -> FloatArray:
    if np.shape(predicted) != np.shape(actual):
        raise DataError(
            f"{np.shape(predicted)} predictions for {np.shape(actual)} ratings. Wanted one for each."
        )
    error = np.asarray(predicted, dtype=np.float64) - np.asarray(actual, dtype=np.float64)
    if bad := int((~np.isfinite(error)).sum()):
        raise DataError(
            f"{bad} of {len(error)} pairs have a prediction or a rating that is not a finite number. A model that "
            "predicts ratings must answer every pair; leaving some out would make its error look smaller."
        )
    return error
