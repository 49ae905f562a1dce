"""What an event counts: by hand, and the same for the log and for queries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import build

from recsmith.data.weighting import SECONDS_PER_DAY, Weighting
from recsmith.errors import DataError, ParameterError
from recsmith.types import Queries

DAY = SECONDS_PER_DAY


def history(items, times=None, weights=None, at=None) -> Queries:
    return Queries(
        users=np.array([-1]),
        offsets=np.array([0, len(items)]),
        items=np.array(items, dtype=np.int32),
        times=None if times is None else np.array(times, dtype=np.int64),
        weights=None if weights is None else np.array(weights, dtype=np.float32),
        at=None if at is None else np.array([at], dtype=np.int64),
        values=np.arange(len(items), dtype=np.float32),
        as_trained=np.array([True]),
    )


def weights_of(weighting: Weighting, queries: Queries) -> dict[int, float]:
    weighted = weighting.queries(queries)
    return dict(zip(weighted.items.tolist(), weighted.event_weights().tolist(), strict=True))


def test_ones_count_each_item_once_at_its_latest_event():
    weighted = Weighting().queries(history([4, 7, 4, 2], times=[1, 2, 3, 4], weights=[9, 9, 9, 9]))
    assert weighted.items.tolist() == [7, 4, 2]
    assert weighted.times.tolist() == [2, 3, 4]
    assert weighted.values.tolist() == [1, 2, 3]
    assert weighted.event_weights().tolist() == [1, 1, 1]
    assert weighted.offsets.tolist() == [0, 3]
    assert weighted.as_trained.tolist() == [True]


def test_raw_adds_up_and_log_dampens():
    queries = history([4, 7, 4], weights=[2, 3, 5])
    assert weights_of(Weighting(confidence="raw"), queries) == {4: 7, 7: 3}
    logged = weights_of(Weighting(confidence="log"), queries)
    assert logged == pytest.approx({4: np.log(8), 7: np.log(4)})
    assert weights_of(Weighting(confidence="raw"), history([4, 7, 4])) == {4: 2, 7: 1}


def test_half_life_in_events():
    weighting = Weighting(half_life=2)
    weights = weights_of(weighting, history([5, 6, 7]))
    assert weights == pytest.approx({5: 0.5, 6: 0.5**0.5, 7: 1})
    assert weights_of(weighting, history([5, 6, 5])) == pytest.approx({6: 0.5**0.5, 5: 1})
    assert weighting.queries(history([5])).as_trained is None  # a trained vector knows no age
    raw = weights_of(Weighting(half_life=1, confidence="raw"), history([5, 6, 5], weights=[4, 4, 4]))
    assert raw == pytest.approx({6: 2, 5: 1 + 4})


def test_half_life_in_days():
    weighting = Weighting(half_life=10, half_life_unit="days")
    queries = history([1, 2, 3], times=[0, 10 * DAY, 30 * DAY])
    assert weights_of(weighting, queries) == pytest.approx({1: 1 / 8, 2: 1 / 4, 3: 1})
    asked_later = history([1, 2, 3], times=[0, 10 * DAY, 30 * DAY], at=40 * DAY)
    assert weights_of(weighting, asked_later) == pytest.approx({1: 1 / 16, 2: 1 / 8, 3: 1 / 2})
    from_the_future = history([1, 2], times=[0, 10 * DAY], at=0)
    assert weights_of(weighting, from_the_future) == pytest.approx({1: 1, 2: 1})


def test_days_before_1970_are_aged_from_the_newest():
    weighting = Weighting(half_life=10, half_life_unit="days")
    queries = history([1, 2], times=[-30 * DAY, -10 * DAY])
    assert weights_of(weighting, queries) == pytest.approx({1: 1 / 4, 2: 1})


def test_days_of_a_history_without_times_are_events():
    weighting = Weighting(half_life=1, half_life_unit="days")
    assert weights_of(weighting, history([5, 6])) == pytest.approx({5: 0.5, 6: 1})


def test_days_of_a_log_without_times_are_refused():
    with pytest.raises(DataError, match="half_life in days needs timestamps, and log has none"):
        Weighting(half_life=1, half_life_unit="days").log(build(["a"], ["x"]))


def test_empty_histories_stay_empty():
    queries = Queries(users=np.array([-1, -1]), offsets=np.zeros(3, np.int64), items=np.zeros(0, np.int32))
    for weighting in (Weighting(), Weighting(confidence="log", half_life=3)):
        weighted = weighting.queries(queries)
        assert weighted.offsets.tolist() == [0, 0, 0]
        assert len(weighted.event_weights()) == 0
    assert len(Weighting(half_life=1).queries(queries.take(slice(0, 0)))) == 0


def test_histories_do_not_mix():
    queries = Queries(
        users=np.array([0, 1, 2]), offsets=np.array([0, 2, 2, 5]), items=np.array([3, 3, 3, 1, 3])
    )
    weighted = Weighting(confidence="raw").queries(queries)
    assert weighted.offsets.tolist() == [0, 1, 1, 3]
    assert weighted.items.tolist() == [3, 1, 3]
    assert weighted.weights.tolist() == [2, 1, 2]


def test_log_by_hand():
    data = build(["a", "a", "a", "b"], ["x", "x", "y", "x"], weight=np.array([1, 3, 2, 1], dtype=np.float32))
    assert Weighting().log(data).matrix().toarray().tolist() == [[1, 1], [1, 0]]
    assert Weighting(confidence="raw").log(data) is data
    logged = Weighting(confidence="log").log(data)
    np.testing.assert_allclose(logged.matrix().toarray(), [[np.log(5), np.log(3)], [np.log(2), 0]], rtol=1e-6)
    assert len(logged) == 4


def test_events_of_weight_zero_count_nothing():
    data = build(["a", "a"], ["x", "y"], weight=np.array([0, 1], dtype=np.float32))
    for confidence in ("raw", "log"):
        assert Weighting(confidence=confidence).log(data).matrix().toarray()[0, 0] == 0


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 4), st.floats(0.125, 50, width=32)),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from(["ones", "log", "raw"]),
    st.booleans(),
)
def test_log_and_queries_agree(rows, confidence, weighted):
    """The history of a query, weighted, is the user's row of the weighted log."""
    users, items, weights = zip(*rows, strict=True)
    data = build(users, items, weight=np.array(weights, dtype=np.float32) if weighted else None)
    weighting = Weighting(confidence=confidence)
    matrix = weighting.log(data).matrix("weight").toarray()
    queries = weighting.queries(data.queries())
    asked = np.zeros_like(matrix)
    asked[queries.rows, queries.items] = queries.event_weights()
    np.testing.assert_allclose(asked, matrix, rtol=1e-5)


@pytest.mark.parametrize("half_life", [0, -1, float("nan"), float("inf")])
def test_half_life_must_be_a_positive_number(half_life):
    with pytest.raises(ParameterError, match="'half_life' parameter of me must be"):
        Weighting.make("me", half_life=half_life)


def test_a_history_that_is_too_short_does_not_count():
    queries = Queries(
        users=np.array([3, 4, 5]),
        offsets=np.array([0, 1, 4, 6]),
        items=np.array([9, 1, 2, 1, 7, 8], dtype=np.int32),
        values=np.arange(6, dtype=np.float32),
        as_trained=np.array([True, True, False]),
    )
    weighted = Weighting(min_events=3).queries(queries)
    assert weighted.offsets.tolist() == [0, 0, 2, 2]
    assert (weighted.items.tolist(), weighted.values.tolist()) == ([2, 1], [2, 3])
    assert weighted.users.tolist() == [-1, 4, -1]
    assert weighted.as_trained.tolist() == [False, True, False]
    assert Weighting(min_events=1).queries(queries).offsets.tolist() == [0, 1, 3, 5]
    assert Weighting(min_events=7).queries(queries).offsets.tolist() == [0, 0, 0, 0]
    with pytest.raises(ParameterError, match="min_events"):
        Weighting.make("the weighting", min_events=-1)
