from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsmith.evaluation.experiments import Metric, analyze
from recsmith.experiment.audit import audit as audited
from recsmith.experiment.config import Experiment
from recsmith.experiment.run import run
from recsmith.experiment.train import make_pipeline

HOSTILE = '<script>alert(1)</script> & "quoted" $x_1$ <img src=x onerror=alert(2)>'


@pytest.fixture(scope="session")
def log_files(tmp_path_factory) -> Path:
    """A log with a table of items, whose titles are hostile, and one of users."""
    folder = tmp_path_factory.mktemp("log")
    rng = np.random.default_rng(5)
    rows = []
    for u in range(80):
        items = rng.permutation(14)[:9] * 2 + u % 2
        rows += [
            (f"u{u:02d}", f"i{i:02d}", 1 + (i + u) % 5, 1_600_000_000 + 90_000 * n + 977 * u)
            for n, i in enumerate(items)
        ]
    pl.DataFrame(rows, ["user_id", "item_id", "rating", "timestamp"], orient="row").write_csv(
        folder / "log.csv"
    )
    titles = [f"{HOSTILE} {i}" for i in range(28)]
    genres = [["<b>bold</b>", "$kind$"][i % 2] for i in range(28)]
    items = pl.DataFrame({"item_id": [f"i{i:02d}" for i in range(28)], "title": titles, "genre": genres})
    items.write_csv(folder / "items.csv")
    kinds = [["<i>odd</i>", "even", "rare"][2 if u < 6 else u % 2] for u in range(80)]
    pl.DataFrame({"user_id": [f"u{u:02d}" for u in range(80)], "kind": kinds}).write_csv(folder / "users.csv")
    return folder


@pytest.fixture(scope="session")
def make_run(log_files, tmp_path_factory) -> Callable[..., Path]:
    """Runs a small experiment and gives its folder."""

    def made(model: str, name: str = "", **changes: Any) -> Path:
        data = {
            "source": str(log_files / "log.csv"),
            "items": str(log_files / "items.csv"),
            "users": str(log_files / "users.csv"),
        }
        values: dict[str, Any] = {
            "data": data,
            "model": model,
            "evaluation": {"ks": (5, 10), "resamples": 50},
        } | changes
        out = tmp_path_factory.mktemp("runs") / (name or model)
        run(Experiment(name=name or model, **values), out=out)
        return out

    return made


@pytest.fixture(scope="session")
def runs(make_run) -> list[Path]:
    """Three runs on one split."""
    return [
        make_run("popular"),
        make_run("ease", parameters={"reg": 5}),
        make_run("ials", parameters={"embedding_size": 6}),
    ]


@pytest.fixture(scope="session")
def audit_folder(log_files, tmp_path_factory) -> Path:
    """What ``recsmith audit --out`` writes."""
    from recsmith.data.load import load

    data = load(
        str(log_files / "log.csv"), items=str(log_files / "items.csv"), users=str(log_files / "users.csv")
    )
    models = {
        "popular": lambda: make_pipeline("popular"),
        "<u>ease</u>": lambda: make_pipeline("ease", reg=5),
    }
    folder = tmp_path_factory.mktemp("audit")
    (folder / "audit.json").write_text(
        json.dumps(audited(models, data, given=(0, 1, 2)).as_dict(), allow_nan=False)
    )
    return folder


def users_of_an_experiment(shares: tuple[float, float] = (0.5, 0.5)) -> pl.DataFrame:
    rng = np.random.default_rng(1)
    variant = rng.choice(["control", "<s>new</s>"], 2000, p=shares)
    clicks = rng.poisson(np.where(variant == "control", 4.0, 4.6))
    return pl.DataFrame(
        {
            "user_id": np.arange(2000),
            "variant": variant,
            "clicks": clicks,
            "nothing": 0,
            "device": rng.choice(["a", "b"], 2000),
        }
    )


@pytest.fixture(scope="session")
def ab_file(tmp_path_factory) -> Path:
    """What ``recsmith ab analyze --json`` says."""
    frame = users_of_an_experiment()
    found = analyze(
        frame, [Metric(column="clicks"), Metric(column="nothing")], control="control", segment="device"
    )
    file = tmp_path_factory.mktemp("ab") / "ab.json"
    file.write_text(json.dumps(found.as_dict()))
    return file
