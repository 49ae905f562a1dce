"""MovieLens: official formats from folders and zips, the mirror, and the real ML-100K where it is at hand."""

from __future__ import annotations

import gzip
import importlib.util
import os
import subprocess
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Any, NoReturn

import polars as pl
import pytest

from recsmith.data.sources import load_log
from recsmith.data.sources.movielens import EDITIONS, NAMES, load, official_folds
from recsmith.errors import DataError, FetchError, ParameterError

ML_1M = {
    "ratings.dat": b"1::1193::5::978300760\n1::661::3::978302109\n2::1193::4::978298413\n",
    "movies.dat": (
        "661::James and the Giant Peach (1996)::Animation|Children's\n"
        "1193::Misérables, Les: A Film (1995)::Drama\n"
    ).encode("latin-1"),
    "users.dat": b"1::F::1::10::48067\n2::M::56::16::70072\n",
}
ML_10M = {
    "ratings.dat": b"1::122::5::838985046\n1::185::3.5::838983525\n",
    "movies.dat": "122::Boomerang (1992)::Comedy|Romance\n185::Café: The :: Net (1995)::Action\n".encode(),
    "tags.dat": "15::122::a ::\u2028\x85 b::1215184630\n".encode(),
}
ML_CSV = {
    "ratings.csv": b"userId,movieId,rating,timestamp\n1,296,5.0,1147880044\n2,1,0.5,1147868817\n",
    "movies.csv": b'movieId,title,genres\n1,Toy Story (1995),Adventure|Animation\n296,"Ten, The",(no genres listed)\n',
    "tags.csv": b'userId,movieId,tag,timestamp\n3,1,"classic, really",1439472355\n',
    "links.csv": b"movieId,imdbId,tmdbId\n1,0114709,862\n296,0110912,\n",
}
SAMPLES = {"ml-1m": ML_1M, "ml-10m": ML_10M, "ml-20m": ML_CSV, "ml-32m": ML_CSV, "ml-latest-small": ML_CSV}


def unpacked(files: dict[str, bytes], folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def zipped(files: dict[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"some-folder/{name}", content)
    return path


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No network, an empty cache."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise urllib.error.URLError("no network in this test")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setenv("RECSMITH_DATA_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def ml_100k(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The original files of ML-100K, if this machine has them."""
    root = os.environ.get("RECSMITH_EXTRA_DATA")
    raw = Path(root or "") / "ml-100k" / "raw"
    if not root or not raw.is_dir():
        pytest.skip("set RECSMITH_EXTRA_DATA to a folder with ml-100k/raw/*.gz to test the real files")
    return unpacked(
        {p.stem: gzip.decompress(p.read_bytes()) for p in raw.glob("*.gz")},
        tmp_path_factory.mktemp("ml") / "ml-100k",
    )


@pytest.mark.parametrize("name", SAMPLES)
def test_zip_folder_and_folder_above_give_the_same_log(tmp_path: Path, name: str) -> None:
    folder = unpacked(SAMPLES[name], tmp_path / "above" / "inner")
    logs = [load(name, path=p) for p in (folder, folder.parent, zipped(SAMPLES[name], tmp_path / "ml.zip"))]
    assert logs[0].interactions.equals(logs[1].interactions)
    assert logs[0].interactions.equals(logs[2].interactions)
    assert logs[0].rating_scale == EDITIONS[name].scale
    assert logs[0].interactions.dtypes == [pl.Int64, pl.Int64, pl.Float32, pl.Int64]
    assert "2015" in logs[0].citation


def test_1m_has_users_and_latin_1_titles(tmp_path: Path) -> None:
    log = load("ml-1m", path=zipped(ML_1M, tmp_path / "ml.zip"))
    assert log.interactions.rows() == [
        (1, 1193, 5, 978300760),
        (1, 661, 3, 978302109),
        (2, 1193, 4, 978298413),
    ]
    assert log.items is not None
    assert log.items.rows() == [
        (661, "James and the Giant Peach", 1996, ["Animation", "Children's"]),
        (1193, "Misérables, Les: A Film", 1995, ["Drama"]),
    ]
    assert log.users is not None
    assert log.users.rows(named=True)[0] == {
        "user_id": 1, "age": 1, "gender": "F", "occupation": "K-12 student", "zip_code": "48067",
    }  # fmt: skip


def test_10m_survives_delimiters_inside_text(tmp_path: Path) -> None:
    log = load("ml-10m", path=unpacked(ML_10M, tmp_path / "ml-10M100K"))
    assert log.interactions["rating"].to_list() == [5.0, 3.5]
    assert log.items is not None
    assert log.items["title"].to_list() == ["Boomerang", "Café: The :: Net"]
    assert log.extras["tags"].rows() == [(15, 122, "a ::\u2028\x85 b", 1215184630)]


def test_csv_editions_have_tags_and_links(tmp_path: Path) -> None:
    log = load("ml-32m", path=unpacked(ML_CSV, tmp_path / "ml-32m"))
    assert log.interactions.rows() == [(1, 296, 5.0, 1147880044), (2, 1, 0.5, 1147868817)]
    assert log.items is not None
    assert log.items.rows() == [
        (1, "Toy Story", 1995, ["Adventure", "Animation"]),
        (296, "Ten, The", None, []),
    ]
    assert log.extras["tags"].rows() == [(3, 1, "classic, really", 1439472355)]
    assert log.extras["links"].rows() == [(1, 114709, 862), (296, 110912, None)]


def test_wrong_folder_and_damaged_file_are_told(tmp_path: Path) -> None:
    folder = unpacked(ML_CSV, tmp_path / "ml")
    with pytest.raises(DataError, match=r"has no u.item.*movies.csv"):
        load("ml-100k", path=folder)
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,2,good,4\n")
    with pytest.raises(DataError, match=r"ratings.csv does not have the official format"):
        load("ml-20m", path=folder)
    with pytest.raises(DataError, match="neither a folder nor a zip"):
        load("ml-20m", path=folder / "ratings.csv")
    with pytest.raises(DataError, match="There is no file or folder"):
        load("ml-20m", path=tmp_path / "nowhere")


def test_unknown_edition_offers_the_nearest() -> None:
    with pytest.raises(ParameterError, match="Did you mean 'ml-100k'"):
        load("ml-100")
    with pytest.raises(ParameterError, match="There is no fold of ml-100k named 'u6'"):
        official_folds("anywhere", names=("u6",))


def test_every_fixed_edition_is_pinned() -> None:
    latest = {"ml-latest", "ml-latest-small"}
    assert {name for name in NAMES if EDITIONS[name].sha256 is None} == latest
    assert all(len(EDITIONS[name].sha256 or "") == 64 for name in set(NAMES) - latest)


def test_offline_says_where_to_put_the_zip(offline: Path) -> None:
    with pytest.raises(FetchError, match=r"cannot be reached.*put it at .*ml-1m.zip"):
        load("ml-1m")
    with pytest.raises(FetchError, match="mirror has none"):
        official_folds()


def test_zip_in_the_cache_needs_no_network(offline: Path) -> None:
    (offline / "movielens").mkdir(parents=True)
    zipped(ML_1M, offline / "movielens" / "ml-1m.zip")
    assert len(load_log("ml-1m")) == 3


def test_failed_mirror_reports_both_failures(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert command[1:4] == ["-m", "pip", "download"]
        return subprocess.CompletedProcess(command, 1, "", "ERROR: No matching distribution")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(FetchError, match=r"ml-100k.zip cannot be reached.*No matching distribution"):
        load("ml-100k")


def test_mirror_without_pip_says_what_to_do(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FetchError, match=r"ml-100k.zip cannot be reached.*put it at.*uv pip install pip"):
        load("ml-100k")
    assert list(offline.rglob("*.whl")) == []


def test_tampered_mirror_is_refused(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tamper(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        folder = Path(command[command.index("-d") + 1])
        (folder / "recbole-1.2.1-py3-none-any.whl").write_bytes(b"something else")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", tamper)
    with pytest.raises(FetchError, match="does not match its checksum"):
        load("ml-100k")
    assert [p for p in offline.rglob("*") if p.is_file()] == []


def test_real_100k(ml_100k: Path) -> None:
    log = load("ml-100k", path=ml_100k)
    assert log.interactions.row(0) == (196, 242, 3.0, 881250949)
    assert log.interactions.row(-1) == (12, 203, 3.0, 879959583)
    counts = log.interactions["rating"].value_counts().sort("rating")["count"].to_list()
    assert counts == [6_110, 11_370, 27_145, 34_174, 21_201]
    assert log.users is not None
    assert log.items is not None
    assert log.users.row(0) == (1, 24, "M", "technician", "85711")
    assert log.items.row(0) == (1, "Toy Story", 1995, ["Animation", "Children's", "Comedy"])
    assert (len(log.users), len(log.items)) == (943, 1_682)
    assert log.items.filter(pl.col("title").str.contains("Misérables"))["year"].to_list() == [1995]
    assert str(log.extras["release"]["release_date"][1]) == "1995-01-01"


def test_real_folds_cover_the_ratings(ml_100k: Path) -> None:
    folds = official_folds(ml_100k)
    assert [(len(train), len(test)) for train, test in folds] == [(80_000, 20_000)] * 5
    whole = load("ml-100k", path=ml_100k).interactions.sort("user_id", "item_id")
    tests = pl.concat([test.interactions for _, test in folds]).sort("user_id", "item_id")
    assert tests.equals(whole)
    ((train, test),) = official_folds(ml_100k, names=("ua",))
    assert (len(train), len(test), test.name) == (90_570, 9_430, "ml-100k ua test")
    assert test.interactions["user_id"].value_counts()["count"].unique().to_list() == [10]


@pytest.mark.network
def test_mirror_on_pypi_equals_the_official_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("RECSMITH_DATA_DIR", str(tmp_path))
    try:
        log = load("ml-100k")
    except FetchError as error:
        pytest.skip(f"neither GroupLens nor PyPI can be reached: {error}")
    assert len(log) == 100_000
    assert len(list(tmp_path.rglob("*.whl"))) + len(list(tmp_path.rglob("*.zip"))) == 1
    again = load("ml-100k")
    assert again.interactions.equals(log.interactions)
    if list(tmp_path.rglob("*.whl")):
        assert len(log.extras["kg"]) == 91_631
        assert len(log.extras["link"]) == 1_598
    official = load("ml-100k", path=request.getfixturevalue("ml_100k"))
    assert log.interactions.equals(official.interactions)
    assert log.users is not None
    assert log.users.equals(official.users)  # type: ignore[arg-type]
    assert log.items is not None
    assert log.items.equals(official.items)  # type: ignore[arg-type]
