"""What is wrong is said in a line that names it; the exit status is 2, or 1 where the machine failed."""

from __future__ import annotations

import errno
import json
import shutil

import polars as pl
import pytest

from recsmith import bundle_format

HEADER = "user_id,item_id,rating,timestamp\n"


def write(folder, text, name="log.csv"):
    (folder / name).write_text(text)
    return folder / name


def test_missing_file(cli, tmp_path):
    result = cli("train", "ease", "--data", tmp_path / "none.csv", "--out", tmp_path / "b")
    assert result.status == 2
    assert "none.csv" in result.err
    assert result.err.count("\n") <= 2


def test_unknown_data_set(cli, tmp_path):
    result = cli("data", "fetch", "ml-100")
    assert result.status == 2
    assert "'ml-100k'" in result.err


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "is empty"),
        (HEADER, "no row"),
        ("buyer_name,item_id,rating\na,b,3\n", "no column for user_id"),
        (HEADER + "a,b,3,1600000000\na,c,good,1600000000\n", "row 3: 'good' is not a number"),
        (HEADER + "a,b,3,1600000000000\n", "timestamp"),
        (HEADER + "a,b\n", "line 2"),
    ],
)
def test_bad_files(cli, tmp_path, text, wanted):
    file = write(tmp_path, text)
    for verb in ("validate", "describe"):
        result = cli("data", verb, file)
        assert (result.status, result.out) == (2, "")
        assert wanted in result.err
    told = cli("train", "popular", "--data", file, "--out", tmp_path / "b", "--json")
    assert told.status == 2
    assert told.json["error"]["type"] == "DataError"
    assert not (tmp_path / "b").exists()


def test_millisecond_timestamps_name_the_remedy(cli, tmp_path):
    file = write(tmp_path, HEADER + "a,b,3,1600000000000\n")
    assert "ms" in cli("data", "validate", file).err
    assert cli("data", "validate", file, "--timestamp-unit", "ms").status == 0


def test_ratings_off_the_scale_and_their_repair(cli, tmp_path):
    file = write(tmp_path, HEADER + "a,b,3,1600000000\na,c,9,1600000000\n")
    result = cli("data", "validate", file, "--scale", "1,5", "--json")
    assert result.status == 2
    finding = result.json["findings"][0]
    assert (finding["code"], finding["samples"][0]["row"]) == ("off_scale_ratings", 3)
    options = ("--scale", "1,5", "--repair", "off_scale=clip", "--out", tmp_path / "good.csv")
    repaired = cli("data", "validate", file, *options, "--json")
    assert repaired.status == 0
    assert repaired.json["findings"][0]["done"] == "clipped"
    assert pl.read_csv(tmp_path / "good.csv")["rating"].to_list() == [3, 5]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (("--repair", "nuls=drop", "--out", "x.csv"), "'nulls'"),
        (("--repair", "nulls=away", "--out", "x.csv"), "nulls"),
        (("--repair", "nulls"), "--out"),
        (("--repair", "nulls", "--out", "x.csv"), "NAME=VALUE"),
        (("--repair", "nulls=drop", "--out", "x.doc"), ".parquet"),
        (("--scale", "low,high"), "LOW,HIGH"),
        (("--column", "user_id"), "NAME=VALUE"),
        (("--column", "user_id=x", "--names", "a,b"), "exclude one another"),
        (("--timestamp-unit", "hours"), "'ms'"),
    ],
)
def test_bad_data_options(cli, log, tmp_path, monkeypatch, options, wanted):
    monkeypatch.chdir(tmp_path)
    result = cli("data", "validate", log, *options)
    assert result.status == 2
    assert wanted in result.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("eas",), "Did you mean 'ease'?"),
        (("ease", "--set", "regg=3"), "Did you mean 'reg'?"),
        (("ease", "--set", "reg=-1"), "must be > 0. Got -1"),
        (("ease", "--set", "reg"), "NAME=VALUE"),
        (("ease", "--set", "reg=[1"), "cannot be read"),
        (("ease", "--fallback", "nobody"), "no model named 'nobody'"),
        (("ease", "--k-core", "0"), ">= 1"),
        (("ease", "--min-rating", "6"), "highest is 5"),
    ],
)
def test_bad_training(cli, log, tmp_path, arguments, wanted):
    result = cli("train", *arguments, "--data", log, "--out", tmp_path / "b")
    assert result.status == 2
    assert wanted in result.err
    assert not (tmp_path / "b").exists()


def test_train_wants_a_target(cli, log, tmp_path):
    assert "--out" in cli("train", "ease", "--data", log).err
    file = write(tmp_path, "precious", "notes.txt")
    result = cli("train", "ease", "--data", log, "--out", file)
    assert result.status == 2
    assert "not a bundle" in result.err
    assert file.read_text() == "precious"


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ((), "Say for whom"),
        (("--user", "u00", "--all"), "Say for whom"),
        (("--user", "u00", "--k", "0"), "must be >= 1. Got 0"),
        (("--all",), "--out"),
        (("--user", "u00", "--out", "x.csv"), "--all"),
        (("--all", "--out", "x.xlsx"), ".parquet"),
        (("--history", "i00", "--explain"), "--explain"),
        (("--history", ","), "--history"),
        (("--history", "zz"), "'zz'"),
        (("--user", "u00", "--items", "zz"), "'zz'"),
        (("--user", "u00", "--items", "mine.txt"), "Nor is there a file of that name"),
        (("--user", "u00", "--exclude", "i00,zz"), "Known ids look like"),
        (("--user", "u00", "--items", ","), "No id"),
    ],
)
def test_bad_requests(cli, bundle, tmp_path, monkeypatch, options, wanted):
    monkeypatch.chdir(tmp_path)
    result = cli("recommend", bundle, *options)
    assert result.status == 2
    assert wanted in result.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "line",
    [
        "train ease --data LOG --out FILE/b",
        "evaluate ease --data LOG --out FILE/report.json",
        "compare ease popular --data LOG --out FILE/report.json",
        "recommend BUNDLE --all --out FILE/lists.csv",
    ],
)
def test_a_place_that_cannot_be_written_is_told_before_the_work(
    cli, log, bundle, tmp_path, line, monkeypatch
):
    file = write(tmp_path, "precious", "notes")
    monkeypatch.setattr("recsmith.recommend.Pipeline.fit", lambda *_, **__: pytest.fail("too late"))
    monkeypatch.setattr("recsmith.experiment.train.load_bundle", lambda *_: pytest.fail("too late"))
    words = {"LOG": str(log), "BUNDLE": str(bundle)}
    result = cli(*(words.get(word, word.replace("FILE", str(file))) for word in line.split()))
    assert result.status == 1
    assert "notes is a file, not a folder" in result.err


def test_a_folder_without_permission_is_told_before_the_work(cli, log, tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    result = cli("train", "ease", "--data", log, "--out", tmp_path / "new" / "b")
    assert result.status == 1
    assert f"no permission for {tmp_path}" in result.err


def test_similar_to_an_unknown_item(cli, bundle):
    result = cli("similar", bundle, "--item", "zz", "--json")
    assert result.status == 2
    assert result.json["error"]["type"] == "UnknownIdError"
    assert "Known ids look like" in result.json["error"]["message"]
    assert cli("similar", bundle, "--item", "i00", "--k", "0").status == 2


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("evaluate", "ease", "--split", "user-tim"), "Did you mean 'user-time'?"),
        (("evaluate", "ease", "--split", "user-time:2"), "share"),
        (("evaluate", "ease", "--k", "0"), ">= 1"),
        (("evaluate", "ease", "--k", "ten"), ">= 1"),
        (("evaluate", "ease", "--train", "x.csv"), "--test"),
        (("evaluate", "bundles/none"), "not a bundle"),
        (("compare", "ease", "popular", "--metric", "ndgc"), "Did you mean 'ndcg'?"),
        (("compare", "ease", "popular", "--metric", "ndcg@0"), "k >= 1"),
        (("compare", "ease", "popular", "--set", "reg=3"), "MODEL.KEY=VALUE"),
        (("compare", "ease", "popular", "--set", "eas.reg=3"), "'ease'"),
        (("compare", "ease", "popular", "--baseline", "random"), "'random'"),
        (("compare", "ease", "popular", "--split", "k-fold:5"), "Use evaluate"),
    ],
)
def test_bad_judging(cli, log, arguments, wanted):
    result = cli(*arguments, "--data", log)
    assert result.status == 2
    assert wanted in result.err


def test_judging_needs_data(cli):
    result = cli("evaluate", "ease")
    assert result.status == 2
    assert "--data" in result.err


def test_usage_errors(cli):
    assert "Missing" in cli("train").err
    told = cli("train", "--nonsense", "--json")
    assert told.status == 2
    assert told.json["error"]["type"] == "UsageError"
    assert cli("nosuch").status == 2


def cut(folder):
    file = folder / "arrays.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def tamper(folder):
    file = folder / "arrays.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))


def newer(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))


def with_pickle(folder):
    (folder / "model.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")


def without_manifest(folder):
    (folder / "manifest.json").unlink()


def garbled(folder):
    (folder / "manifest.json").write_text("{")


@pytest.mark.parametrize(
    ("damage", "wanted"),
    [
        (cut, "cut short"),
        (tamper, "changed after it was written"),
        (newer, "Upgrade recsmith"),
        (with_pickle, "never a pickle"),
        (without_manifest, "is not a bundle"),
        (garbled, "is damaged"),
    ],
)
def test_bundles_that_must_not_be_used(cli, bundle, tmp_path, damage, wanted):
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    damage(copy)
    for arguments in (
        ("info", copy),
        ("recommend", copy, "--user", "u00"),
        ("similar", copy, "--item", "i00"),
    ):
        result = cli(*arguments)
        assert (result.status, result.out) == (2, "")
        assert wanted in result.err
    assert cli("info", tmp_path / "nothing").status == 2


def test_a_full_disk_while_saving(cli, log, bundle, tmp_path, monkeypatch):
    target = tmp_path / "b"
    shutil.copytree(bundle, target)
    before = {p.name: p.read_bytes() for p in target.iterdir()}

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bundle_format, "_sync", full)
    result = cli("train", "ease", "--data", log, "--out", target)
    assert result.status == 1
    assert "No space left" in result.err
    assert {p.name: p.read_bytes() for p in target.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_a_full_disk_while_recommending(cli, bundle, tmp_path, monkeypatch):
    def full(*_, **__):
        raise pl.exceptions.ComputeError(
            "parquet: underlying IO error: No space left on device (os error 28)"
        )

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    result = cli("recommend", bundle, "--all", "--out", tmp_path / "lists.parquet", "--json")
    assert result.status == 1
    assert "No space left on device" in result.json["error"]["message"]
    assert not list(tmp_path.iterdir())


def test_unexpected_errors_are_short(cli, bundle, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr("recsmith.experiment.train.load_bundle", broken)
    monkeypatch.delenv("RECSMITH_DEBUG", raising=False)
    result = cli("info", bundle)
    assert result.status == 1
    assert "RuntimeError: first line" in result.err
    assert "RECSMITH_DEBUG=1" in result.err
    assert "Traceback" not in result.err
    monkeypatch.setenv("RECSMITH_DEBUG", "1")
    assert "Traceback" in cli("info", bundle).err


def test_out_of_memory_has_words(cli, bundle, monkeypatch):
    def greedy(*_, **__):
        raise MemoryError

    monkeypatch.setattr("recsmith.experiment.train.load_bundle", greedy)
    result = cli("info", bundle)
    assert result.status == 1
    assert "--dry-run" in result.err
