"""The moment of the rating to be predicted is told to a model only when it is asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.conftest import build

from recsmith.data.split import fixed
from recsmith.errors import ParameterError
from recsmith.evaluation import evaluate
from recsmith.models.base import BaseModel
from recsmith.models.baselines.rating_baseline import RatingBaselineConfig
from recsmith.protocols import Evidence
from recsmith.recommend import Pipeline
from recsmith.types import Prediction


class Clock(BaseModel[RatingBaselineConfig]):
    """Says the moment of the question, of which it expects one for each pair."""

    config_class = RatingBaselineConfig
    needs = Evidence.NOTHING

    def fit(self, data, *, rng=None, monitor=None):
        return self

    def predict(self, queries, rows, items):
        at = np.zeros(len(queries)) if queries.at is None else queries.at
        return Prediction(at[rows].astype(np.float32))


def test_the_moment_of_a_rating_is_told_only_when_asked_for():
    train = build(["u", "u", "v"], ["a", "b", "a"], [1, 2, 3], [10, 20, 30])
    test = build(["u", "u", "v"], ["a", "b", "b"], [5, 7, 3], [5, 7, 3])
    split = fixed(train, test)
    assert evaluate(Pipeline(model=Clock()), split).means["rmse"] == pytest.approx((83 / 3) ** 0.5)
    report = evaluate(Pipeline(model=Clock()), split, rating_times=True)
    assert report.means["rmse"] == 0
    assert report.protocol["rating_times"] is True
    with pytest.raises(ParameterError, match="no times"):
        evaluate(
            Pipeline(model=Clock()), replace(split, truth=replace(split.truth, times=None)), rating_times=True
        )
