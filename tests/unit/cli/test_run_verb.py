"""recsmith run and compare-runs as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture
def config(log, tmp_path) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"data: {{source: {log}}}\nmodel: ease\nparameters: {{reg: 5}}\nevaluation: {{resamples: 50}}\n"
    )
    return file


def test_a_run_shows_its_figures_and_where_it_is(cli, config, tmp_path):
    done = cli("run", config, "--out", tmp_path / "run", "--set", "seed=2")
    assert done.status == 0
    assert "ndcg@10" in done.out
    assert str(tmp_path / "run" / "bundle") in "".join(done.out.split())
    assert cli("recommend", tmp_path / "run" / "bundle", "--user", "u00", "--json").status == 0
    assert "seed: 2" in (tmp_path / "run" / "experiment.yaml").read_text()


def test_json_is_one_document(cli, config, tmp_path):
    done = cli("run", config, "--out", tmp_path / "run", "--json")
    assert done.json["report"] == json.loads((tmp_path / "run" / "report.json").read_text())
    assert done.json["run"] == str(tmp_path / "run")
    assert done.json["took"]["seconds"] > 0


def test_progress_is_told_where_no_terminal_listens(cli, config, tmp_path):
    settings = ["--set", "model=sasrec", "--set", "parameters={epochs: 2, device: cpu}"]
    done = cli("run", config, "--out", tmp_path / "run", *settings)
    assert done.status == 0
    assert "sasrec: train: 2 of 2, loss" in " ".join(done.err.split())
    assert "0.00 s left at most" in " ".join(done.err.split())
    assert cli("run", config, "--out", tmp_path / "quiet", *settings, "--quiet").err == ""


def test_a_dry_run_writes_nothing(cli, config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = cli("run", config, "--dry-run", "--json", "--set", "model=sasrec", "--set", "parameters={}")
    assert list(done.json["work"]) == ["load and split", "sasrec: train", "judge"]
    judged = cli("run", config, "--dry-run", "--json", "--set", "model=sasrec", "--set", "parameters={}",
                 "--set", "training.validation=ndcg@10")  # fmt: skip
    assert list(judged.json["work"]) == ["load and split", "sasrec: train", "sasrec: refit", "judge"]
    filtered = cli("run", config, "--dry-run", "--json", "--set", "data.min_rating=5")
    assert filtered.json["log"]["events"] < done.json["log"]["events"]
    assert [file.name for file in tmp_path.iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--set", "parameters.regg=1"],
            "mine.yaml: There is no parameter of ease named 'regg'. Did you mean 'reg'",
        ),
        (["--set", "trainin.users=1"], "Did you mean 'training'"),
        (["--set", "seed"], "--set wants NAME=VALUE"),
        (["--set", "data.source=no.csv"], "There is no file or folder 'no.csv'"),
    ],
)
def test_bad_input_ends_with_2(cli, config, tmp_path, arguments, words):
    done = cli("run", config, "--out", tmp_path / "run", *arguments)
    assert done.status == 2
    assert words in done.err
    assert not (tmp_path / "run").exists()


def test_the_file_serves_train_too(cli, config, log, tmp_path):
    done = cli("train", "--config", config, "--data", log, "--out", tmp_path / "bundle", "--json")
    assert done.json["model"]["config"]["reg"] == 5


def test_runs_side_by_side(cli, config, tmp_path):
    for name, reg in (("a", 5), ("b", 500)):
        cli("run", config, "--out", tmp_path / name, "--quiet", "--set", f"parameters.reg={reg}")
    told = cli("compare-runs", tmp_path / "a", tmp_path / "b", "--json")
    assert told.status == 0
    assert sorted(told.json["differences"]["parameters.reg"]) == [5, 500]
    assert told.json["comparison"]["metric"] == "ndcg@10"
    shown = cli(
        "compare-runs", tmp_path / "a", tmp_path / "b", "--metric", "recall@5", "--baseline", tmp_path / "b"
    )
    assert "parameters.reg" in shown.out
    assert "Against b by recall@5" in shown.out
    assert cli("compare-runs", tmp_path / "a").status == 2
