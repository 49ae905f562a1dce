"""run: the same digits twice, and after a kill; a folder that says all; and what is refused."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from tests.support.waiting import PATIENCE_S
from tests.unit.experiment.conftest import sasrec

from recsmith.cli.main import main
from recsmith.errors import BundleError, DataError, ParameterError, TrainingError
from recsmith.experiment.coach import EpochCoach
from recsmith.experiment.config import Experiment
from recsmith.experiment.run import run
from recsmith.experiment.train import load_bundle
from recsmith.protocols import Coach
from recsmith.tracking.jsonl import read_lines
from recsmith.tracking.null import NullTracker

TIMES = ("seconds", "examples_per_second")


def figures(folder: Path) -> list[dict]:
    """The lines of ``metrics.jsonl`` without those that tell the time."""
    lines = read_lines(folder / "metrics.jsonl")
    return [{k: v for k, v in line.items() if not k.endswith(TIMES)} for line in lines]


def assert_same(first: Path, second: Path) -> None:
    """Two runs agree in every digit: curves, test figures of every user, lists, weights."""
    assert figures(first) == figures(second)
    assert read_lines(first / "tables.jsonl") == read_lines(second / "tables.jsonl")
    assert pl.read_parquet(first / "users.parquet").equals(pl.read_parquet(second / "users.parquet"))
    reports = [json.loads((folder / "report.json").read_text()) for folder in (first, second)]
    for part in ("means", "intervals", "strata", "beyond_accuracy"):
        assert reports[0][part] == reports[1][part]
    states = [load_bundle(folder / "bundle").pipeline.model.state() for folder in (first, second)]
    assert states[0].arrays.keys() == states[1].arrays.keys()
    for name, array in states[0].arrays.items():
        assert np.array_equal(array, states[1].arrays[name])


@pytest.fixture(scope="module")
def whole(listens_csv, tmp_path_factory) -> Path:
    """The small experiment, run once without a break."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    run(Experiment(**sasrec(listens_csv)), out=folder)
    return folder


def test_the_same_file_twice_gives_the_same_digits(small, whole, tmp_path):
    run(small, out=tmp_path / "again")
    assert_same(whole, tmp_path / "again")


def test_another_seed_gives_others(small, whole, tmp_path):
    run(small.model_copy(update={"seed": 4}), out=tmp_path / "other")
    assert figures(whole)[0] != figures(tmp_path / "other")[0]


KILLED = """
import os, signal, sys
from recsmith.cli.main import main
from recsmith.experiment.coach import EpochCoach

whole = EpochCoach.progress

def progress(self, done, total, **figures):
    stop = whole(self, done, total, **figures)
    if self.stage == sys.argv[2] and done == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return stop

EpochCoach.progress = progress
main(["run", sys.argv[1], "--out", sys.argv[3], "--quiet"])
"""


@pytest.mark.parametrize("stage", ["train", "refit"])
def test_killed_at_epoch_3_and_resumed_is_as_if_it_was_not(stage, small, whole, tmp_path):
    file, folder = tmp_path / "small.yaml", tmp_path / "killed"
    file.write_text(small.document())
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, file, stage, folder], check=False, timeout=PATIENCE_S
    )
    assert ended.returncode == -signal.SIGKILL
    assert not (folder / "run.json").exists()
    assert (folder / "checkpoints" / f"{stage}.safetensors").exists()
    assert figures(folder)[-1]["step"] == 3
    assert main(["run", str(file), "--out", str(folder)]) == 2  # it holds a run: --resume is not said
    assert main(["run", str(file), "--out", str(folder), "--resume", "--json"]) == 0
    assert_same(whole, folder)
    assert not (folder / "checkpoints").exists()  # the bundle has the weights now


def test_stopped_after_the_trainings_and_resumed(listens_csv, tmp_path, monkeypatch):
    small = Experiment(**sasrec(listens_csv, training={"validation": "ndcg@10", "every": 2}))
    whole, folder = tmp_path / "whole", tmp_path / "late"
    assert run(small, out=whole).took["best_epoch"] == 4  # of 5: the refit ends before the last epoch

    def fails(*_, **__):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("recsmith.experiment.run.judge", fails)
        with pytest.raises(MemoryError):
            run(small, out=folder)
    run(small, out=folder, resume=True)
    assert_same(whole, folder)


def test_what_stands_in_the_folder(small, whole):
    values = yaml.safe_load((whole / "experiment.yaml").read_text())
    assert Experiment(**values) == small
    told = json.loads((whole / "environment.json").read_text())
    assert told["packages"]["numpy"] == np.__version__
    assert set(told["git"] or {"commit", "dirty"}) == {"commit", "dirty"}
    assert len(told["train"]["fingerprint"]) == len(told["split"]["fingerprint"]) == 64
    lines = figures(whole)
    epochs = [line["step"] for line in lines if "train/loss" in line]
    assert epochs == [1, 2, 3, 4, 5]
    assert all({"train/learning_rate", "validation/ndcg@10"} <= line.keys() for line in lines[:5])
    took = json.loads((whole / "run.json").read_text())
    best = max(lines[:5], key=lambda line: line["validation/ndcg@10"])["step"]
    assert took["best_epoch"] == best
    assert [line["step"] for line in lines if "refit/loss" in line] == list(range(1, best + 1))
    report = json.loads((whole / "report.json").read_text())
    assert lines[-1]["test/ndcg@10"] == report["means"]["ndcg@10"]
    bundle = load_bundle(whole / "bundle")
    assert bundle.info["metrics"]["figures"]["ndcg@10"]["mean"] == report["means"]["ndcg@10"]


def test_sample_lists_are_a_table(whole):
    tables = read_lines(whole / "tables.jsonl")
    assert [(line["table"], line["step"]) for line in tables] == [
        ("samples", 2),
        ("samples", 4),
        ("final-samples", None),
    ]
    rows = tables[0]["rows"]
    assert [row["rank"] for row in rows] == [1, 2, 3, 1, 2, 3]
    assert set(rows[0]) == {"user", "history", "rank", "item", "score", "hit"}
    assert not any(row["item"] in row["history"] for row in rows)


def test_what_can_be_learned_is_learned(whole):
    report = json.loads((whole / "report.json").read_text())
    curve = [line["train/loss"] for line in figures(whole) if "train/loss" in line]
    assert curve == sorted(curve, reverse=True)
    assert report["means"]["ndcg@10"] > 0.3


def test_without_a_refit_the_best_weights_are_kept(listens_csv, tmp_path):
    told = sasrec(listens_csv, training={"validation": "ndcg@10", "refit": False, "users": 9})
    done = run(Experiment(**told), out=tmp_path / "kept")
    assert not any("refit/loss" in line for line in figures(tmp_path / "kept"))
    assert any("9 events of 9 users were held out" in note for note in done.report.notes)


def test_without_validation_all_epochs_are_gone_through(listens_csv, tmp_path):
    done = run(Experiment(**sasrec(listens_csv, training={})), out=tmp_path / "all")
    assert [line["step"] for line in figures(tmp_path / "all") if "train/loss" in line] == [1, 2, 3, 4, 5]
    assert "best_epoch" not in done.took


def test_a_model_without_epochs_has_no_curve(quick, tmp_path):
    said: list[str] = []
    told = quick.model_copy(update={"training": quick.training.model_copy(update={"validation": "ndcg@10"})})
    done = run(told, out=tmp_path / "quick", say=said.append)
    assert said == ["ease does not train in epochs: nothing is held out for validation."]
    assert [line["step"] for line in figures(tmp_path / "quick")] == [None]
    assert done.report.means["ndcg@10"] > 0.2


def test_ratings_are_judged_and_smaller_is_better(listens_csv, tmp_path):
    told = Experiment(model="biased-mf", data={"source": str(listens_csv)}, split="random:0.2")
    done = run(told, out=tmp_path / "ratings")
    assert "rmse" in done.report.means


def test_a_run_gets_a_new_number_where_its_name_is_taken(quick, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [run(quick).folder.path for _ in range(2)]
    assert names == [Path("runs/quick"), Path("runs/quick-2")]
    assert run(quick, resume=True).folder.path == Path("runs/quick-2")  # complete: nothing is done again


def test_a_folder_with_something_else_is_refused(quick, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ParameterError, match="a new folder, or that of a run"):
        run(quick, out=tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["letter.txt"]


def begun(small: Experiment, folder: Path, monkeypatch) -> None:
    """A run that ended with an error after its second epoch."""
    whole = EpochCoach.progress

    def progress(self, done, total, **values):
        whole(self, done, total, **values)
        if done == 3:
            raise TrainingError("the loss is not a number")
        return False

    with monkeypatch.context() as patch:
        patch.setattr(EpochCoach, "progress", progress)
        with pytest.raises(TrainingError):
            run(small, out=folder)


def test_other_parameters_do_not_go_on_with_a_run(small, tmp_path, monkeypatch):
    begun(small, tmp_path / "run", monkeypatch)
    other = small.model_copy(update={"parameters": {**small.parameters, "learning_rate": 0.5}})
    with pytest.raises(
        ParameterError, match=r"begun with parameters.learning_rate = 0.01, and now it is 0.5"
    ):
        run(other, out=tmp_path / "run", resume=True)


def test_other_data_do_not_go_on_with_a_run(small, tmp_path, monkeypatch, listens_csv):
    copied = tmp_path / "copied.csv"
    shutil.copy(listens_csv, copied)
    told = small.model_copy(update={"data": small.data.model_copy(update={"source": str(copied)})})
    begun(told, tmp_path / "run", monkeypatch)
    copied.write_text(copied.read_text() + "u00,i00,3,1600099999\n")
    with pytest.raises(DataError, match="begun on other data: its split part has another fingerprint"):
        run(told, out=tmp_path / "run", resume=True)


def test_the_checkpoint_of_another_model_is_refused(small, tmp_path, monkeypatch):
    wide = small.model_copy(update={"parameters": {**small.parameters, "embedding_size": 16}})
    begun(small, tmp_path / "small", monkeypatch)
    begun(wide, tmp_path / "wide", monkeypatch)
    own = tmp_path / "small" / "checkpoints" / "train.safetensors"
    shutil.copy(tmp_path / "wide" / "checkpoints" / "train.safetensors", own)
    with pytest.raises(
        BundleError, match=r"another training: its config embedding_size is 16, and here it is 8"
    ):
        run(small, out=tmp_path / "small", resume=True)
    own.write_bytes(b"no checkpoint at all")
    with pytest.raises(BundleError, match="not a checkpoint"):
        run(small, out=tmp_path / "small", resume=True)


def test_a_resume_where_there_is_nothing_begins(quick, tmp_path):
    assert run(quick, out=tmp_path / "new", resume=True).report.means["ndcg@10"] > 0


def test_the_coach_is_one():
    coach = EpochCoach(stage="train", pipeline=None, data=None, tracker=NullTracker(), monitor=None)
    assert isinstance(coach, Coach)


def test_two_processes_are_as_one(listens_csv, tmp_path):
    told = Experiment(**sasrec(listens_csv, training={"validation": "ndcg@10", "refit": False}))
    told = told.model_copy(update={"parameters": {**told.parameters, "dropout": 0, "epochs": 3}})
    file = tmp_path / "small.yaml"
    file.write_text(told.document())
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--no-python", sys.executable, "-c", "from recsmith.cli.main import run; run()"]
    command += ["run", str(file), "--out", str(tmp_path / "two")]
    ended = subprocess.run(command, check=False, timeout=PATIENCE_S, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("Run of small") == 1  # the second process only helps
    run(told, out=tmp_path / "one")
    for one, two in zip(figures(tmp_path / "one")[:3], figures(tmp_path / "two")[:3], strict=True):
        assert one["train/loss"] == pytest.approx(two["train/loss"], abs=1e-4)


def test_several_processes_must_say_where(quick, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ParameterError, match="--out runs/NAME"):
        run(quick)
