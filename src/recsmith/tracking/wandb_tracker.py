"""A run in Weights & Biases (extra ``track``).

Offline it needs no account, and ``wandb sync`` sends the folder later.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from recsmith.errors import MissingExtraError
from recsmith.tracking.null import NullTracker

_RUN = "wandb-run.txt"  # holds the id of the run, so that one that goes on has the same
_PICTURES = (".png", ".jpg")


class WandBTracker(NullTracker):
    """One run of a project; its files are below ``folder/wandb``.

    Raises
    ------
    MissingExtraError
        wandb is not installed.
    wandb.Error
        The run cannot be begun, such as online without an account; so do all methods.
    """

    def __init__(self, folder: Path, name: str, *, project: str, mode: Literal["offline", "online"]) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        try:
            import wandb
        except ImportError as error:
            raise MissingExtraError.of("Tracking by Weights & Biases", "track") from error
        self.wandb = wandb
        file = folder / _RUN
        if not file.exists():
            file.write_text(uuid4().hex[:12], encoding="utf-8")
        self.run = wandb.init(
            project=project,
            name=name,
            id=file.read_text(encoding="utf-8").strip(),
            dir=str(folder),
            mode=mode,
            resume="allow",
            settings=wandb.Settings(silent=True, console="off", save_code=False, init_timeout=30),
        )
        self.run.define_metric("epoch")
        self.run.define_metric("*", step_metric="epoch")

    def parameters(self, values: Mapping[str, Any]) -> None:
        """The run's config."""
        self.run.config.update(dict(values), allow_val_change=True)  # type: ignore[no-untyped-call]

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """A point of each curve over epochs; without a step they are the run's summary."""
        if step is None:
            self.run.summary.update(dict(values))
        else:
            self.run.log({**values, "epoch": step})

    def table(self, name: str, rows: Sequence[Mapping[str, Any]], step: int | None = None) -> None:
        """A table of the run."""
        columns: list[str | int] = list(rows[0])
        table = self.wandb.Table(columns=columns, data=[list(row.values()) for row in rows])
        self.run.log({name: table} if step is None else {name: table, "epoch": step})

    def artifact(self, path: str) -> None:
        """A picture among the run's media, another file as an artifact."""
        file = Path(path)
        if file.suffix in _PICTURES:
            self.run.log({file.stem: self.wandb.Image(str(file))})
        else:
            self._log_artifact(file, "file")

    def model(self, path: str) -> None:
        """The bundle's folder as an artifact."""
        self._log_artifact(Path(path), "model")

    def _log_artifact(self, path: Path, kind: str) -> None:
        made = self.wandb.Artifact(f"{self.run.id}-{path.stem}", type=kind)
        made.add_dir(str(path)) if path.is_dir() else made.add_file(str(path))
        self.run.log_artifact(made)

    def close(self, *, failed: bool = False) -> None:
        """End the run."""
        self.run.finish(exit_code=int(failed))
