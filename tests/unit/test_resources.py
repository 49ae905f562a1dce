"""What a block used, and what is left."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest

from recsmith import resources

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@linux
def test_a_block_that_takes_memory():
    with resources.measure() as usage:
        array = np.ones(200 * 2**20 // 8)
        time.sleep(0.05)
        del array
        time.sleep(0.05)
    assert usage.seconds >= 0.1
    assert 100 < usage.grown_mb < 300  # meanwhile other memory of the process may come and go
    assert usage.peak_mb > usage.start_mb


@linux
def test_nested_blocks_and_errors():
    with pytest.raises(KeyError), resources.measure() as outer:
        with resources.measure() as inner:
            time.sleep(0.02)
        raise KeyError("x")
    assert outer.seconds >= inner.seconds >= 0.02
    assert outer.peak_mb > 10


@linux
def test_what_is_left():
    assert 1 < resources.resident_mb() < 1e6
    assert 0 <= resources.available_mb() < 1e8


def test_other_systems(monkeypatch, tmp_path):
    monkeypatch.setattr(resources, "_STATM", tmp_path / "no")
    monkeypatch.setattr(resources, "_MEMINFO", tmp_path / "no")
    assert resources.available_mb() is None
    with resources.measure() as usage:
        pass
    assert usage.peak_mb is None or usage.peak_mb > 1
    assert usage.seconds >= 0


@linux
def test_the_limit_of_a_cgroup_counts(monkeypatch, tmp_path):
    (tmp_path / "memory.max").write_text("104857600\n")
    (tmp_path / "memory.current").write_text("94371840\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 5242880\n")
    monkeypatch.setattr(resources, "_CGROUPS", tmp_path)
    assert resources.available_mb() == pytest.approx(15)
    (tmp_path / "memory.max").write_text("max\n")
    assert resources.available_mb() > 15
