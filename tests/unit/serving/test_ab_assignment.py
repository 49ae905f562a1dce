"""The service's assignment gives each variant the share that it should have."""

from __future__ import annotations

from collections import Counter

import pytest

from recsmith.evaluation.experiments import sample_ratio
from recsmith.serving.deployment import Experiment


@pytest.mark.parametrize("shares", [{"a": 1, "b": 1}, {"a": 0.9, "b": 0.1}, {"a": 3, "b": 2, "c": 1}])
def test_shares_pass_the_sample_ratio_check(shares):
    variants = {name: {"bundle": "m", "share": share} for name, share in shares.items()}
    for name in ("autumn", "spring"):
        experiment = Experiment(name=name, variants=variants)
        counts = Counter(experiment.assign(f"user-{n}").variant for n in range(40_000))
        found = sample_ratio(counts, shares)
        assert not found.broken and found.p > 0.01


def test_two_experiments_split_users_independently():
    variants = {name: {"bundle": "m"} for name in ("a", "b")}
    first, second = (Experiment(name=name, variants=variants) for name in ("autumn", "spring"))
    pairs = Counter(
        first.assign(user).variant + second.assign(user).variant
        for user in (f"user-{n}" for n in range(20_000))
    )
    assert sample_ratio(pairs).p > 0.01
