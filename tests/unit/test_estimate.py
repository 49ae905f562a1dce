"""Estimates against what really happens."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.waiting import PATIENCE_S

from recsmith import estimate
from recsmith.estimate import Estimate
from recsmith.models.registry import MODELS, create
from recsmith.types import Cost, Shape

SMALL, LARGE = Shape(1_000, 500, 20_000), Shape(10_000, 2_000, 1_000_000)


def test_the_rates_are_those_of_a_computer_and_measured_once():
    rates = estimate.calibrate()
    assert 1e8 < rates.gemm < 1e15
    assert 1e7 < rates.gather < 1e15
    assert estimate.calibrate() is rates


def test_time_is_cost_over_rate():
    rates = estimate.calibrate()
    assert estimate.of_cost(Cost(gemm=rates.gemm, gather=2 * rates.gather)).seconds == pytest.approx(3)
    one, two = estimate.of_cost(Cost()), estimate.of_cost(Cost(bytes=100 * 2**20))
    assert two.memory_mb - one.memory_mb == pytest.approx(100, abs=50)


@pytest.mark.parametrize("name", MODELS)
def test_a_larger_log_costs_more(name):
    small, large = (estimate.of_fit(create(name), shape) for shape in (SMALL, LARGE))
    assert 0 < small.seconds < large.seconds < 24 * 3600
    assert 0 < small.memory_mb <= large.memory_mb


@pytest.mark.parametrize("name", ["ease", "ials", "popular"])
def test_more_lists_cost_more(name):
    model = create(name)
    few, many = (estimate.recommend_cost(model, LARGE, n, 10, 64) for n in (10, 1000))
    assert few.gemm + few.gather < many.gemm + many.gather
    assert few.bytes < many.bytes


def test_as_dict_is_json():
    found = Estimate(1.5, 200.0, None)
    assert json.loads(json.dumps(found.as_dict())) == {
        "seconds": 1.5, "memory_mb": 200.0, "available_mb": None, "fits": True
    }  # fmt: skip


def test_fits_is_about_what_is_still_to_be_taken():
    assert not Estimate(1, 1e9, 10.0).fits
    assert Estimate(1, 1.0, 0.0).fits  # less than the process holds already


_FIT = """
import json
import numpy as np
from recsmith import estimate
from recsmith.data.dataset import Dataset
from recsmith.data.ids import IdMap
from recsmith.models.linear.ease import EASE
from recsmith.resources import measure
import polars as pl

n_users, n_items, m = 3000, 2500, 60_000
rng = np.random.default_rng(0)
def ids(n, kind):
    return IdMap(pl.Series(np.arange(n)), kind)
data = Dataset.build(
    users=ids(n_users, "user"), items=ids(n_items, "item"),
    user=rng.integers(n_users, size=m), item=rng.integers(n_items, size=m),
)
EASE().fit(data.take(np.arange(2000)).compact())  # what is loaded and compiled is not the fit's
estimate.calibrate()
before = estimate.resident_mb()
wanted = estimate.of_fit(EASE(), data.shape).memory_mb - before
with measure() as usage:
    EASE().fit(data)
print(json.dumps([wanted, usage.grown_mb]))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_memory_of_a_fit_within_a_factor_of_two():
    done = subprocess.run(
        [sys.executable, "-c", _FIT], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    wanted, used = json.loads(done.stdout)
    assert used / 2 < wanted < used * 2
