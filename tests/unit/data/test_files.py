"""Files and frames: every format gives the same log; every broken file a message that helps."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import narwhals
import numpy as np
import polars as pl
import pytest

from recsmith.data.sources import list_sources, load_log
from recsmith.data.sources.files import read
from recsmith.errors import DataError, ParameterError

FRAME = pl.DataFrame(
    {"user_id": ["a", "b", "a"], "item_id": [3, 1, 2], "rating": [5.0, 1.0, 2.5], "timestamp": [30, 10, 20]}
)
CSV = FRAME.write_csv().encode()
RECBOLE = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n"


def zst(content: bytes) -> bytes:
    return pytest.importorskip("zstandard").compress(content)  # type: ignore[no-any-return]


def check(log: object) -> None:
    """The log is FRAME, rows in order."""
    frame = log.interactions  # type: ignore[attr-defined]
    assert frame.rows() == FRAME.rows()
    assert frame.dtypes == [pl.String, pl.Int64, pl.Float32, pl.Int64]
    assert log.rating_scale == (1.0, 5.0)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "pack", [("", bytes), (".gz", gzip.compress), (".zst", zst)], ids=["plain", "gz", "zst"]
)
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("log.csv", CSV),
        ("log.tsv", FRAME.write_csv(separator="\t").encode()),
        ("log.txt", FRAME.write_csv(separator=";").encode()),
        ("log.csv", FRAME.write_csv(separator="|").encode()),
        ("log.csv", b"\xef\xbb\xbf" + CSV),
        ("log.csv", CSV.replace(b"\n", b"\r\n")),
        ("log.jsonl", FRAME.write_ndjson().encode()),
        ("log.inter", RECBOLE + FRAME.write_csv(separator="\t", include_header=False).encode()),
    ],
    ids=["csv", "tsv", "semicolon", "bar", "bom", "crlf", "jsonl", "recbole"],
)  # fmt: skip
def test_formats_agree(
    tmp_path: Path, name: str, content: bytes, pack: tuple[str, Callable[[bytes], bytes]]
) -> None:
    path = tmp_path / (name + pack[0])
    path.write_bytes(pack[1](content))
    log = read(path)
    check(log)
    assert log.name == "log"
    assert log.origin == str(path)


def test_parquet(tmp_path: Path) -> None:
    FRAME.write_parquet(tmp_path / "log.parquet")
    check(read(tmp_path / "log.parquet"))


def test_frames_of_any_kind() -> None:
    check(read(FRAME))
    check(read(FRAME.lazy()))
    pytest.importorskip("pyarrow")
    pytest.importorskip("pandas")
    check(read(FRAME.to_arrow()))
    check(read(FRAME.to_pandas()))
    check(read(narwhals.from_native(FRAME.to_pandas())))


def test_frame_of_mixed_ids_names_the_column() -> None:
    pd = pytest.importorskip("pandas")
    with pytest.raises(DataError, match="'user_id' mixes int, str"):
        read(pd.DataFrame({"user_id": ["a", 1], "item_id": [1, 2]}))


def test_frame_with_a_name_twice_is_refused() -> None:
    pd = pytest.importorskip("pandas")
    with pytest.raises(DataError, match="a column name more than once"):
        read(pd.DataFrame([[1, 2, 3]], columns=["user_id", "item_id", "user_id"]))


def test_something_else_is_refused() -> None:
    with pytest.raises(DataError, match="Got int instead"):
        read(5)


def test_input_frame_is_not_changed() -> None:
    before = FRAME.clone()
    read(FRAME)
    assert FRAME.equals(before)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("user,item\n1,2\n".encode("utf-16"), r"is UTF-16\. Convert the file to UTF-8 first\.$"),
        (b"user,item\n1,2\n\xfc,3\n", r"invalid utf-8 sequence\. Convert the file to UTF-8 first\.$"),
        (b'user,item\n1,2\n"3,4\n', r"a quotation mark opens and is never closed\.$"),
        (b"user,item,user\n1,2,3\n", "two columns could be user_id: 'user' and 'user_duplicated_0'"),
        (b",".join(b"c%d" % i for i in range(99)) + b"\n", r"header \(c0, c1, .*c19 \.\.\. and 79 more\)\.$"),
        (b"1,2\n3,4\n", "--names user_id,item_id"),
    ],
)
def test_text_that_is_no_table_is_refused_in_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words) as error:
        read(path)
    assert "\n" not in str(error.value)


def test_file_without_header_needs_all_names(tmp_path: Path) -> None:
    path = tmp_path / "u.data"
    path.write_text("a\t3\t5\t30\nb\t1\t1\t10\na\t2\t2.5\t20\n")
    check(read(path, columns=["user", "item", "rating", "timestamp"]))
    with pytest.raises(DataError, match="has 4 columns, not 3"):
        read(path, columns=["user", "item", "rating"])
    with pytest.raises(DataError, match="no column for user_id"):
        read(path)


def test_columns_may_be_named(tmp_path: Path) -> None:
    path = tmp_path / "sales.csv"
    path.write_text("buyer,sku,when\nx,1,2024-01-01\n")
    log = read(path, columns={"user_id": "buyer", "timestamp": "when"})
    assert log.interactions.rows() == [("x", 1, 1_704_067_200)]
    assert log.rating_scale is None


def test_late_text_id_makes_the_whole_column_text(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item\n" + "".join(f"{i},1\n" for i in range(5_000)) + "x9,1\n")
    users = read(path).interactions["user_id"]
    assert users.dtype == pl.String
    assert users[0] == "0"
    assert users[-1] == "x9"


def test_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    FRAME[2:].write_csv(tmp_path / "b.csv")
    FRAME[:2].write_parquet(tmp_path / "a.parquet")
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / "notes.pdf").write_text("no")
    (tmp_path / "README.txt").write_text("two files, one log\n")
    check(read(tmp_path))


def test_folder_of_text_ids_agrees_on_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user,item\n1,1\n")
    (tmp_path / "b.csv").write_text("user,item\nx,1\n")
    assert read(tmp_path).interactions["user_id"].to_list() == ["1", "x"]


def test_folder_of_different_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user,item\n1,1\n")
    (tmp_path / "b.csv").write_text("user,item,rating\n1,1,1\n")
    with pytest.raises(
        DataError, match=r"same columns.*a.csv: user_id, item_id; .*b.csv: user_id, item_id, rating"
    ):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("e.csv", b"", "is empty"),
        ("e.csv.gz", gzip.compress(b"", mtime=0), "is empty"),
        ("h.csv", b"user_id,item_id\n", r"no row below its header \(user_id, item_id\)"),
        ("s.csv", b"user_id,item_id,rating\n1,2,3\n1,2\n", "line 3 has 2 values instead of 3: '1,2'"),
        ("l.csv", b"user_id,item_id\n1,2\n1,2,3\n", "line 3 has 3 values instead of 2: '1,2,3'"),
        ("o.csv", b"user_id\n1\n", "no delimiter"),
        (
            "r.csv",
            b"user_id,item_id,rating\n1,2,3\n1,2,bad\n",
            "r.csv: column 'rating', row 3: 'bad' is not a number",
        ),
        ("u.csv", b"user_id,item_id\n\xff\xfe,2\n", "Convert the file to UTF-8"),
        ("d.dat", b"1::2::3::4\n", "separates columns by '::'"),
        ("p.parquet", b"nonsense", "cannot be read as parquet"),
        ("j.jsonl", b"nonsense\n", "cannot be read as jsonl"),
        ("z.csv.gz", b"not gzip", "cannot be read as csv"),
    ],
)
def test_broken_files_get_a_helpful_message(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        read(path)
    assert name in str(caught.value)


def test_missing_file_and_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no file or folder"):
        read(tmp_path / "no.csv")
    with pytest.raises(DataError, match="holds no file that can be read"):
        read(tmp_path)


def test_missing_last_value_is_not_ragged(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item,rating\n1,2,\n1,3,4\n")
    assert read(path).interactions["rating"].to_list() == [None, 4.0]


def test_feature_tables_follow_the_ids_of_the_log(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("id,name,genres,price,code\n1,One,A|B,2.5,007\n3,Three,,1,008\n")
    log = read(FRAME, items=tmp_path / "items.csv", users=pl.DataFrame({"user": ["a", "b"], "age": [1, 2]}))
    assert log.items is not None
    assert log.users is not None
    assert log.items.rows() == [(1, "One", ["A", "B"], 2.5, "007"), (3, "Three", [], 1.0, "008")]
    assert log.users.columns == ["user_id", "age"]
    text = read(FRAME.with_columns(pl.col("item_id").cast(pl.String)), items=tmp_path / "items.csv")
    assert text.items is not None
    assert text.items["item_id"].to_list() == ["1", "3"]


def test_rating_scale_may_be_given() -> None:
    assert read(FRAME, rating_scale=(0.5, 5)).rating_scale == (0.5, 5.0)
    with pytest.raises(ParameterError, match="rating_scale"):
        read(FRAME, rating_scale=(5, 1))


def test_load_log_takes_names_paths_and_frames(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(CSV)
    check(load_log(str(path)))
    check(load_log(path))
    check(load_log(FRAME))
    assert len(load_log("synthetic:users=10,items=5,events=50,seed=1")) == 50


def test_load_log_helps_with_wrong_names(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"Did you mean 'ml-100k'.*Nor is there a file"):
        load_log("ml-100")
    with pytest.raises(DataError, match="There is no file or folder"):
        load_log("ratings.csv.missing")
    with pytest.raises(ParameterError, match="Did you mean 'columns'"):
        load_log(FRAME, column={})


def test_list_sources_shows_every_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSMITH_DATA_DIR", str(tmp_path))
    rows = {row["name"]: row for row in list_sources().to_dicts()}
    assert rows["ml-100k"] == {
        "name": "ml-100k", "users": 943, "items": 1_682, "events": 100_000, "size": 4_924_029, "cached": False,
        "licence": "GroupLens: research use, no redistribution",
    }  # fmt: skip
    assert rows["synthetic"]["cached"]


def test_large_csv_is_read_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    big = pl.DataFrame({"user": rng.integers(0, 999, 200_000), "item": rng.integers(0, 99, 200_000)})
    big.write_csv(tmp_path / "big.csv")
    assert read(tmp_path / "big.csv").interactions.equals(big.rename({"user": "user_id", "item": "item_id"}))


def test_columns_hold_for_the_tables_too(tmp_path):
    log, users, items = (tmp_path / f"{name}.csv" for name in ("log", "users", "items"))
    log.write_text("listener,track\nann,x\nbob,y\n")
    users.write_text("listener,city\nann,Rome\n")
    items.write_text("item_id,genre,genres\nx,a,b|c\ny,d,e\n")
    columns = {"user_id": "listener", "item_id": "track", "genres": "genre"}
    found = read(log, columns=columns, users=users, items=items)
    assert found.users.to_dict(as_series=False) == {"user_id": ["ann"], "city": ["Rome"]}
    assert found.items["genres"].to_list() == [["a"], ["d"]]
    with pytest.raises(DataError, match="two columns could be genres"):
        read(log, columns={"user_id": "listener", "item_id": "track"}, users=users, items=items)
    with pytest.raises(ParameterError, match="no column named 'genres'"):
        read(log, columns=columns)
