from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsmith.cli.main import main


@dataclass
class Result:
    """What a command line did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on standard output."""
        return json.loads(self.out)


@pytest.fixture
def cli(capsys) -> Callable[..., Result]:
    """Runs a command line in this process."""

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        status = main([str(a) for a in arguments])
        said = capsys.readouterr()
        return Result(status, said.out, said.err)

    return run


def events(n_users: int = 40, n_items: int = 12) -> pl.DataFrame:
    """Even users like even items, odd users odd ones; each has 4 of the 6, one a day."""
    rows = [
        {
            "user_id": f"u{u:02d}",
            "item_id": f"i{(2 * ((u // 2 + n) % (n_items // 2)) + u % 2):02d}",
            "rating": 5 - n % 3,
            "timestamp": 1_600_000_000 + 86_400 * n + u,
        }
        for u in range(n_users)
        for n in (0, 1, 3, 4)
    ]
    return pl.DataFrame(rows)


def titles(n_items: int = 12) -> pl.DataFrame:
    """A title for each item, one of them with brackets as markup has them."""
    return pl.DataFrame(
        {
            "item_id": [f"i{i:02d}" for i in range(n_items)],
            "title": ["[red]REC[/red]", *(f"Title {i}" for i in range(1, n_items))],
        }
    )


@pytest.fixture(scope="session")
def log(tmp_path_factory) -> Path:
    """A small rated and timed CSV, with a table of titles beside it."""
    folder = tmp_path_factory.mktemp("log")
    events().write_csv(folder / "log.csv")
    titles().write_csv(folder / "titles.csv")
    return folder / "log.csv"


@pytest.fixture(scope="session")
def bundle(log: Path) -> Path:
    """An EASE bundle of that log."""
    target = log.parent / "ease"
    titled = ["--items", str(log.parent / "titles.csv")]
    assert (
        main(["train", "ease", "--data", str(log), *titled, "--set", "reg=1", "--out", str(target), "-q"])
        == 0
    )
    return target
