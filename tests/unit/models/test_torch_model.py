"""What every model of PyTorch gets from its base: state, devices, threads, and the caller's surroundings."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recsmith.data.split_by_name import parse
from recsmith.evaluation import judge
from recsmith.models.registry import create
from recsmith.models.sequential.sasrec import SASRec
from recsmith.recommend import Pipeline
from recsmith.types import State


@pytest.fixture(scope="module")
def fitted(ml_like):
    return SASRec(embedding_size=8, epochs=2).fit(ml_like, rng=1)


def test_state_is_arrays_and_json(fitted):
    state = fitted.state()
    assert state.values == {"sizes_": {"n_items": 60}}
    assert state.arrays["weights.items.weight"].shape == (60, 8)
    assert all(isinstance(array, np.ndarray) for array in state.arrays.values())


def test_a_state_of_other_shapes_is_refused(fitted):
    state = fitted.state()
    with pytest.raises(ValueError, match=r"items.weight has the shape \(60, 8\), wanted \(60, 16\)"):
        SASRec(embedding_size=16).restore(state)
    rest = {name: array for name, array in state.arrays.items() if "norm" not in name}
    with pytest.raises(KeyError):
        SASRec(embedding_size=8).restore(State(rest, state.values))


def test_the_caller_keeps_his_generator_and_settings(ml_like):
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    SASRec(embedding_size=8, epochs=1).fit(ml_like).score(ml_like.queries())
    assert (torch.rand(3) == wanted).all()
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == (threads, strict)


def test_a_loaded_model_can_be_fitted_again(fitted, ml_like):
    loaded = SASRec(embedding_size=8, epochs=2).restore(fitted.state())
    assert loaded.course_ is None
    again = loaded.fit(ml_like, rng=1)
    np.testing.assert_array_equal(again.score(ml_like.queries()), fitted.score(ml_like.queries()))


def test_a_neural_model_beats_popular_on_real_data(ml_100k):
    """Of unseen events of MovieLens-100K; some epochs are enough."""
    split = parse("user-time").split(ml_100k)[0]
    figures = {}
    for name, parameters in (
        ("popular", {}),
        ("sasrec", {"epochs": 15, "learning_rate": 3e-3, "windows": "all"}),
    ):
        pipeline = Pipeline(model=create(name, **parameters)).fit(split.train, rng=0)
        figures[name] = judge(pipeline, split, ks=(10,), resamples=10, rating=False).means["ndcg@10"]
    assert figures["sasrec"] > 1.3 * figures["popular"]
