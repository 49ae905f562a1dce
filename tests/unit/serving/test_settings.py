"""Settings from a file, the environment and the command line, in that order."""

from __future__ import annotations

import pytest

from recsmith.errors import DataError, ParameterError
from recsmith.serving.settings import Settings


def test_what_is_nearer_wins(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("store_url: sqlite:///file.db\nrate_per_minute: 7\nauth: keys\n")
    environment = {
        "RECSMITH_AUTH": "off",
        "RECSMITH_RATE_PER_MINUTE": "8",
        "RECSMITH_CORS_ORIGINS": "[https://a.example]",
    }
    found = Settings.load(file, environment, rate_per_minute=9, redis_url=None)
    assert (found.store_url, found.auth, found.rate_per_minute) == ("sqlite:///file.db", "off", 9)
    assert found.cors_origins == ("https://a.example",)


def test_a_signal_may_be_added():
    found = Settings.load(None, {"RECSMITH_SIGNALS": "{listen: {weight: 0.8}}"})
    assert found.signals["listen"].weight == 0.8


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"RECSMITH_AUTH": "no"}, "'auth'"),
        ({"RECSMITH_TOGETHER": "0"}, "'together'"),
        ({"RECSMITH_TOGETHER": "[1"}, "RECSMITH_TOGETHER"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(environment, said):
    with pytest.raises(ParameterError, match=said):
        Settings.load(None, environment)


def test_an_unknown_setting_is_refused_with_the_nearest(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("store_ur: x")
    with pytest.raises(ParameterError, match="'store_url'"):
        Settings.load(file, {})
    file.write_text("- 1")
    with pytest.raises(DataError, match="wanted settings"):
        Settings.load(file, {})
