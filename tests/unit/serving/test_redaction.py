"""The password of a database stands in nothing that anybody is shown."""

from __future__ import annotations

import logging

import psycopg
import pytest
from tests.unit.serving.live import save, served

from recsmith.cli.main import main
from recsmith.errors import ParameterError, RecsmithError
from recsmith.experiment.config import MLflow
from recsmith.redaction import redacted, redacted_url
from recsmith.serving import worker
from recsmith.serving.shared import Shared
from recsmith.serving.store import Store
from recsmith.serving.telemetry import JsonLines

SECRET = "hunter2"
URLS = [
    f"postgresql://u:{SECRET}@127.0.0.1:1/db",
    f"postgresql://127.0.0.1:1/db?user=u&password={SECRET}",
    f"postgresql://127.0.0.1:1/db?user=u&pass%77ord={SECRET}&sslmode=disable",
    f"postgresql://u@127.0.0.1:1/db?sslpassword={SECRET}&application_name=shop",
    f"postgresql://u:a@b/{SECRET}@127.0.0.1:1/db",
    f"postgresql://u:a?{SECRET}#c@127.0.0.1:1/db",
    f"redis://:{SECRET}@127.0.0.1:1/0",
    f"redis://127.0.0.1:1/0?password={SECRET}",
    f"mysql://u:{SECRET}@127.0.0.1/db",
    f"https://u:{SECRET}@mlflow.example/path?access_token={SECRET}",
]


@pytest.mark.parametrize("url", URLS)
def test_a_url_is_shown_without_its_passwords(url):
    assert SECRET not in redacted_url(url)
    for text in (url, f"cannot reach {url}.", f"Got {url!r} instead.", f'{{"url": "{url}"}}', f"({url})"):
        assert SECRET not in redacted(text)
        assert redacted(text)[:3] == text[:3]
        assert redacted(text)[-1] == text[-1] or url.endswith(SECRET)


@pytest.mark.parametrize(
    "text",
    ["sqlite:////data/recsmith.db", "postgresql://u@host:5432/db?sslmode=require&connect_timeout=2", "no URL: a=b",
     "https://docs.example/page?x=1#key"],
)  # fmt: skip
def test_the_rest_of_a_text_stays(text):
    assert redacted(text) == redacted_url(text) == text


@pytest.mark.parametrize("part", ["a", "a.", "://", "://:", "?", "&=", ")", "@", "a?b=c"])
def test_a_long_text_is_read_once(part):
    """Looked through again and again from each of its places it would take hours."""
    assert SECRET not in redacted(f"{part * 500_000} {URLS[1]}")


@pytest.mark.parametrize("url", URLS)
def test_errors_do_not_show_it(url, capsys):
    """Of the store, of Redis, of MLflow's address, and of a command, with and without the traceback."""
    for attempt in (
        lambda: Store.open(url),
        lambda: Shared(url, print),
        lambda: MLflow.make("the test", uri=url),
    ):
        try:
            attempt()
        except RecsmithError as error:
            assert SECRET not in str(error)
    with pytest.raises(ParameterError) as found:
        Shared(url.replace("127.0.0.1:1", "127.0.0.1:x").replace("://", "ftp://", 1), print)
    assert SECRET not in str(found.value)
    for command in (["keys", "list"], ["keys", "list", "--json"], ["ab", "analyze", "--experiment", "a"]):
        assert main([*command, "--store", url]) != 0
    shown = capsys.readouterr()
    assert SECRET not in shown.out + shown.err


def test_the_traceback_does_not_show_it(monkeypatch, capsys):
    monkeypatch.setenv("RECSMITH_DEBUG", "1")
    assert main(["keys", "list", "--store", URLS[1]]) == 1
    shown = capsys.readouterr()
    assert "Traceback" in shown.err
    assert SECRET not in shown.err


@pytest.mark.parametrize("url", URLS[:6])
def test_the_banner_and_doctor_do_not_show_it(url, monkeypatch, tmp_path, capsys):
    bundle = save(tmp_path, "first")
    monkeypatch.setattr(worker, "run", lambda *_: None)
    assert main(["serve", str(bundle), "--store", url]) == 0
    banner = capsys.readouterr().err
    assert "Events go to postgresql://" in banner
    assert SECRET not in banner
    monkeypatch.setenv("RECSMITH_SERVE", f'{{"settings": {{"store_url": "{url}"}}}}')
    assert main(["doctor", "--json"]) == 0
    assert SECRET not in capsys.readouterr().out


def test_a_client_gets_the_id_of_a_failure_and_the_log_what_it_was(postgres, postgres_url, tmp_path, caplog):
    url = f"{postgres_url}&password={SECRET}"
    with (
        served(save(tmp_path, "first"), tmp_path, store_url=url, store_write_seconds=0.3) as client,
        psycopg.connect(postgres_url) as other,
        caplog.at_level(logging.DEBUG),
    ):
        other.execute("LOCK TABLE events, items IN ACCESS EXCLUSIVE MODE")
        same = {"X-Request-ID": "mine"}
        answers = [
            client.post("/feedback?user_id=u1&item_id=i1&feedback=like", headers=same),
            client.post("/items", json={"items": [{"item_id": "i1", "available": False}]}, headers=same),
        ]
        other.rollback()
    for answer in answers:
        assert answer.status_code == 503
        assert answer.json()["request_id"] == "mine"
        assert "postgresql" not in answer.text
        assert SECRET not in answer.text
    lines = [JsonLines().format(record) for record in caplog.records]
    assert any("The store postgresql://" in line for line in lines)
    assert not any(SECRET in line for line in lines)
