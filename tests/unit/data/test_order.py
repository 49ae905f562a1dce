"""Sorting by counting gives what a sort by comparison gives; counted pairs what a sorted log gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import build

from recsmith import parallel
from recsmith.data.order import by_user_and_time, pair_totals
from recsmith.data.weighting import Weighting

LOGS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(-3, 3)), max_size=40)


@given(LOGS, st.booleans())
def test_the_order_is_that_of_lexsort(events, in_time):
    user, _, time = (
        np.array(column, dtype=np.int64) for column in zip(*(events or [(0, 0, 0)]), strict=True)
    )
    time = np.sort(time) if in_time else time
    order, offsets = by_user_and_time(user, time, 6)
    assert order.tolist() == np.lexsort((time, user)).tolist()
    assert offsets.tolist() == np.searchsorted(user[order], np.arange(7)).tolist()
    untimed, _ = by_user_and_time(user, None, 6)
    assert untimed.tolist() == np.argsort(user, kind="stable").tolist()


def test_an_empty_log():
    empty = np.zeros(0, dtype=np.int32)
    order, offsets = by_user_and_time(empty, empty, 3)
    assert len(order) == 0 and offsets.tolist() == [0, 0, 0, 0]
    assert len(pair_totals(offsets, empty, None, 2)) == 0


@given(LOGS)
def test_totals_are_those_of_each_pair(events):
    events.sort(key=lambda event: event[0])
    user, item, weight = (
        np.array(c, dtype=np.int64) for c in zip(*(events or [(0, 0, 0)]), strict=True)
    )  # a pair's total
    offsets = np.searchsorted(user, np.arange(6))
    _, inverse = np.unique(user * 6 + item, return_inverse=True)
    for given_weight in (None, (weight + 4).astype(np.float32)):
        raw = np.ones(len(user)) if given_weight is None else given_weight.astype(np.float64)
        wanted = np.bincount(inverse, weights=raw)[inverse]
        assert pair_totals(offsets, item.astype(np.int32), given_weight, 6).tolist() == wanted.tolist()


@pytest.mark.parametrize("confidence", ["ones", "log"])
def test_the_log_weighs_alike_for_any_number_of_threads(confidence):
    rng = np.random.default_rng(0)
    data = build(rng.integers(150_000, size=400_000), rng.integers(3, size=400_000))
    weights = []
    for threads in (1, 2):
        parallel.set_threads(threads)
        weights.append(Weighting(confidence=confidence).log(data).weight)
    parallel.set_threads(None)
    assert weights[0] is not None and np.array_equal(*weights)
