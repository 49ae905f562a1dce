"""Open Bandit: official layout from folders and zips, positions from 0, order of time, and what is refused."""

from __future__ import annotations

import importlib.util
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from recsmith.data.sources import open_bandit
from recsmith.data.sources.open_bandit import load
from recsmith.errors import DataError, FetchError, ParameterError

LOG = (
    b",timestamp,item_id,position,click,propensity_score,user_feature_0,user_feature_1,user-item_affinity_0\n"
    b"0,2019-11-24 00:00:53.1+00:00,1,3,0,0.5,a,x,0.0\n"
    b"1,2019-11-24 00:00:34.7+00:00,0,1,1,0.25,b,x,2.0\n"
    b"2,2019-11-24 00:00:34.7+00:00,1,2,0,0.5,c,y,0.0\n"
)
ITEMS = b",item_id,item_feature_0,item_feature_1\n0,1,0.5,p\n1,0,-0.5,q\n"
PRIOR = b"all:\n  alpha: [47.0, 8.0]\n  beta: [12198.0, 3566.0]\nmen:\n  alpha: [1.0]\n  beta: [1.0]\n"
FILES = {"random/all/all.csv": LOG, "random/all/item_context.csv": ITEMS}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / "open_bandit_dataset" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "obp.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in FILES.items():
            archive.writestr(f"obp/dataset/obd/{name}", content)
        archive.writestr("obp/policy/conf/prior_bts.yaml", PRIOR)
    return path


@pytest.fixture
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("RECSMITH_DATA_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_folder(folder: Path) -> None:
    found = load("random", "all", path=folder)
    assert found.rounds["action"].to_list() == [0, 1, 1]  # oldest first, equal times in order of the file
    assert found.rounds["position"].to_list() == [0, 1, 2]
    assert found.rounds["reward"].to_list() == [1, 0, 0]
    assert found.rounds["propensity"].to_list() == [0.25, 0.5, 0.5]
    assert found.items["item_id"].to_list() == [0, 1]
    assert found.user_features == ("user_feature_0", "user_feature_1")
    assert found.affinities == ("user-item_affinity_0",)
    assert found.context().rows() == [(1.0, 0.0, 0.0), (0.0, 1.0, 1.0), (0.0, 0.0, 0.0)]  # b x, c y, a x
    assert found.prior is None


def test_the_wheel(wheel: Path, folder: Path) -> None:
    found = load("random", "all", path=wheel)
    assert found.rounds.equals(load("random", "all", path=folder).rounds)
    assert found.prior == ((47.0, 8.0), (12198.0, 3566.0))


def test_the_wheel_in_the_cache_needs_no_network(wheel: Path, empty_cache: Path) -> None:
    target = empty_cache / "open-bandit" / open_bandit.WHEEL_FILE
    target.parent.mkdir(parents=True)
    wheel.rename(target)
    assert len(load().rounds) == 3


def test_bad_names_and_files(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="policy of Open Bandit named 'greedy'"):
        load("greedy", path=folder)
    with pytest.raises(ParameterError, match="Did you mean 'women'"):
        load("bts", "woman", path=folder)
    with pytest.raises(DataError, match=r"has no bts/all/all\.csv"):
        load("bts", path=folder)
    with pytest.raises(DataError, match="no file or folder"):
        load(path=tmp_path / "nowhere")
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(DataError, match="neither a folder nor a zip"):
        load(path=tmp_path / "text.zip")
    (folder / "open_bandit_dataset/random/all/all.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no column click, item_id"):
        load(path=folder)


def test_offline_says_what_to_do(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert command[1:4] == ["-m", "pip", "download"]
        return subprocess.CompletedProcess(command, 1, "", "ERROR: No matching distribution")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(FetchError, match=r"No matching distribution.*--path"):
        load()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FetchError, match="needs pip"):
        load()


def test_a_tampered_wheel_is_refused(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tamper(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        folder = Path(command[command.index("-d") + 1])
        (folder / open_bandit.WHEEL_FILE).write_bytes(b"something else")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", tamper)
    with pytest.raises(FetchError, match="does not match its checksum"):
        load()
    assert [p for p in empty_cache.rglob("*") if p.is_file()] == []


@pytest.mark.network
def test_the_small_data_set_on_pypi(empty_cache: Path) -> None:
    try:
        random, bts = load("random"), load("bts")
    except FetchError as error:
        pytest.skip(f"PyPI cannot be reached: {error}")
    assert (len(random.rounds), len(bts.rounds)) == (10_000, 10_000)
    assert (random.rounds["reward"].sum(), bts.rounds["reward"].sum()) == (38, 42)
    assert random.rounds["propensity"].unique().to_list() == [1 / 80]
    assert random.prior is not None
    assert len(random.prior[0]) == len(random.items) == 80
    assert random.context().width == 20
