"""Negatives are never positives, follow their distribution, and depend on the seed alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
import pytest

from recsmith import parallel
from recsmith.data.dataset import Dataset
from recsmith.data.ids import IdMap
from recsmith.data.negatives import NegativeSampler, popularity, uniform
from recsmith.errors import DataError, ParameterError


def log(user: list[int], item: list[int], n_users: int, n_items: int) -> Dataset:
    """Make a log of indices."""
    return Dataset.build(
        users=IdMap(pl.Series(range(n_users)), "user"),
        items=IdMap(pl.Series(range(n_items)), "item"),
        user=np.array(user, dtype=np.int32),
        item=np.array(item, dtype=np.int32),
    )


@pytest.fixture
def wide() -> Dataset:
    """Give 9,000 users (more than two blocks) with 1 to 19 of 20 items each, repeated events included."""
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 20, 9000)
    user = np.repeat(np.arange(9000), counts)
    item = np.concatenate([rng.permutation(20)[:c] for c in counts])
    return log([*user, 0, 0], [*item, item[0], item[0]], 9000, 20)


@pytest.fixture
def threads() -> Iterator[None]:
    """Set the number of threads back."""
    yield
    parallel.set_threads(None)


@pytest.mark.parametrize("draw", [uniform, popularity])
def test_never_a_positive(wide: Dataset, draw) -> None:  # type: ignore[no-untyped-def]
    drawn = draw(wide, 8, 1)
    assert drawn.shape == (9000, 8) and drawn.dtype == np.int32
    assert drawn.min() >= 0 and drawn.max() < 20
    assert not wide.matrix("ones").toarray()[np.arange(9000)[:, None], drawn].any()


@pytest.mark.parametrize("draw", [uniform, popularity])
def test_the_seed_alone_decides(wide: Dataset, draw, threads: None) -> None:  # type: ignore[no-untyped-def]
    first = draw(wide, 5, 7)
    for count in (1, 3):
        parallel.set_threads(count)
        assert np.array_equal(draw(wide, 5, np.random.default_rng(7)), first)
    assert not np.array_equal(draw(wide, 5, 8), first)


def test_one_generator_gives_new_draws_each_time(wide: Dataset) -> None:
    rng = np.random.default_rng(0)
    sampler = NegativeSampler.of(wide)
    assert not np.array_equal(sampler.draw(5, rng), sampler.draw(5, rng))


def test_uniform_is_even_over_the_free_items() -> None:
    drawn = uniform(log([0, 0, 0], [0, 2, 5], 2, 6), 60_000, 3)
    assert np.bincount(drawn[0], minlength=6)[[1, 3, 4]] / 60_000 == pytest.approx([1 / 3] * 3, abs=0.01)
    assert np.bincount(drawn[1], minlength=6) / 60_000 == pytest.approx([1 / 6] * 6, abs=0.01)


def test_popularity_follows_the_power_of_the_counts() -> None:
    data = log([0, *[1] * 16, 2], [0, *[1] * 16, 2], 3, 4)
    drawn = popularity(data, 60_000, 3)
    shares = np.bincount(drawn[0], minlength=4) / 60_000
    assert shares == pytest.approx([0, 8 / 9, 1 / 9, 0], abs=0.01)
    even = popularity(data, 60_000, 3, power=0.0)
    assert np.bincount(even[0], minlength=4) / 60_000 == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3], abs=0.01)


def test_a_user_of_nearly_all_that_is_popular_gets_the_rest_by_weight() -> None:
    # The user has the one item that draws almost every try; items 1 and 2 weigh 1 and 2.
    data = log([*[0] * 100_000, 1, 1, 2], [*[0] * 100_000, 1, 2, 2], 3, 4)
    drawn = popularity(data, 3_000, 0, power=1.0, users=np.array([0]))
    assert np.bincount(drawn[0], minlength=4) / 3_000 == pytest.approx([0, 1 / 3, 2 / 3, 0], abs=0.05)


def test_where_nothing_popular_is_free_the_draw_is_even() -> None:
    drawn = popularity(log([0, 0], [1, 3], 1, 5), 6_000, 0)
    assert np.bincount(drawn[0], minlength=5) / 6_000 == pytest.approx([1 / 3, 0, 1 / 3, 0, 1 / 3], abs=0.05)


def test_users_in_any_order_and_unknown() -> None:
    data = log([0, 0, 1], [0, 1, 2], 2, 3)
    drawn = uniform(data, 200, 0, users=np.array([1, -1, 0, 1]))
    assert [sorted(set(row)) for row in drawn.tolist()] == [[0, 1], [0, 1, 2], [2], [0, 1]]
    assert uniform(data, 0, 0).shape == (2, 0)
    assert uniform(data, 3, 0, users=np.zeros(0, dtype=np.int32)).shape == (0, 3)


def test_clear_errors() -> None:
    data = log([0, 0, 1], [0, 1, 1], 2, 2)
    with pytest.raises(DataError, match="User index 0 has an event with each of the 2 items"):
        uniform(data, 1, 0)
    assert uniform(data, 3, 0, users=np.array([1])).tolist() == [[0, 0, 0]]
    with pytest.raises(ParameterError, match=r"indices from -1 to 1\. Got 2 instead"):
        uniform(data, 1, 0, users=np.array([2]))
    with pytest.raises(ParameterError, match="The 'n' parameter"):
        uniform(data, -1, 0)
    with pytest.raises(ParameterError, match="'power' parameter of popularity must be finite and >= 0"):
        popularity(data, 1, 0, power=-1.0)


def test_every_row_has_a_stream_of_its_own() -> None:
    drawn = uniform(log([0], [0], 1, 1_000_000), 4, 0, users=np.zeros(10_000, dtype=np.int32))
    assert len(np.unique(drawn, axis=0)) == 10_000
