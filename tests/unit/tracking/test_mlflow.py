"""MLflow on SQLite, started and stopped here: a run with its curves, and the registered model that answers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pandas as pd
import pytest
from tests.support.processes import free_port
from tests.support.waiting import PATIENCE_S, wait_for
from tests.unit.experiment.conftest import listens, sasrec

from recsmith.experiment.config import Experiment
from recsmith.experiment.run import run
from recsmith.experiment.train import load_bundle

pytest.importorskip("mlflow")
pytestmark = pytest.mark.filterwarnings("default")  # of MLflow and what it stands on


class Server:
    """An MLflow server on a SQLite file."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        where = ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"]
        where += ["--artifacts-destination", str(self.folder / "artifacts")]
        listen = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *where, *listen],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
            )
        try:
            wait_for(lambda: self.process.poll() is not None or self.answers(), "MLflow's answer")
            assert self.process.poll() is None
        except AssertionError as error:
            self.stop()
            raise RuntimeError((self.folder / "log").read_text()) from error

    def answers(self) -> bool:
        try:
            urlopen(f"{self.uri}/health", timeout=PATIENCE_S).close()
        except (URLError, OSError):
            return False
        return True

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(timeout=PATIENCE_S)


@pytest.fixture(scope="module")
def csv(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("log") / "listens.csv"
    listens().write_csv(file)
    return file


def experiment(csv: Path, uri: str) -> Experiment:
    tracking = {"mlflow": {"uri": uri, "experiment": "tests", "register_as": "small"}}
    return Experiment(
        **sasrec(csv, tracking=tracking | {"samples": {"users": 2, "every": 2}, "maps": ["tsne"]})
    )


def test_a_run_its_curves_its_files_and_its_model(csv, tmp_path):
    from mlflow import MlflowClient

    server, folder, said = Server(tmp_path), tmp_path / "run", []
    told = experiment(csv, server.uri)
    run(told, out=folder, say=said.append)  # nobody listens there yet
    assert "MLflow cannot be told of this run, which goes on" in said[0]
    assert "calls wait in" in said[-1]
    assert (folder / "outbox-mlflow.jsonl").exists()
    server.start()
    try:
        run(told, out=folder, resume=True, say=said.append)
        assert not (folder / "outbox-mlflow.jsonl").exists()
        assert said[-1] == f"{folder} is complete."
        look_at(MlflowClient(server.uri), folder)
        ask_the_model(server.uri, folder)
    finally:
        server.stop()


def look_at(client, folder: Path) -> None:
    """Everything of the run is on the server."""
    found = client.get_run((folder / "mlflow-run.txt").read_text())
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "small"
    assert found.data.params["parameters.learning_rate"] == "0.01"
    assert len(found.data.params["train.fingerprint"]) == 64
    report = json.loads((folder / "report.json").read_text())
    assert found.data.metrics["test/ndcg_at_10"] == report["means"]["ndcg@10"]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for name in ("train/loss", "train/learning_rate", "validation/ndcg@10"):
        curve = client.get_metric_history(found.info.run_id, name.replace("@", "_at_"))
        wanted = [(line["step"], line[name]) for line in lines if name in line]
        assert sorted((point.step, point.value) for point in curve) == wanted
        assert len(wanted) == 5
    files = {file.path for file in client.list_artifacts(found.info.run_id)}
    assert {"experiment.yaml", "environment.json", "report.json", "tsne.png"} <= files
    tables = {Path(file.path).name for file in client.list_artifacts(found.info.run_id, "tables")}
    assert tables == {"samples-00002.json", "samples-00004.json", "final-samples.json"}


def ask_the_model(uri: str, folder: Path) -> None:
    """The registered model comes back and recommends what the bundle does; nothing in it is pickled."""
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        model = mlflow.pyfunc.load_model("models:/small/1")
    finally:
        mlflow.set_tracking_uri(before)
    assert [column.name for column in model.metadata.get_input_schema()] == ["user_id"]
    given = model.predict(pd.DataFrame({"user_id": ["u03", "nobody"]}), params={"k": 4})
    wanted = load_bundle(folder / "bundle").recommend(["u03", "nobody"], 4)
    for column in ("user_id", "item_id", "rank", "score", "source"):
        assert given[column].tolist() == wanted[column].to_list()
    assert len(model.predict(model.input_example)) == 20  # two users, ten items
    kept = {file.suffix for file in folder.parent.joinpath("artifacts").rglob("*") if file.is_file()}
    assert kept.isdisjoint({".pkl", ".pickle", ".joblib", ".pt", ".cloudpickle"})
