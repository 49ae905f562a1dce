"""``train``: names and parameters go where they belong."""

from __future__ import annotations

import pytest

from recsmith.errors import ParameterError
from recsmith.experiment.train import make_pipeline, train
from recsmith.models.baselines.popular import Popular


def test_parameters_of_model_and_weighting_are_told_apart():
    pipeline = make_pipeline("ease", reg=7, half_life=3, confidence="log", memory_mb=64)
    assert pipeline.model.config.reg == 7
    assert pipeline.weighting.half_life == 3
    assert pipeline.weighting.confidence == "log"
    assert pipeline.memory_mb == 64
    assert isinstance(pipeline.fallback, Popular)


def test_a_name_that_both_know_is_the_models():
    pipeline = make_pipeline("popular", half_life=3)
    assert pipeline.model.config.half_life == 3
    assert pipeline.weighting.half_life is None
    assert pipeline.fallback is None  # a model is no fallback of its own


def test_a_fallback_with_parameters_or_none():
    assert make_pipeline("ease", fallback_parameters={"half_life": 9}).fallback.config.half_life == 9
    assert make_pipeline("ease", fallback=None).fallback is None


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"regg": 1}, "There is no parameter of ease named 'regg'. Did you mean 'reg'"),
        ({"half_lief": 1}, "Did you mean 'half_life'"),
        (
            {"confidence": "some"},
            "'confidence' parameter of the history weighting must be 'ones', 'log' or 'raw'",
        ),
        ({"reg": 0}, "'reg' parameter of EASE must be > 0. Got 0 instead."),
    ],
)
def test_a_wrong_parameter_is_named(parameters, words):
    with pytest.raises(ParameterError, match=words):
        make_pipeline("ease", **parameters)


def test_a_path_is_no_dataset():
    with pytest.raises(ParameterError, match=r"a Dataset, which recsmith.load\(source\) gives. Got 'str'"):
        train("ease", "plays.csv")


def test_an_unknown_model_is_named(checkerboard):
    with pytest.raises(ParameterError, match=r"no model named 'eas'. Did you mean 'ease'"):
        train("eas", checkerboard)


def test_the_same_seed_gives_the_same_lists(checkerboard):
    one, two, other = (
        train("ials", checkerboard, seed=s, embedding_size=4).recommend(k=3) for s in (1, 1, 2)
    )
    assert one.equals(two)
    assert not one["score"].equals(other["score"])
    with pytest.raises(ParameterError, match="seed >= 0"):
        train("ials", checkerboard, seed=-1)
