"""RatingBaseline: known answers, and fold-in that is the fit's own last half-step."""

from __future__ import annotations

import numpy as np
import pytest
from tests.conftest import build

from recsmith.errors import DataError, ParameterError
from recsmith.models.baselines.rating_baseline import RatingBaseline
from recsmith.types import Queries


def test_one_round_by_hand():
    """mu = 4; b_a = (1 + 0) / (2 + 1), b_b = -1 / 2; user u: (1 - 1/3 - 1 + 1/2) / (2 + 1)."""
    data = build(["u", "u", "v"], ["a", "b", "a"], [5, 3, 4])
    model = RatingBaseline(reg_user=1, reg_item=1, epochs=1).fit(data)
    assert model.mean_ == 4
    np.testing.assert_allclose(model.item_bias_, [1 / 3, -1 / 2])
    bias = model.user_bias(data.queries())
    np.testing.assert_allclose(bias, [(1 - 1 / 3 - 1 + 1 / 2) / 3, (0 - 1 / 3) / 2])
    got = model.predict(data.queries(), np.array([0, 1, 1]), np.array([0, 1, -1])).mean
    np.testing.assert_allclose(got, [4 + bias[0] + 1 / 3, 4 + bias[1] - 1 / 2, 4 + bias[1]], rtol=1e-6)


def test_many_rounds_reach_the_minimum(checkerboard):
    """At the minimum of a convex loss the gradient of every bias is 0."""
    model = RatingBaseline(reg_user=3, reg_item=2, epochs=200).fit(checkerboard)
    user_bias = model.user_bias(checkerboard.queries())
    rest = checkerboard.value - model.expected(user_bias[checkerboard.user], checkerboard.item)
    np.testing.assert_allclose(np.bincount(checkerboard.item, rest), 2 * model.item_bias_, atol=1e-8)
    np.testing.assert_allclose(np.bincount(checkerboard.user, rest), 3 * user_bias, atol=1e-8)


def test_a_known_user_and_a_stranger_with_the_same_history_agree_to_the_bit(checkerboard):
    model = RatingBaseline().fit(checkerboard)
    known = checkerboard.queries()
    stranger = known.replace(users=np.full(len(known), -1, dtype=np.int32), as_trained=None)
    rows, items = np.arange(len(known)), np.zeros(len(known), dtype=np.int32)
    np.testing.assert_array_equal(
        model.predict(known, rows, items).mean, model.predict(stranger, rows, items).mean
    )


def test_nothing_known_gives_the_mean():
    data = build(["u", "v"], ["a", "b"], [2, 4])
    model = RatingBaseline().fit(data)
    nobody = Queries(
        users=np.array([-1]), offsets=np.array([0, 0]), items=np.zeros(0, dtype=np.int32), values=None
    )
    assert model.predict(nobody, np.array([0]), np.array([-1])).mean[0] == 3


def test_events_without_a_rating_are_passed_over():
    model = RatingBaseline().fit(build(["u", "v", "v"], ["a", "a", "b"], [5, 3, np.nan]))
    assert model.mean_ == 4
    assert model.item_bias_[1] == 0


def test_logs_and_histories_without_ratings_are_refused():
    implicit = build(["u", "v"], ["a", "b"])
    with pytest.raises(DataError, match="no ratings"):
        RatingBaseline().fit(implicit)
    with pytest.raises(DataError, match="no event with a rating"):
        RatingBaseline().fit(build(["u"], ["a"], [np.nan]))
    model = RatingBaseline().fit(build(["u", "v"], ["a", "b"], [1, 2]))
    with pytest.raises(DataError, match="have no ratings"):
        model.predict(implicit.queries(), np.array([0]), np.array([0]))


def test_ratings_stay_on_the_scale_and_penalties_positive():
    data = build(["u"] * 3 + ["v"] * 3, list("abcabc"), [5, 5, 5, 5, 5, 1])
    mean = RatingBaseline(reg_user=0.01, reg_item=0.01).fit(data)
    assert mean.predict(data.queries(), np.array([0]), np.array([0])).mean[0] == 5
    with pytest.raises(ParameterError, match="reg_user"):
        RatingBaseline(reg_user=0)


def test_accuracy_on_the_first_official_fold(official_fold):
    """Surprise's BaselineOnly has 0.9599 here."""
    train, queries, rows, items, truth = official_fold
    mean = RatingBaseline().fit(train).predict(queries, rows, items).mean
    assert np.sqrt(np.mean((mean - truth) ** 2)) < 0.9540
