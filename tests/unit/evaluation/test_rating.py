"""Rating errors by hand, beside scikit-learn, and the way back from users to pairs."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from recsmith.errors import DataError
from recsmith.evaluation.metrics import rating
from recsmith.evaluation.significance import Sample


def test_by_hand():
    predicted, actual = np.array([3.0, 4.0, 1.0]), np.array([4.0, 4.0, 3.0])
    assert rating.rmse(predicted, actual) == pytest.approx(np.sqrt(5 / 3))
    assert rating.mae(predicted, actual) == pytest.approx(1.0)
    values, pairs = rating.user_errors(predicted, actual, np.array([0, 0, 2]), 3)
    assert pairs.tolist() == [2, 0, 1]
    np.testing.assert_allclose(values["rmse"], [np.sqrt(0.5), np.nan, 2.0])
    np.testing.assert_allclose(values["mae"], [0.5, np.nan, 2.0])


def test_against_scikit_learn_and_back_from_users():
    rng = np.random.default_rng(1)
    actual = rng.integers(1, 6, 500).astype(np.float32)
    predicted = (actual + rng.normal(0, 1, 500)).astype(np.float32)
    rows = rng.integers(0, 40, 500)
    assert rating.rmse(predicted, actual) == pytest.approx(
        root_mean_squared_error(actual, predicted), rel=1e-6
    )
    assert rating.mae(predicted, actual) == pytest.approx(mean_absolute_error(actual, predicted), rel=1e-6)
    values, pairs = rating.user_errors(predicted, actual, rows, 45)
    assert Sample.of_pairs(values["rmse"], pairs, root=True).estimate() == pytest.approx(
        rating.rmse(predicted, actual)
    )
    assert Sample.of_pairs(values["mae"], pairs).estimate() == pytest.approx(rating.mae(predicted, actual))


def test_edges():
    nothing = np.zeros(0)
    assert np.isnan(rating.rmse(nothing, nothing)) and np.isnan(rating.mae(nothing, nothing))
    with pytest.raises(DataError, match=r"1 of 2 pairs .* not a finite number"):
        rating.rmse(np.array([1.0, np.nan]), np.array([1.0, 2.0]))
    with pytest.raises(DataError, match="Wanted one for each"):
        rating.mae(np.array([1.0]), np.array([1.0, 2.0]))
