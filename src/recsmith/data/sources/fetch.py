"""Downloads: resumed where they broke off, verified against a pinned checksum, renamed when complete."""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from recsmith.errors import FetchError, ParameterError

CHUNK = 1 << 20  #: bytes read at a time
CONNECT_TIMEOUT = 5.0  #: seconds to wait for a connection, or for the next bytes
ATTEMPTS = 5  #: broken downloads in a row that brought nothing new before giving up


def cache_dir() -> Path:
    """The folder that downloads go to: ``RECSMITH_DATA_DIR``, or the platform's folder for user caches.

    Raises
    ------
    FetchError
        There is neither: the user has no home folder.
    """
    if chosen := os.environ.get("RECSMITH_DATA_DIR"):
        return Path(chosen).expanduser()
    try:
        return _user_cache_dir()
    except RuntimeError:  # of Path.home
        raise FetchError(
            "This user has no home folder to keep data sets in. Set RECSMITH_DATA_DIR to a folder that can be written."
        ) from None


def _user_cache_dir() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "recsmith"
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "recsmith" / "cache"
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".cache") / "recsmith"


def verify(path: Path, checksum: str) -> None:
    """Compare a file with ``checksum``, written ``sha256:HEX`` or ``md5:HEX``.

    Raises
    ------
    FetchError
        The file is a different one.
    ParameterError
        ``checksum`` is not written that way.
    """
    algorithm, _, wanted = checksum.partition(":")
    if algorithm not in ("sha256", "md5") or not wanted:
        raise ParameterError.of("verify", "checksum", "'sha256:HEX' or 'md5:HEX'", checksum)
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    if digest.hexdigest() != wanted.lower():
        raise FetchError(
            f"{path.name} does not match its checksum: {algorithm} should be {wanted}, "
            f"got {digest.hexdigest()}. It was damaged on the way, or its publisher replaced it."
        )


def fetch(
    url: str,
    target: Path,
    *,
    checksum: str | None = None,
    timeout: float = CONNECT_TIMEOUT,
    progress: bool = True,
) -> Path:
    """Download ``url`` to ``target``; a file that is already there is taken as it is.

    Bytes go to ``target`` + ``.part``. A broken connection is resumed there (HTTP Range), in this call
    and, where a checksum will tell, in a later one. Only a complete and verified file gets its name.

    Parameters
    ----------
    url
        An ``http`` or ``https`` address.
    checksum
        ``sha256:HEX`` or ``md5:HEX``. None for files which their publisher changes: a download of an
        earlier call is then not resumed.
    timeout
        Seconds to wait for a connection and, later, for the next bytes.
    progress
        Show a bar on standard error, if that is a terminal.

    Raises
    ------
    FetchError
        The host cannot be reached, refuses, breaks off for good, or sends a different file.
    """
    if not url.startswith(("https://", "http://")):
        raise ParameterError.of("fetch", "url", "an http or https address", url)
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    if checksum is None:
        part.unlink(missing_ok=True)
    _download(url, part, timeout=timeout, progress=progress)
    if checksum is not None:
        try:
            verify(part, checksum)
        except FetchError as error:
            part.unlink()
            raise FetchError(f"{url}: {error} It was deleted; run the command again.") from None
    part.replace(target)
    return target


def _download(url: str, part: Path, *, timeout: float, progress: bool) -> None:
    """Fill ``part``, resuming as long as each attempt brings something new."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    failures = 0
    with Progress(
        *columns, console=console, transient=True, disable=not (progress and console.is_terminal)
    ) as bar:
        task = bar.add_task(part.name.removesuffix(".part"), total=None)
        while True:
            before = _size(part)
            try:
                if _attempt(url, part, timeout, bar, task):
                    return
                reason = "the connection was closed before the end"
            except urllib.error.HTTPError as error:
                raise FetchError(
                    f"{url}: the server answered {error.code} {error.reason}. {_by_hand(part)}"
                ) from None
            except (OSError, http.client.HTTPException) as error:
                reason = str(getattr(error, "reason", error)) or type(error).__name__
                if _size(part) == before == 0:
                    raise FetchError(f"{url} cannot be reached: {reason}. {_by_hand(part)}") from None
            failures = 0 if _size(part) > before else failures + 1
            if failures >= ATTEMPTS:
                raise FetchError(
                    f"{url} broke off after {_size(part):,} bytes: {reason}. What came is kept in {part}; "
                    "run the command again to go on from there."
                )


def _attempt(url: str, part: Path, timeout: float, bar: Progress, task: TaskID) -> bool:
    """One request; True if ``part`` is complete afterwards."""
    have = _size(part)
    headers = {"User-Agent": "recsmith", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise
        if error.headers.get("Content-Range", "").endswith(f"/{have}"):
            return True  # an earlier call got everything
        part.unlink()
        return False
    with response:
        resumed = response.status == http.client.PARTIAL_CONTENT and have > 0
        start = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        bar.update(task, total=total, completed=start)
        with part.open("ab" if resumed else "wb") as file:
            _copy(response, file, bar, task)
    return total is None or _size(part) >= total


def _copy(response: http.client.HTTPResponse, file: BinaryIO, bar: Progress, task: TaskID) -> None:
    """Write what comes as it comes, so that what came before a break is kept."""
    while block := response.read1(CHUNK):
        file.write(block)
        bar.advance(task, len(block))


def _size(path: Path) -> int:
    """Bytes of a file, 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def _by_hand(part: Path) -> str:
    """The way out for a machine without a connection."""
    target = part.with_name(part.name.removesuffix(".part"))
    return f"Check network and proxy (https_proxy), or download it elsewhere and put it at {target}."
