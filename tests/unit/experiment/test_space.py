"""The space that a tuner searches."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np
import pytest
from pydantic import Field

from recsmith.config import Config, Search
from recsmith.errors import ParameterError
from recsmith.experiment import space as module
from recsmith.experiment.space import Dimension, changed, defaults, fit_key, space_of
from recsmith.models.registry import MODELS, model_class
from recsmith.protocols import Evidence


def test_the_marks_beside_the_config_are_the_space(checkerboard):
    space = space_of("ease", checkerboard)
    assert str(space["reg"]) == "10..10000,log"
    assert str(space["half_life"]) == "2..400,log or none"
    assert "half_life_unit" not in space


def test_what_the_log_does_not_have_is_not_searched(checkerboard):
    assert "half_life" in space_of("popular", checkerboard)
    assert "half_life" not in space_of("popular", replace(checkerboard, time=None))
    assert "confidence" not in space_of("ease", checkerboard)
    heavy = replace(checkerboard, weight=np.ones(len(checkerboard), dtype=np.float32))
    assert space_of("ease", heavy)["confidence"].choices == ("ones", "log", "raw")
    twice = checkerboard.take(np.concatenate([np.arange(len(checkerboard)), np.arange(9)]))
    assert "confidence" in space_of("ease", twice)


def test_ratings_have_a_space_of_their_own(checkerboard):
    lists, ratings = (space_of("item-knn", checkerboard, metric) for metric in ("ndcg@10", "rmse"))
    assert lists["similarity"].choices == ("cosine", "jaccard")
    assert "pearson_baseline" in ratings["similarity"].choices
    assert "neighbors" in lists
    assert "rating_neighbors" in ratings
    assert "half_life" in lists
    assert "half_life" not in ratings


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("metric", ["ndcg@10", "rmse"])
def test_every_point_of_every_space_is_allowed(name, metric, checkerboard):
    rich = replace(checkerboard, weight=np.ones(len(checkerboard), dtype=np.float32))
    space = space_of(name, rich, metric)
    own = set(model_class(name).config_class.model_fields)
    for parameter, dimension in space.items():
        ends = dimension.choices or (dimension.low, dimension.high, dimension.top)
        for end in ends:
            if parameter in own:
                model_class(name)(**{parameter: dimension.value(end)})
    assert set(defaults(name, space)) == set(space)


def test_values_of_a_dimension():
    some = Dimension(kind="float", low=1, high=100, log=True, optional=True)
    assert some.value(3.14159) == 3.14
    assert some.value(100.1) is None
    assert some.drawn(None) == some.top > 100
    assert some.drawn(5000) == 100
    count = Dimension(kind="int", low=1, high=9)
    assert (count.value(4), count.drawn(50)) == (4, 9)
    kind = Dimension(kind="choice", choices=("a", None))
    assert (kind.value(None), kind.drawn("b"), str(kind)) == (None, "a", "a|none")


def test_other_bounds(checkerboard):
    space = changed(
        space_of("item-knn", checkerboard), "item-knn", {"neighbors": "5..50", "similarity": "cosine|jaccard"}
    )
    assert (space["neighbors"].kind, space["neighbors"].high, space["neighbors"].log) == ("int", 50, False)
    assert space["similarity"].choices == ("cosine", "jaccard")
    assert changed({}, "ease", {"half_life_unit": "events|days"})["half_life_unit"].kind == "choice"


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"regg": "1..2"}, "There is no parameter of ease named 'regg'. Did you mean 'reg'"),
        ({"reg": "-1..5"}, "'reg' parameter of EASE must be > 0"),
        ({"reg": "5..1"}, "low < high"),
        ({"reg": "0..1,log"}, "low > 0 for log"),
        ({"reg": "1,2"}, "low..high, low..high,log or a|b|c"),
        ({"reg": "a..b"}, "low..high, low..high,log or a|b|c"),
        ({"confidence": "ones|some"}, "'confidence' parameter of the history weighting must be"),
        ({"confidence": "1..2"}, "choices like a|b"),
    ],
)
def test_a_wrong_space_is_named(wanted, words):
    with pytest.raises(ParameterError) as caught:
        changed({}, "ease", wanted)
    assert words in str(caught.value)


def test_half_lives_share_a_fit_unless_they_are_the_models():
    assert fit_key("ease", {"reg": 1, "half_life": 2}) == fit_key("ease", {"half_life": None, "reg": 1})
    assert fit_key("ease", {"reg": 1}) != fit_key("ease", {"reg": 2})
    assert fit_key("popular", {"half_life": 1}) != fit_key("popular", {"half_life": 2})


def test_a_mark_without_bounds_takes_what_the_type_says(checkerboard, monkeypatch):
    class Some(Config):
        on: Annotated[bool, Search()] = False
        size: Annotated[int | None, Search(2, 8)] = Field(default=None, ge=1)

    some = type("M", (), {"config_class": Some, "needs": Evidence.NOTHING})
    monkeypatch.setattr(module, "model_class", lambda _: some)
    space = space_of("some", checkerboard)
    assert space["on"].choices == (False, True)
    assert (space["size"].kind, space["size"].optional) == ("int", True)
