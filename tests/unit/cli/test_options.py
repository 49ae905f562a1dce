from __future__ import annotations

import pytest

from recsmith.cli.console import duration, json_text, megabytes, text_of
from recsmith.cli.options import cut_offs, model_and_parameters, pairs, parameters
from recsmith.errors import ParameterError


def test_values_are_yaml_scalars():
    texts = ["a=1", "b=0.5", "c=true", "d=null", "e=text", "f=1e-3", "g='7'"]
    assert parameters(texts) == {"a": 1, "b": 0.5, "c": True, "d": None, "e": "text", "f": 0.001, "g": "7"}


def test_a_value_may_hold_an_equals_sign():
    assert pairs("--column", ["user_id=a=b"]) == {"user_id": "a=b"}


@pytest.mark.parametrize("texts", [["a"], ["=1"], ["a=1", "a=2"]])
def test_pairs_of_another_form(texts):
    with pytest.raises(ParameterError, match="NAME=VALUE"):
        pairs("--set", texts)


def test_a_model_with_its_parameters():
    assert model_and_parameters("ease") == ("ease", {})
    assert model_and_parameters("ease:reg=3,half_life=5") == ("ease", {"reg": 3, "half_life": 5})


def test_cut_offs():
    assert cut_offs("5, 10") == (5, 10)
    for text in ("", "0", "-1", "1.5", "a"):
        with pytest.raises(ParameterError, match="k"):
            cut_offs(text)


def test_json_holds_no_nan():
    assert (
        json_text({"a": float("nan"), "b": [1.5, None], 3: (True, "x")})
        == '{"a": null, "b": [1.5, null], "3": [true, "x"]}'
    )


def test_numbers_as_people_write_them():
    assert [text_of(v) for v in (None, True, 1234, 0.12345, "x", float("nan"))] == [
        "",
        "yes",
        "1,234",
        "0.1235",
        "x",
        "",
    ]
    assert [duration(s) for s in (0.123, 45, 200, 7320)] == ["0.12 s", "45 s", "3 min 20 s", "2 h 2 min"]
    assert [megabytes(m) for m in (None, 512, 20480)] == ["not known", "512 MB", "20.0 GB"]


def test_a_narrow_terminal_gets_blocks(monkeypatch, capsys):
    from rich.console import Console

    from recsmith.tables import Table

    def shown(width):
        monkeypatch.setenv("COLUMNS", str(width))
        rows = [(1, "ease", 0.25), (2, "[b]pop[/b]", 0.125)]
        made = Table("Best", ("rank", "model", "score"), rows, numbers=("score",), whole=("model",))
        Console(markup=False).print(made)
        return capsys.readouterr().out

    assert shown(80).count("rank") == 1
    narrow = shown(24)
    assert narrow.count("rank") == 2
    assert "[b]pop[/b]" in narrow
