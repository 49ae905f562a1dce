"""Weights of a blend: learned on validation, no worse than the best part, and honest about it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.conftest import build

from recsmith.data.split_by_name import parse
from recsmith.errors import DataError, ParameterError
from recsmith.evaluation.answers import rank
from recsmith.experiment.blend import learn_weights, mix
from recsmith.experiment.train import make_pipeline


@pytest.fixture(scope="module")
def split():
    """Two tastes that one model alone does not see: popularity within a colour, and the colour."""
    rng = np.random.default_rng(2)
    users = np.repeat(np.arange(200), 12)
    items = (rng.zipf(1.4, size=len(users)) % 30) * 2 + users % 2
    return parse("random").split(build(users, items))[0]


@pytest.fixture(scope="module")
def parts(split):
    return [
        make_pipeline(name, **parameters).fit(split.train)
        for name, parameters in (
            ("random", {}),
            ("popular", {}),
            ("item-knn", {"neighbors": 3}),
            ("ease", {"reg": 10}),
        )
    ]


def test_the_mix_is_worth_what_is_said(split, parts):
    learned = learn_weights(parts, split)
    assert learned.weights.sum() == pytest.approx(1)
    assert (learned.weights >= 0).all()
    assert learned.value >= max(learned.singles)
    assert learned.users == len(rank(parts[0], split, ["ndcg@10"]).rows)
    for pipeline, said in (
        (mix(parts, learned.weights), learned.value),
        (parts[learned.best_single], max(learned.singles)),
    ):
        alone = rank(replace(pipeline, fallback=None), split, ["ndcg@10"]).values["ndcg@10"]
        assert alone.mean() == pytest.approx(said, abs=1e-6)


def test_it_repeats(split, parts):
    first, second = (learn_weights(parts, split, seed=4) for _ in range(2))
    np.testing.assert_array_equal(first.weights, second.weights)
    assert first.gain == second.gain


def test_a_part_that_is_noise_gets_next_to_nothing(split, parts):
    learned = learn_weights(parts, split)
    assert learned.weights[0] < 0.1


def test_the_same_part_twice_gains_nothing(split, parts):
    learned = learn_weights([parts[3], parts[3]], split)
    assert learned.value == pytest.approx(max(learned.singles))
    assert learned.gain == (0, 0)


def test_users_can_be_sampled(split, parts):
    assert learn_weights(parts, split, users=50).users == 50


def test_what_cannot_be_learned_is_said(split, parts):
    with pytest.raises(ParameterError, match="at least one part"):
        learn_weights([], split)
    with pytest.raises(ParameterError, match="ndcgg"):
        learn_weights(parts, split, "ndcgg@10")
    with pytest.raises(ParameterError, match="validation split"):
        learn_weights([make_pipeline("ease")], split)
    nobody = replace(split.truth, offsets=np.zeros_like(split.truth.offsets), items=split.truth.items[:0])
    with pytest.raises(DataError, match="nobody to judge"):
        learn_weights(parts, replace(split, truth=nobody))
    with pytest.raises(ParameterError, match="weight > 0"):
        mix(parts, np.zeros(4))
