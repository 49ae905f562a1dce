"""MovieLens in all its editions: the official files as they are, from the zip, a folder, or a mirror.

F. M. Harper, J. A. Konstan. The MovieLens Datasets: History and Context. ACM TiiS 5(4), 2015.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import polars as pl

from recsmith.data.schema import Log, catalogue, genre_lists
from recsmith.data.sources import wheels
from recsmith.data.sources.fetch import cache_dir, fetch
from recsmith.data.sources.files import read_text
from recsmith.errors import DataError, FetchError, ParameterError

URL = "https://files.grouplens.org/datasets/movielens/{name}.zip"
CITATION = (
    "F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context. "
    "ACM Transactions on Interactive Intelligent Systems 5, 4, Article 19. https://doi.org/10.1145/2827872. "
    "Licence: research use with acknowledgement; no redistribution and no commercial use without the "
    "permission of GroupLens."
)
LICENCE = "GroupLens: research use, no redistribution"

#: PyPI wheel with ML-100K inside; its code is neither installed nor run.
MIRROR = "recbole==1.2.1"
MIRROR_FILE = "recbole-1.2.1-py3-none-any.whl"
MIRROR_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"

FOLDS = ("u1", "u2", "u3", "u4", "u5")
_GENRES_100K = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama",
    "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
_OCCUPATIONS_1M = (
    "other", "academic/educator", "artist", "clerical/admin", "college/grad student", "customer service",
    "doctor/health care", "executive/managerial", "farmer", "homemaker", "K-12 student", "lawyer",
    "programmer", "retired", "sales/marketing", "scientist", "self-employed", "technician/engineer",
    "tradesman/craftsman", "unemployed", "writer",
)  # fmt: skip
_RATINGS = {"user_id": pl.Int64, "item_id": pl.Int64, "rating": pl.Float32, "timestamp": pl.Int64}
#: File -> its header, and what recsmith calls the columns.
_CSV: Mapping[str, tuple[bytes, Mapping[str, Any]]] = {
    "ratings": (b"userId,movieId,rating,timestamp", _RATINGS),
    "tags": (
        b"userId,movieId,tag,timestamp",
        {"user_id": pl.Int64, "item_id": pl.Int64, "tag": pl.String, "timestamp": pl.Int64},
    ),
    "links": (b"movieId,imdbId,tmdbId", {"item_id": pl.Int64, "imdb_id": pl.Int64, "tmdb_id": pl.Int64}),
}


@dataclass(frozen=True, slots=True)
class Edition:
    """One edition: its size, its zip and its rating scale."""

    users: int | None
    items: int | None  #: items in the table, rated or not
    events: int | None
    size: int | None  #: bytes of the zip
    sha256: str | None  #: of the zip
    scale: tuple[float, float]


# GroupLens publishes an MD5 beside each zip. The SHA-256 below are of the zips with these MD5:
#   100k 0e33842e24a9c977be4e0107933c0723    1m   c4d9eecfca2ab87c1945afe126590906
#   10m  ce571fd55effeba0271552578f2648bd    20m  cd245b17a1ae2cc31bb14903e1204af3
#   25m  6b51fb2759a8657d3bfcbfc42b592ada    32m  d472be332d4daa821edc399621853b57
# 100k, 1m, 20m and 25m as in tensorflow/datasets (url_checksums/movielens.txt) and in several other public
# repositories; 10m and 32m as in several public repositories which agree on size, MD5 and SHA-256.
# GroupLens replaces the two "latest" from time to time, so they have no fixed checksum.
EDITIONS: Mapping[str, Edition] = {
    "ml-100k": Edition(943, 1_682, 100_000, 4_924_029,
        "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229", (1.0, 5.0)),
    "ml-1m": Edition(6_040, 3_883, 1_000_209, 5_917_549,
        "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20", (1.0, 5.0)),
    "ml-10m": Edition(69_878, 10_681, 10_000_054, 65_566_137,
        "813c411ccb6122564edfe752e7f80c4dcc5aa25fa94c93622f6877a7ba252862", (0.5, 5.0)),
    "ml-20m": Edition(138_493, 27_278, 20_000_263, 198_702_078,
        "96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3", (0.5, 5.0)),
    "ml-25m": Edition(162_541, 62_423, 25_000_095, 261_978_986,
        "8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa", (0.5, 5.0)),
    "ml-32m": Edition(200_948, 87_585, 32_000_204, 238_950_008,
        "e4a68655d7386b8f95f2f2424b2ff975dfdd15ffd59e0d864a14dca43e99d6ee", (0.5, 5.0)),
    "ml-latest-small": Edition(None, None, None, None, None, (0.5, 5.0)),
    "ml-latest": Edition(None, None, None, None, None, (0.5, 5.0)),
}  # fmt: skip
NAMES = tuple(EDITIONS)


def load(name: str, *, path: str | PathLike[str] | None = None) -> Log:
    """An edition of MovieLens, rows in the order of the official file.

    Titles come without the year, which is a column of its own; ``genres`` is a list. ``extras`` holds
    ``tags`` and ``links`` where the edition has them; for ML-100K ``release`` (official files) or ``kg`` and
    ``link`` (mirror).

    Parameters
    ----------
    name
        One of ``NAMES``.
    path
        The official zip, or a folder with its files. If None it is downloaded once to the cache folder
        (``RECSMITH_DATA_DIR``); for ML-100K, a wheel on PyPI which contains the same ratings stands in where
        the official host cannot be reached.

    Raises
    ------
    ParameterError
        There is no such edition.
    FetchError
        It could not be downloaded.
    DataError
        ``path`` does not hold the edition.
    """
    if name not in EDITIONS:
        raise ParameterError.unknown("edition of MovieLens", name, NAMES)
    if path is not None:
        return _parse(name, _Files(Path(path).expanduser()))
    if name == "ml-100k" and not _zip_path(name).exists() and _mirror_path().exists():
        return _parse_mirror(_mirror_path())
    try:
        return _parse(name, _Files(_official(name)))
    except FetchError as error:
        if name != "ml-100k":
            raise
        return _parse_mirror(_download_mirror(error))


def official_folds(
    path: str | PathLike[str] | None = None, *, names: Sequence[str] = FOLDS
) -> list[tuple[Log, Log]]:
    """The train and test parts of ML-100K that come with it.

    Parameters
    ----------
    path
        The official zip, or a folder with its files; None as in :func:`load`.
    names
        Among ``u1 ... u5`` (disjoint tests of 20,000 ratings) and ``ua``, ``ub`` (10 test ratings a user).

    Returns
    -------
    list of (train, test)
        In the order of ``names``.

    Raises
    ------
    FetchError
        Only the mirror can be reached: it does not contain the folds.
    DataError
        ``path`` does not contain them.
    """
    for fold in names:
        if fold not in (*FOLDS, "ua", "ub"):
            raise ParameterError.unknown("fold of ml-100k", fold, (*FOLDS, "ua", "ub"))
    try:
        files = _Files(_official("ml-100k") if path is None else Path(path).expanduser())
    except FetchError as error:
        raise FetchError(
            f"The official folds are only in the official zip; the mirror has none. {error}"
        ) from None
    whole = _parse("ml-100k", files)

    def part(fold: str, kind: str) -> Log:
        member = f"{fold}.{'base' if kind == 'train' else 'test'}"
        return _log(
            f"ml-100k {fold} {kind}", files, _tab_ratings(files, member), users=whole.users, items=whole.items
        )

    return [(part(fold, "train"), part(fold, "test")) for fold in names]


def about(name: str) -> dict[str, Any]:
    """What :func:`recsmith.data.sources.list_sources` shows."""
    edition = EDITIONS[name]
    cached = _zip_path(name).exists() or (name == "ml-100k" and _mirror_path().exists())
    return {
        "users": edition.users,
        "items": edition.items,
        "events": edition.events,
        "size": edition.size,
        "cached": cached,
        "licence": LICENCE,
    }


class _Files:
    """Members of an official zip or of a folder, by bare name."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise DataError(f"There is no file or folder {str(path)!r} (looked in {Path.cwd()}).")
        self.path = path
        if path.is_dir():
            found = [*path.glob("*/*"), *path.glob("*")]  # of two with the same name, the one higher up wins
            self._members = {f.name: str(f) for f in found if f.is_file()}
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                entries = [n for n in archive.namelist() if not n.startswith("__MACOSX")]
            self._members = {n.rpartition("/")[2]: n for n in entries}
        else:
            raise DataError(
                f"{path} is neither a folder nor a zip. Wanted the official zip or its unpacked folder."
            )

    def __contains__(self, member: str) -> bool:
        return member in self._members

    def read(self, member: str) -> bytes:
        """The content of a member."""
        if member not in self._members:
            raise DataError(
                f"{self.path} has no {member}. Wanted the files of the official zip; found: "
                f"{', '.join(sorted(self._members)[:12]) or 'nothing'}."
            )
        if self.path.is_dir():
            return Path(self._members[member]).read_bytes()
        with zipfile.ZipFile(self.path) as archive:
            return archive.read(self._members[member])


def _parse(name: str, files: _Files) -> Log:
    """An edition out of its official files."""
    if name == "ml-100k":
        return _parse_100k(files)
    if name in ("ml-1m", "ml-10m"):
        return _parse_colons(name, files)
    return _parse_csv(name, files)


def _parse_100k(files: _Files) -> Log:
    """``u.data`` (tabs), ``u.item`` and ``u.user`` (bars), latin-1; one flag column for each genre."""
    columns = ["item_id", "title", "release_date", "video_date", "imdb_url", *_GENRES_100K]
    raw = _bars(files, "u.item", columns)
    flags = [pl.when(pl.col(g) == "1").then(pl.lit(g)) for g in _GENRES_100K]
    items = raw.select(
        pl.col("item_id").cast(pl.Int64),
        *_title_and_year(pl.col("title").str.strip_chars()),
        pl.concat_list(flags).list.drop_nulls().alias("genres"),
    )
    dates = pl.col("release_date").str.to_date("%d-%b-%Y", strict=False)
    users = _bars(files, "u.user", ["user_id", "age", "gender", "occupation", "zip_code"])
    return _log(
        "ml-100k",
        files,
        _tab_ratings(files, "u.data"),
        users=users.cast({"user_id": pl.Int64, "age": pl.Int64}),
        items=items.with_columns(year=pl.coalesce("year", raw.select(dates.dt.year()).to_series())),
        extras={"release": raw.select(pl.col("item_id").cast(pl.Int64), dates, "imdb_url")},
    )


def _parse_colons(name: str, files: _Files) -> Log:
    """``ratings.dat``, ``movies.dat`` (and ``users.dat``, ``tags.dat``) with ``::`` between the columns."""
    encoding = "latin-1" if name == "ml-1m" else "utf-8"
    content = files.read("ratings.dat").replace(b"::", b"\t")
    ratings = _typed_csv(content, "\t", header=None, origin=f"{files.path}: ratings.dat")
    movies = _colon_lines(files, "movies.dat", encoding, r"^(?<item_id>\d+)::(?<title>.*)::(?<genres>[^:]*)$")
    users, extras = None, {}
    if name == "ml-1m":
        pattern = r"^(?<user_id>\d+)::(?<gender>[^:]*)::(?<age>\d+)::(?<occupation>\d+)::(?<zip_code>[^:]*)$"
        users = _colon_lines(files, "users.dat", encoding, pattern).select(
            pl.col("user_id", "age").cast(pl.Int64),
            "gender",
            pl.col("occupation").replace_strict({str(i): o for i, o in enumerate(_OCCUPATIONS_1M)}),
            "zip_code",
        )
    if "tags.dat" in files:
        pattern = r"^(?<user_id>\d+)::(?<item_id>\d+)::(?<tag>.*)::(?<timestamp>\d+)$"
        tags = _colon_lines(files, "tags.dat", encoding, pattern)
        extras["tags"] = tags.cast({"user_id": pl.Int64, "item_id": pl.Int64, "timestamp": pl.Int64})
    return _log(name, files, ratings, users=users, items=_movies(movies), extras=extras)


def _parse_csv(name: str, files: _Files) -> Log:
    """``ratings.csv``, ``movies.csv``, ``tags.csv``, ``links.csv``: quoted UTF-8 with a header."""

    def table(kind: str) -> pl.DataFrame:
        header, shape = _CSV[kind]
        content, origin = files.read(f"{kind}.csv"), f"{files.path}: {kind}.csv"
        return _typed_csv(content, ",", header=header, origin=origin, shape=shape)

    movies = read_text(
        files.read("movies.csv"), separator=",", header=True, origin=f"{files.path}: movies.csv"
    )
    extras = {kind: table(kind) for kind in ("tags", "links") if f"{kind}.csv" in files}
    items = _movies(movies.rename({"movieId": "item_id"}))
    return _log(name, files, table("ratings"), items=items, extras=extras, first_row=2)


def _parse_mirror(wheel: Path) -> Log:
    """ML-100K out of the RecBole atomic files in the wheel: the same ratings in the same order."""
    folder = "recbole/dataset_example/ml-100k/ml-100k."
    tables = {}
    with zipfile.ZipFile(wheel) as archive:
        for kind in ("inter", "item", "user", "kg", "link"):
            table = read_text(
                archive.read(folder + kind),
                separator="\t",
                header=True,
                origin=f"{wheel}: ml-100k.{kind}",
                quote_char=None,
            )
            tables[kind] = table.rename({c: c.partition(":")[0] for c in table.columns})
    items = tables["item"].rename({"class": "genres"})
    items = items.with_columns(genre_lists(items["genres"], blanks=True))
    items = catalogue(items, entity="item", origin=str(wheel), typed=False)
    # The mirror misspells one title and leaves the year in another: as in the official file again.
    title, year = _title_and_year(pl.col("title").str.strip_chars().replace("unkonwn", "unknown"))
    items = items.with_columns(title, pl.coalesce("year", year)).select("item_id", "title", "year", "genres")
    return Log(
        interactions=tables["inter"].select(pl.col(c).cast(pl.Float64).cast(t) for c, t in _RATINGS.items()),
        users=tables["user"].cast({"user_id": pl.Int64, "age": pl.Int64}),
        items=items,
        name="ml-100k",
        rating_scale=EDITIONS["ml-100k"].scale,
        origin=f"{wheel}: ml-100k.inter",
        citation=CITATION,
        extras={"kg": tables["kg"], "link": tables["link"].cast({"item_id": pl.Int64})},
        first_row=2,
    )


def _log(name: str, files: _Files, ratings: pl.DataFrame, **rest: Any) -> Log:
    """The parts of an edition as a log."""
    scale = EDITIONS[name.partition(" ")[0]].scale
    return Log(
        interactions=ratings, name=name, rating_scale=scale, origin=str(files.path), citation=CITATION, **rest
    )


def _typed_csv(
    content: bytes, separator: str, *, header: bytes | None, origin: str, shape: Mapping[str, Any] = _RATINGS
) -> pl.DataFrame:
    """A table with its types at once, several times faster than text first; ``header`` must be on top."""
    if header is not None and not content.startswith(header):
        raise DataError(f"{origin} should begin with {header.decode()!r}. Got {content[:60]!r} instead.")
    quote = '"' if pl.String in shape.values() else None
    skip = 0 if header is None else 1
    try:
        return pl.read_csv(
            content,
            separator=separator,
            has_header=False,
            skip_rows=skip,
            schema=dict(shape),
            quote_char=quote,
        )
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{origin} does not have the official format ({', '.join(shape)}): {error}."
        ) from None


def _tab_ratings(files: _Files, member: str) -> pl.DataFrame:
    return _typed_csv(files.read(member), "\t", header=None, origin=f"{files.path}: {member}")


def _bars(files: _Files, member: str, columns: list[str]) -> pl.DataFrame:
    """A latin-1 table with ``|`` between the columns, as text."""
    content = files.read(member).decode("latin-1").encode()
    return read_text(
        content, separator="|", header=columns, origin=f"{files.path}: {member}", quote_char=None
    )


def _colon_lines(files: _Files, member: str, encoding: str, pattern: str) -> pl.DataFrame:
    """Lines cut by a pattern, because free text may hold the delimiter too."""
    content = files.read(member).decode(encoding).replace("\r\n", "\n")
    lines = pl.Series(
        "line", content.removesuffix("\n").split("\n")
    )  # free text may hold what Unicode calls a line end
    table = lines.str.extract_groups(pattern).struct.unnest()
    if (bad := table.to_series(0).is_null()).any():
        row = int(bad.arg_max() or 0)
        raise DataError(
            f"{files.path}: {member}, line {row + 1} is not as in the official file: {lines[row]!r}."
        )
    return table


def _movies(table: pl.DataFrame) -> pl.DataFrame:
    """``item_id, title, year, genres`` out of text columns ``item_id, title, genres``."""
    listed = pl.when(pl.col("genres") == "(no genres listed)").then(pl.lit("")).otherwise(pl.col("genres"))
    genres = genre_lists(table.select(listed.alias("genres")).to_series())
    title = pl.col("title").str.strip_chars()
    return table.select(pl.col("item_id").cast(pl.Int64), *_title_and_year(title), genres)


def _title_and_year(title: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """``Toy Story (1995)`` -> ``Toy Story`` and 1995; a title without a year stays whole."""
    pattern = r"\s*\((\d{4})\)(?: \(V\))?$"  # (V): went to video
    return title.str.replace(pattern, "").alias("title"), title.str.extract(pattern).cast(pl.Int32).alias(
        "year"
    )


def _zip_path(name: str) -> Path:
    return cache_dir() / "movielens" / f"{name}.zip"


def _mirror_path() -> Path:
    return cache_dir() / "movielens" / MIRROR_FILE


def _official(name: str) -> Path:
    """The official zip in the cache, downloaded if need be."""
    sha256 = EDITIONS[name].sha256
    return fetch(URL.format(name=name), _zip_path(name), checksum=f"sha256:{sha256}" if sha256 else None)


def _download_mirror(official: FetchError) -> Path:
    """The wheel with ML-100K in the cache."""
    try:
        return wheels.download(MIRROR, _mirror_path(), sha256=MIRROR_SHA256)
    except FetchError as error:
        raise FetchError(f"{official} Its mirror on PyPI failed as well. {error}") from None
