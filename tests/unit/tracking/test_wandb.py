"""Weights & Biases without an account: the run is a folder, with its tables, pictures and config."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.experiment.conftest import listens, sasrec

from recsmith.experiment.config import Experiment
from recsmith.experiment.run import run
from recsmith.tracking.jsonl import TABLES, read_lines

pytest.importorskip("wandb")
pytestmark = pytest.mark.filterwarnings("default")  # of wandb and what it stands on


def test_an_offline_run_is_a_folder_with_its_tables(tmp_path, capsys):
    csv, folder = tmp_path / "listens.csv", tmp_path / "run"
    listens().write_csv(csv)
    tracking = {"wandb": {"project": "tests"}, "samples": {"users": 2, "k": 3, "every": 2}, "maps": ["tsne"]}
    said: list[str] = []
    run(Experiment(**sasrec(csv, tracking=tracking)), out=folder, say=said.append)
    assert not said
    assert capsys.readouterr().out == ""
    made = list((folder / "wandb").glob("offline-run-*"))
    assert len(made) == 1
    assert list(made[0].glob("run-*.wandb"))
    tables = [json.loads(file.read_text()) for file in (made[0] / "files").rglob("*.table.json")]
    written = read_lines(folder / TABLES)
    assert len(tables) == len(written) == 3
    for line in written:
        columns = list(line["rows"][0])
        wanted = {"columns": columns, "data": [[row[name] for name in columns] for row in line["rows"]]}
        assert any({key: table[key] for key in wanted} == wanted for table in tables)
    assert list((made[0] / "files" / "media" / "images").glob("tsne*.png"))
    assert not list(Path(folder).glob("outbox*"))
