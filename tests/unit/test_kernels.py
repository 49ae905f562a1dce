"""Kernels of a package that nobody may write to: compiled for each process, not kept."""

from __future__ import annotations

import subprocess
import sys

import numba
import pytest
from tests.support.waiting import PATIENCE_S

from recsmith.kernels import njit

SCRIPT = """
from numba.core.caching import CacheImpl

CacheImpl._locator_classes.clear()  # as where numba finds no folder that it can write to
import numpy as np
import recsmith as rs
from recsmith import topk
from recsmith.topk import TopKBlock

block = TopKBlock(1, 2)
block.update(np.array([[1, 5, 3]], dtype=np.float32), 0, np.zeros(2, dtype=np.int64), np.zeros(0, dtype=np.int32))
data = rs.load("synthetic:users=30,items=20,events=200,seed=1")
answers = [len(rs.train(model, data).recommend([1], k=3)) for model in ("ials", "item-knn")]
print(topk._update.stats.cache_path, block.items.tolist(), answers)
"""


def test_where_nothing_can_be_written_kernels_are_compiled_without_a_cache():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split(maxsplit=1)[0] == "None"
    assert "[[1, 2]]" in done.stdout
    assert "[3, 3]" in done.stdout


def test_elsewhere_they_are_kept():
    from recsmith import topk

    assert topk._update.stats.cache_path


def test_other_errors_of_the_compiler_are_told(monkeypatch):
    def broken(**options):
        raise RuntimeError("something else")

    monkeypatch.setattr(numba, "njit", broken)
    with pytest.raises(RuntimeError, match="something else"):
        njit(cache=True)(len)
