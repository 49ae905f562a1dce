"""Ragged arrays and ``Queries`` against plain lists."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsmith.errors import ParameterError
from recsmith.types import Cost, Queries, check_range, ragged_rows, ragged_slices, ragged_take

HISTORIES = st.lists(st.lists(st.integers(0, 9), max_size=5), max_size=8)


def queries_of(histories: list[list[int]]) -> Queries:
    lengths = [len(h) for h in histories]
    flat = np.array([i for h in histories for i in h], dtype=np.int32)
    n, m = len(histories), len(flat)
    return Queries(
        users=np.arange(n, dtype=np.int32),
        offsets=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
        items=flat,
        values=flat.astype(np.float32) / 2,
        weights=np.arange(m, dtype=np.float32),
        times=np.arange(m, dtype=np.int64) * 10,
        at=np.arange(n, dtype=np.int64) * 100,
        context=np.arange(2 * n, dtype=np.float32).reshape(n, 2),
        as_trained=np.arange(n) % 2 == 0,
    )


def lists_of(queries: Queries, name: str = "items") -> list[list[float]]:
    bounds, column = queries.offsets, getattr(queries, name)
    return [column[a:b].tolist() for a, b in pairwise(bounds)]


@given(HISTORIES, st.data())
def test_take_is_a_list_of_lists(histories, data):
    n = len(histories)
    rows = data.draw(st.lists(st.integers(0, n - 1), max_size=10)) if n else []
    queries = queries_of(histories)
    taken = queries.take(np.array(rows, dtype=np.int64))
    for name in ("items", "values", "weights", "times"):
        assert lists_of(taken, name) == [lists_of(queries, name)[r] for r in rows]
    for name in ("users", "at", "context", "as_trained"):
        np.testing.assert_array_equal(getattr(taken, name), getattr(queries, name)[rows])


@given(HISTORIES, st.slices(8))
def test_take_slice_is_take_of_its_indices(histories, cut):
    queries = queries_of(histories)
    rows = np.arange(len(queries))[cut]
    taken, wanted = queries.take(cut), queries.take(rows)
    assert lists_of(taken) == [histories[r] for r in rows]
    for name in ("users", "offsets", "values", "weights", "times", "at", "context", "as_trained"):
        np.testing.assert_array_equal(getattr(taken, name), getattr(wanted, name))


@given(HISTORIES)
def test_rows_and_lengths(histories):
    queries = queries_of(histories)
    assert queries.rows.tolist() == [r for r, h in enumerate(histories) for _ in h]
    assert queries.lengths.tolist() == [len(h) for h in histories]
    assert ragged_rows(queries.offsets).tolist() == queries.rows.tolist()
    assert len(queries) == len(histories)


@given(HISTORIES, st.data())
def test_ragged_take_gives_positions(histories, data):
    rows = data.draw(st.lists(st.integers(0, len(histories) - 1), max_size=6)) if histories else []
    queries = queries_of(histories)
    bounds, positions = ragged_take(queries.offsets, np.array(rows, dtype=np.int32))
    assert bounds.dtype == positions.dtype == np.int64
    assert queries.items[positions].tolist() == [i for r in rows for i in histories[r]]
    assert np.diff(bounds).tolist() == [len(histories[r]) for r in rows]


def test_ragged_slices_may_overlap():
    bounds, positions = ragged_slices(np.array([4, 0, 1]), np.array([2, 0, 3]))
    assert bounds.tolist() == [0, 2, 2, 5]
    assert positions.tolist() == [4, 5, 1, 2, 3]


def test_event_weights_are_ones_where_there_are_none():
    queries = queries_of([[1, 2], []])
    assert queries.event_weights().tolist() == [0, 1]
    plain = queries.replace(weights=None).event_weights()
    assert plain.tolist() == [1, 1]
    assert plain.dtype == np.float32


@pytest.mark.parametrize("offsets", [[0, 1], [0, 2, 1], [1, 1, 2], [0, 1, 3]])
def test_bounds_that_do_not_fit_are_refused(offsets):
    with pytest.raises(ParameterError, match="offsets"):
        Queries(users=np.array([0, 1]), offsets=np.array(offsets), items=np.array([4, 5]))


@pytest.mark.parametrize("name", ["values", "weights", "times", "at", "context", "as_trained"])
def test_columns_of_another_length_are_refused(name):
    queries = queries_of([[1, 2], [3]])
    with pytest.raises(ParameterError, match=f"'{name}' parameter of Queries must be of length"):
        queries.replace(**{name: np.zeros(7)})


def test_check_range_names_the_first_wrong_index():
    check_range("f", "x", np.array([0, 4]), 5)
    check_range("f", "x", np.array([], dtype=np.int32), 0)
    with pytest.raises(ParameterError, match=r"The 'x' parameter of f must be indices in 0 .. 4. Got 5"):
        check_range("f", "x", np.array([0, 5, -1]), 5)


def test_costs_add_up_and_memory_is_the_peak():
    assert Cost(1, 2, 30) + Cost(10, 20, 3) == Cost(11, 22, 30)
