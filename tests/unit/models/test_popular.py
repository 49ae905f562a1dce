"""Popularity by hand."""

from __future__ import annotations

import numpy as np
import pytest
from tests.conftest import build

from recsmith.errors import DataError, ParameterError
from recsmith.models.baselines.popular import Popular

DAY = 86_400


def test_counts_are_events_or_weights():
    users, items = ["a", "b", "c", "c"], ["x", "x", "y", "x"]
    plain = Popular().fit(build(users, items))
    assert plain.counts_.tolist() == [3, 1]
    weighted = Popular().fit(build(users, items, weight=np.float32([0.5, 1, 4, 1])))
    assert weighted.counts_.tolist() == [2.5, 4]


def test_an_event_a_half_life_before_the_end_counts_half():
    data = build(["a", "b", "c"], ["x", "x", "y"], times=[0, 10 * DAY, 20 * DAY])
    model = Popular(half_life=10).fit(data)
    assert model.counts_.tolist() == [0.25 + 0.5, 1]


def test_everybody_gets_the_same_row_and_owns_it():
    data = build(["a", "b", "c"], ["x", "x", "y"])
    model = Popular().fit(data)
    one = model.score(data.queries(np.array([-1])))
    assert one.tolist() == [[2, 1]]
    one[:] = 0
    assert model.score(data.queries(), np.array([1, 0])).tolist() == [[1, 2]] * 3


def test_half_life_without_timestamps_is_refused():
    with pytest.raises(DataError, match=r"half_life needs timestamps, and log has none. Leave half_life out"):
        Popular(half_life=1).fit(build(["a"], ["x"]))


def test_half_life_must_be_positive():
    with pytest.raises(ParameterError, match=r"'half_life' parameter of Popular must be > 0. Got 0 instead"):
        Popular(half_life=0)
