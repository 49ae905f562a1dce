"""Tables as features: what a column is taken for, unseen and missing values, and the way back from JSON."""

from __future__ import annotations

import json
from datetime import date

import numpy as np
import polars as pl
import pytest

from recsmith.data.features import FeatureEncoder
from recsmith.errors import DataError, ParameterError


@pytest.fixture
def people() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    n = 400
    return pl.DataFrame(
        {
            "age": rng.integers(7, 74, n),
            "gender": rng.choice(["F", "M"], n),
            "occupation": rng.integers(0, 21, n),
            "zip_code": [f"{z:05d}" for z in rng.choice(99_999, n, replace=False)],
            "name": [f"{'x' * int(k)} {i}" for i, k in enumerate(rng.integers(1, 30, n))],
            "member": rng.random(n) < 0.3,
            "income": rng.normal(size=n),
        }
    )


def dense(encoder, table):
    return encoder.transform(table).toarray()


def test_each_column_is_taken_for_what_it_is(people):
    encoder = FeatureEncoder.fit(people)
    kinds = {column.name: column.kind for column in encoder.columns}
    assert kinds == {
        "age": "number", "gender": "category", "occupation": "category", "zip_code": "code", "member": "category",
        "income": "number",
    }  # fmt: skip
    assert [part.stop - part.start for part in encoder.parts()] == [c.width for c in encoder.columns]
    x = dense(encoder, people)
    assert x.shape == (400, encoder.width) and x.dtype == np.float32 and len(encoder.names) == encoder.width
    for part in encoder.parts():  # every row has one value of every column here, rare ones aside
        assert set(x[:, part].sum(axis=1)) <= {0.0, 1.0}
    assert (x[:, encoder.parts()[0]].sum(axis=1) == 1).all()


def test_a_code_counts_by_its_front(people):
    encoder = FeatureEncoder.fit(people, columns=["zip_code"])
    (column,) = encoder.columns
    assert column.prefix in (1, 2) and all(len(c) == column.prefix for c in column.categories)
    later = pl.DataFrame({"zip_code": [column.categories[0] + "999", "??", None]})
    np.testing.assert_array_equal(dense(encoder, later).sum(axis=1), [1, 0, 0])


def test_bins_hold_about_as_many_rows_each(people):
    encoder = FeatureEncoder.fit(people, columns=["income"], bins=8)
    counts = dense(encoder, people).sum(axis=0)
    assert len(counts) == 8 and counts.min() >= 45 and counts.max() <= 55
    later = pl.DataFrame({"income": [-1e9, 1e9, None, float("nan"), float("inf")]})
    x = dense(encoder, later)
    assert x[0, 0] == 1 and x[1, -1] == 1 and x[2:].sum() == 0


def test_lists_share_a_row_out():
    table = pl.DataFrame({"genres": [["a", "b"], ["a"], [], None, ["b", "b", "c", "a"]]})
    encoder = FeatureEncoder.fit(table)
    assert encoder.columns[0].categories == ("a", "b")  # c occurs once
    half = 0.5**0.5
    np.testing.assert_allclose(
        dense(encoder, table), [[half, half], [1, 0], [0, 0], [0, 0], [half, half]], atol=1e-6
    )
    np.testing.assert_allclose(
        dense(encoder, pl.DataFrame({"genres": [["new"], ["new", "b"]]})), [[0, 0], [0, 1]]
    )


def test_dates_and_few_numbers():
    days = [date(2000 + k % 10, 1, 1) for k in range(100)]
    table = pl.DataFrame({"since": days, "level": [k % 3 for k in range(100)], "same": ["x"] * 100})
    encoder = FeatureEncoder.fit(table)
    assert [c.kind for c in encoder.columns] == ["number", "category"]  # a column of one value says nothing
    assert (dense(encoder, table).sum(axis=1) == 2).all()


def test_a_missing_column_and_null_have_no_entry(people):
    encoder = FeatureEncoder.fit(people)
    assert dense(encoder, people.select("age"))[:, encoder.parts()[0]].sum() == 400
    nothing = people.with_columns(pl.lit(None).alias(name) for name in people.columns)
    assert encoder.transform(nothing).nnz == 0


def test_json_and_back(people):
    encoder = FeatureEncoder.fit(people)
    again = FeatureEncoder.restore(json.loads(json.dumps(encoder.state())))
    assert again == encoder
    np.testing.assert_array_equal(dense(again, people), dense(encoder, people))


def test_bad_input(people):
    with pytest.raises(ParameterError, match="ages"):
        FeatureEncoder.fit(people, columns=["ages"])
    with pytest.raises(DataError, match="name"):
        FeatureEncoder.fit(people, columns=["name"])
    with pytest.raises(ParameterError, match="bins"):
        FeatureEncoder.fit(people, bins=1)
    assert FeatureEncoder.fit(people.select("name")).width == 0
    assert FeatureEncoder.fit(people.clear()).width == 0
