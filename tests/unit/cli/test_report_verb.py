"""recsmith report as it is typed, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recsmith.report.html import Html
from recsmith.report.pictures import Pictures

pytest.importorskip("matplotlib")


@pytest.fixture
def one_run(cli, log, tmp_path) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"data: {{source: {log}}}\nmodel: ease\nparameters: {{reg: 5}}\nevaluation: {{resamples: 50}}\n"
    )
    assert cli("run", file, "--out", tmp_path / "run").status == 0
    return tmp_path / "run"


def test_a_page_and_its_pictures(cli, one_run, tmp_path):
    done = cli("report", one_run, "--out", tmp_path / "report.html", "--maps", "none")
    assert done.status == 0
    assert "Report" in done.out
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (tmp_path / "report_pictures" / "leaderboard.png").exists()


def test_json_is_one_document(cli, one_run, tmp_path, monkeypatch):
    monkeypatch.setattr(
        Pictures, "show", lambda self, name, *rest: Html(self.png.setdefault(f"{name}.png", b"") or "")
    )
    done = cli("report", one_run, "-o", tmp_path / "report.html", "--maps", "none", "--json")
    assert done.json["report"] == str(tmp_path / "report.html")
    assert "Models" in done.json["sections"]
    assert all(Path(path).exists() for path in done.json["pictures"])


def no_run(run: Path) -> list[object]:
    return ["report"]


def incomplete(run: Path) -> list[object]:
    (run / "run.json").unlink()
    return ["report", run]


def damaged(run: Path) -> list[object]:
    (run / "report.json").write_text("{}")
    return ["report", run]


def no_environment(run: Path) -> list[object]:
    (run / "environment.json").write_text("{}")
    return ["report", run]


def twice(run: Path) -> list[object]:
    return ["report", run, run]


def other_folder(run: Path) -> list[object]:
    return ["report", run.parent]


def nowhere(run: Path) -> list[object]:
    return ["report", run / "nothing"]


def no_audit(run: Path) -> list[object]:
    return ["report", run, "--audit", run]


def broken_audit(run: Path) -> list[object]:
    (run / "audit.json").write_text("no json")
    return ["report", run, "--audit", run]


def no_experiment(run: Path) -> list[object]:
    return ["report", run, "--ab", run / "report.json"]


def list_for_experiment(run: Path) -> list[object]:
    (run / "ab.json").write_text(json.dumps([1]))
    return ["report", run, "--ab", run / "ab.json"]


def unknown_metric(run: Path) -> list[object]:
    return ["report", run, "--metric", "ndgc@10"]


def unknown_map(run: Path) -> list[object]:
    return ["report", run, "--maps", "pca"]


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (no_run, "Missing argument"),
        (incomplete, "not the folder of a complete run"),
        (damaged, "cannot be read"),
        (no_environment, "cannot be shown: KeyError: 'train'"),
        (twice, "each once"),
        (other_folder, "not the folder of a complete run: it holds no experiment.yaml"),
        (nowhere, "nothing is no folder. Make a run with: recsmith run"),
        (no_audit, "is not an audit: No such file"),
        (broken_audit, "is not an audit: it is no JSON"),
        (no_experiment, "is not the result of an experiment: it lacks control"),
        (list_for_experiment, "it holds a list"),
        (unknown_metric, "Did you mean 'ndcg@10'?"),
        (unknown_map, "There is no map named 'pca'"),
    ],
)
def test_bad_input_ends_with_status_2_and_writes_nothing(cli, one_run, tmp_path, prepare, words):
    done = cli(*prepare(one_run), "--out", tmp_path / "out" / "report.html")
    assert done.status == 2
    assert words in " ".join(done.err.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["report.txt", "report", "run"])
def test_a_page_ends_in_html(cli, one_run, tmp_path, name):
    done = cli("report", one_run, "--out", tmp_path / name)
    assert done.status == 2
    assert "a file that ends in .html" in " ".join(done.err.split())


def test_a_place_that_cannot_be_written(cli, one_run, tmp_path):
    (tmp_path / "file").write_text("")
    done = cli("report", one_run, "--out", tmp_path / "file" / "report.html")
    assert done.status == 2
    assert "cannot be written" in " ".join(done.err.split())


def test_without_matplotlib_it_says_what_to_install(cli, one_run, tmp_path, monkeypatch):
    monkeypatch.setattr("recsmith.plots.style.find_spec", lambda name: None)
    done = cli("report", one_run, "--out", tmp_path / "report.html")
    assert done.status == 1
    assert "recsmith[plot]" in done.err
