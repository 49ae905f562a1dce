"""A run in MLflow: parameters, a curve for each metric, tables, files, and the bundle as a model (extra ``track``).

The model is written in MLflow's "models from code" way: a script that recsmith brings (``pyfunc_model.py``) beside the
bundle. So nothing is pickled, and MLflow loads the bundle as recsmith does, after checking every file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recsmith.bundle_format import read_manifest
from recsmith.errors import MissingExtraError
from recsmith.models.registry import MODELS
from recsmith.tracking.null import NullTracker
from recsmith.version import __version__

_RUN = "mlflow-run.txt"  # holds the id of the run, so that one that goes on finds it
_LONGEST = 500  # letters of a parameter's value that every MLflow server takes
_AT_ONCE = 100  # parameters of one message
#: A server that is away is noticed within seconds, and a run is told to its server and to nobody else.
_SURROUNDINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class MLflowTracker(NullTracker):
    """One run of an MLflow experiment.

    Parameters
    ----------
    folder
        The run's folder.
    name
        Name of the run.
    uri
        Address of the server.
    experiment
        MLflow's name for a group of runs; it is made where it is not there.
    register_as
        Name of the model in the registry; None: it is not registered.

    Raises
    ------
    MissingExtraError
        MLflow is not installed.
    mlflow.exceptions.MlflowException
        The server does not answer or refuses; so do all methods.
    """

    def __init__(
        self, folder: Path, name: str, *, uri: str, experiment: str, register_as: str | None = None
    ) -> None:
        for key, value in _SURROUNDINGS.items():
            os.environ.setdefault(key, value)
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise MissingExtraError.of("Tracking by MLflow", "track") from error
        self.uri, self.register_as = uri, register_as
        self.client = MlflowClient(tracking_uri=uri)
        self.run = self._run(folder / _RUN, name, experiment)

    def _run(self, file: Path, name: str, experiment: str) -> str:
        """The id of the run: the one in the file, or that of a new one."""
        if file.exists():
            run = file.read_text(encoding="utf-8").strip()
            self.client.update_run(run, status="RUNNING")
            return run
        found = self.client.get_experiment_by_name(experiment)
        group = self.client.create_experiment(experiment) if found is None else found.experiment_id
        run = str(self.client.create_run(group, run_name=name).info.run_id)
        file.write_text(run, encoding="utf-8")
        return run

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Each as text; MLflow refuses to change one, so those it has already are left as they are."""
        from mlflow.entities import Param

        known = self.client.get_run(self.run).data.params
        new = [Param(key, str(value)[:_LONGEST]) for key, value in values.items() if key not in known]
        for start in range(0, len(new), _AT_ONCE):
            self.client.log_batch(self.run, params=new[start : start + _AT_ONCE])

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """A point of each curve; ``ndcg@10`` is called ``ndcg_at_10``, as MLflow takes no ``@``."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [Metric(key.replace("@", "_at_"), value, now, step or 0) for key, value in values.items()]
        self.client.log_batch(self.run, metrics=points)

    def table(self, name: str, rows: Sequence[Mapping[str, Any]], step: int | None = None) -> None:
        """A table artifact ``NAME-STEP.json``."""
        columns = {key: [row[key] for row in rows] for key in rows[0]}
        file = f"{name}.json" if step is None else f"{name}-{step:05}.json"
        with self._named_globally():
            self.client.log_table(self.run, columns, artifact_file=f"tables/{file}")

    def artifact(self, path: str) -> None:
        """A file, under its name."""
        with self._named_globally():
            self.client.log_artifact(self.run, path)

    def model(self, path: str) -> None:
        """The bundle as a pyfunc model with signature and example, registered where a name for it was given."""
        import mlflow.pyfunc

        bundle = Path(path)
        manifest = read_manifest(bundle)
        names = (manifest[part]["name"] for part in ("model", "fallback") if manifest[part] is not None)
        extras = sorted({extra for name in names if (extra := MODELS[name].extra) is not None})
        wanted = f"recsmith[{','.join(extras)}]" if extras else "recsmith"
        with self._named_globally(), mlflow.start_run(run_id=self.run):
            mlflow.pyfunc.log_model(
                name="model",
                python_model=str(Path(__file__).with_name("pyfunc_model.py")),
                artifacts={"bundle": str(bundle)},
                signature=_signature(),
                input_example=_example(bundle),
                registered_model_name=self.register_as,
                pip_requirements=[f"{wanted}=={__version__}", "pandas"],
            )

    @contextmanager
    def _named_globally(self) -> Iterator[None]:
        """The server as MLflow's global one, which models ask for, and files of older versions; put back afterwards."""
        import mlflow

        before = mlflow.get_tracking_uri()
        mlflow.set_tracking_uri(self.uri)
        try:
            yield
        finally:
            mlflow.set_tracking_uri(before)

    def close(self, *, failed: bool = False) -> None:
        """End the run."""
        self.client.set_terminated(self.run, "FAILED" if failed else "FINISHED")


def _signature() -> Any:
    """What goes into the model and what comes out."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    types = {
        "user_id": "string",
        "item_id": "string",
        "score": "float",
        "rank": "integer",
        "source": "string",
    }
    return ModelSignature(
        inputs=Schema([ColSpec("string", "user_id")]),
        outputs=Schema([ColSpec(kind, name) for name, kind in types.items()]),
        params=ParamSchema([ParamSpec("k", "integer", 10)]),
    )


def _example(bundle: Path) -> Any:
    """Two users of the log, and the length of their lists."""
    import pandas as pd
    import polars as pl

    from recsmith.bundle_format import USERS

    users = pl.scan_parquet(bundle / USERS).select(pl.first().cast(pl.String)).head(2).collect().to_series()
    return pd.DataFrame({"user_id": users.to_list()}), {"k": 5}
