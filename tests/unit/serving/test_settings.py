"""Settings from a file, the environment and the command line, in that order."""

from __future__ import annotations

import json
import re
import time
from datetime import datetime
from pathlib import Path

import pytest

import recsmith
from recsmith.cli.main import main
from recsmith.errors import DataError, ParameterError
from recsmith.serving import worker
from recsmith.serving.settings import Settings
from recsmith.variables import PREFIX, VARIABLES


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


def test_an_unknown_variable_is_refused_with_the_nearest():
    with pytest.raises(ParameterError, match=r"RECSMITH_STORE_URI.*Did you mean 'RECSMITH_STORE_URL'\?"):
        Settings.load(None, {"RECSMITH_STORE_URI": "postgresql://host/db"})


def test_variables_of_other_parts_and_of_kubernetes_are_no_settings():
    """A Service named recsmith tells each pod beside it where it is."""
    links = {
        "RECSMITH_PORT": "tcp://10.0.0.1:80",
        "RECSMITH_PORT_80_TCP": "tcp://10.0.0.1:80",
        "RECSMITH_PORT_80_TCP_ADDR": "10.0.0.1",
        "RECSMITH_SERVICE_HOST": "10.0.0.1",
        "RECSMITH_SERVICE_PORT": "80",
        "RECSMITH_SERVICE_PORT_HTTP": "80",
        "RECSMITH_REDIS_SERVICE_HOST": "10.0.0.2",
    }
    assert Settings.load(None, links | dict.fromkeys(VARIABLES, "1")) == Settings()
    with pytest.raises(ParameterError, match="RECSMITH_PORT"):
        Settings.load(None, {"RECSMITH_PORT": "9000"})


def test_every_variable_that_the_code_names_is_known():
    """And none is known that nothing reads."""
    top = Path(recsmith.__file__).parents[2]
    known = {*VARIABLES, *(PREFIX + name.upper() for name in Settings.model_fields)}
    code = {p: p.read_text() for part in ("src", "benchmarks") for p in (top / part).rglob("*.py")}
    named = {name for text in code.values() for name in re.findall(r"RECSMITH_[A-Z][A-Z_]*[A-Z]", text)}
    assert named <= known
    listed = top / "src" / "recsmith" / "variables.py"
    assert all(any(name in text for p, text in code.items() if p != listed) for name in VARIABLES)


@pytest.fixture
def served(monkeypatch, tmp_path):
    """What ``recsmith serve`` would serve with, given its options."""
    from tests.unit.serving.live import save

    bundle = save(tmp_path, "first")
    runs = []
    monkeypatch.setattr(worker, "run", lambda settings, *rest: runs.append(settings))

    def start(*options):
        assert main(["serve", str(bundle), *options]) == 0
        return runs.pop()

    return start


def test_what_a_person_sets_wins_over_what_the_command_line_assumes(served, monkeypatch, tmp_path):
    """Behind a proxy on the same machine, a service at a loopback address is open to all but for this."""
    file = tmp_path / "settings.yaml"
    file.write_text(f"auth: keys\nbundles: {tmp_path / 'all'}\n")
    assert (served().auth, served().bundles) == ("off", tmp_path)
    found = served("--config", str(file))
    assert (found.auth, found.bundles) == ("keys", tmp_path / "all")
    assert served("--config", str(file), "--auth", "off").auth == "off"
    monkeypatch.setenv("RECSMITH_AUTH", "keys")
    monkeypatch.setenv("RECSMITH_BUNDLES", str(tmp_path / "other"))
    for host in ("127.0.0.1", "127.0.0.2", "localhost", "::1"):
        found = served("--host", host)
        assert (found.auth, found.bundles) == ("keys", tmp_path / "other")
    monkeypatch.setenv("RECSMITH_AUTH", "off")
    assert served("--host", "0.0.0.0").auth == "off"
    assert served("--host", "0.0.0.0", "--auth", "keys").auth == "keys"


def test_keys_are_assumed_where_others_can_reach_the_service(served):
    assert [served("--host", host).auth for host in ("0.0.0.0", "::", "10.0.0.1", "127.0.0.2")] == [
        "keys", "keys", "keys", "off",
    ]  # fmt: skip


def test_keys_are_listed_with_dates(tmp_path, capsys):
    """For people in ISO 8601, as JSON in Unix seconds."""
    url = f"sqlite:///{tmp_path}/events.db"
    before = int(time.time())
    assert main(["keys", "add", "shop", "--store", url]) == 0
    assert main(["keys", "revoke", "1", "--store", url]) == 0
    capsys.readouterr()
    assert main(["keys", "list", "--store", url, "--json"]) == 0
    (key,) = json.loads(capsys.readouterr().out)["keys"]
    assert before <= key["created"] <= key["revoked"]
    assert main(["keys", "list", "--store", url]) == 0
    shown = re.findall(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", capsys.readouterr().out)
    assert [datetime.fromisoformat(text).timestamp() for text in shown] == [key["created"], key["revoked"]]
