"""Parameters: frozen, checked, and wrong ones named in the house sentence."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import Field, ValidationError

from recsmith.config import Config
from recsmith.errors import ParameterError


class Sample(Config):
    """Three parameters."""

    size: int = Field(default=3, ge=1, le=9)
    rate: float = Field(default=0.5, gt=0, lt=1)
    kind: Literal["a", "b"] = "a"


def test_defaults_and_overrides():
    assert Sample.make("me") == Sample()
    assert Sample.make("me", Sample(size=4), kind="b") == Sample(size=4, kind="b")
    assert Sample.make("me", Sample(size=4), size=5).size == 5


def test_it_cannot_be_changed():
    with pytest.raises(ValidationError):
        Sample().size = 4


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"size": 0}, "The 'size' parameter of me must be >= 1. Got 0 instead."),
        ({"size": 10}, "The 'size' parameter of me must be <= 9. Got 10 instead."),
        ({"rate": 0}, "The 'rate' parameter of me must be > 0. Got 0 instead."),
        ({"rate": 1.0}, "The 'rate' parameter of me must be < 1. Got 1.0 instead."),
        ({"rate": float("nan")}, "The 'rate' parameter of me must be a finite number. Got nan instead."),
        ({"kind": "c"}, "The 'kind' parameter of me must be 'a' or 'b'. Got 'c' instead."),
        (
            {"sise": 1},
            "There is no parameter of me named 'sise'. Did you mean 'size'? Known: kind, rate, size.",
        ),
    ],
)
def test_wrong_ones_are_named(wrong, words):
    with pytest.raises(ParameterError) as caught:
        Sample.make("me", **wrong)
    assert str(caught.value) == words
