"""``recsmith auto``: a bundle, a page and a recipe."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("optuna")

from recsmith.experiment.auto import race
from recsmith.models.registry import MODELS


@pytest.fixture(autouse=True)
def few(monkeypatch):
    names = ("popular", "item-knn", "ease", "rating-baseline")
    monkeypatch.setattr(race, "MODELS", {name: MODELS[name] for name in names})


def test_a_bundle_a_page_and_a_recipe(cli, log, tmp_path):
    out = tmp_path / "a"
    done = cli("auto", "--data", log, "--minutes", 0.1, "--out", out, "--json")
    assert done.status == 0, done.err
    found = done.json
    assert sorted(p.name for p in out.iterdir()) == ["bundle", "recipe.yaml", "report.json", "report.md"]
    assert json.loads((out / "report.json").read_text())["winner"] == found["winner"]
    text = (out / "report.md").read_text()
    for title in (
        "## The log",
        "## How it was judged",
        "## What was tried",
        "## What was not tried, and why",
    ):
        assert title in text
    assert cli("recommend", out / "bundle", "--user", "u00", "--json").json["lists"][0]["items"]
    assert cli("info", out / "bundle").status == 0
    again = cli("train", "--config", out / "recipe.yaml", "--data", log, "--out", tmp_path / "b")
    assert again.status == 0, again.err


def test_people_see_the_result(cli, log, tmp_path):
    done = cli("auto", "--data", log, "--minutes", 0.05, "--metric", "rmse", "--out", tmp_path)
    assert done.status == 0, done.err
    assert "report.md" in done.out
    assert "rmse" in done.out


def test_train_and_test_files(cli, log, tmp_path):
    test = tmp_path / "test.csv"
    test.write_text("user_id,item_id\n" + "".join(f"u{u:02d},i{(u * 5 + 4) % 12:02d}\n" for u in range(40)))
    done = cli("auto", "--train", log, "--test", test, "--minutes", 0.05, "--out", tmp_path / "a", "--json")
    assert done.status == 0, done.err
    assert done.json["test"]["split"].startswith("fixed")
    done = cli("auto", "--train", log, "--test", log, "--minutes", 5, "--out", tmp_path / "b")
    assert (done.status, "no positive" in done.err) == (2, True)  # before the work, not after it


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--minutes", "0"], "minutes"),
        (["--metric", "ndgc@10"], "metric"),
        (["--split", "sometimes"], "way of splitting"),
        (["--train", "x.csv"], "go together"),
    ],
)
def test_bad_input(cli, log, tmp_path, arguments, words):
    done = cli("auto", "--data", log, "--out", tmp_path, *arguments)
    assert done.status == 2, done.err
    assert words in done.err


def test_a_rating_metric_of_a_log_without_ratings(cli, tmp_path):
    file = tmp_path / "log.csv"
    file.write_text(
        "user_id,item_id\n" + "".join(f"u{u},i{(u + n) % 7}\n" for u in range(9) for n in range(4))
    )
    done = cli("auto", "--data", file, "--metric", "rmse", "--minutes", 0.05, "--out", tmp_path / "t")
    assert (done.status, "rmse judges ratings" in done.err) == (2, True)


def test_dry_run_tells_of_every_model(cli, log):
    done = cli("auto", "--data", log, "--dry-run", "--json")
    assert done.status == 0, done.err
    assert "fit ease" in done.out


def test_a_stop_leaves_nothing_half_written(cli, log, tmp_path, monkeypatch):
    def stops(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(race.Race, "tune", stops)
    done = cli("auto", "--data", log, "--minutes", 0.1, "--out", tmp_path / "a")
    assert (done.status, "Stopped" in done.err) == (130, True)
    assert not (tmp_path / "a").exists()
