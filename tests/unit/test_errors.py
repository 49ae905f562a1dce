"""Messages in the house sentence, and the tree that callers catch."""

from __future__ import annotations

import pytest

from recsmith.errors import (
    BundleError,
    DataError,
    FetchError,
    InputError,
    MissingExtraError,
    NotFittedError,
    ParameterError,
    RecsmithError,
    UnknownIdError,
)


def test_house_sentence():
    error = ParameterError.of("EASE", "reg", "> 0", -1)
    assert str(error) == "The 'reg' parameter of EASE must be > 0. Got -1 instead."


def test_unknown_name_offers_the_nearest():
    error = str(ParameterError.unknown("model", "eese", ["random", "ease"]))
    assert error == "There is no model named 'eese'. Did you mean 'ease'? Known: ease, random."
    assert "Did you mean" not in str(ParameterError.unknown("model", "zzz", ["ease"]))


def test_missing_extra_names_the_command():
    error = MissingExtraError.of("The model 'x'", "torch")
    assert isinstance(error, ImportError)
    assert "pip install 'recsmith[torch]'" in str(error)


@pytest.mark.parametrize("kind", [DataError, ParameterError, UnknownIdError, BundleError])
def test_wrong_input_is_a_value_error_of_status_2(kind):
    assert issubclass(kind, InputError)
    assert issubclass(kind, ValueError)
    assert kind.exit_status == 2


@pytest.mark.parametrize("kind", [NotFittedError, FetchError, MissingExtraError])
def test_other_failures_have_status_1(kind):
    assert issubclass(kind, RecsmithError)
    assert not issubclass(kind, InputError)
    assert kind.exit_status == 1


def test_unknown_id_is_a_lookup_error():
    assert issubclass(UnknownIdError, LookupError)
