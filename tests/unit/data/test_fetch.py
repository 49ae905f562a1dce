"""Downloads against a real server on this machine: resume, checksum, broken connections."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from recsmith.data.sources.fetch import cache_dir, fetch, verify
from recsmith.errors import FetchError, ParameterError

CONTENT = os.urandom(300_000)
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT; ``cut`` bytes at most per answer, ``ranges`` honoured or not."""

    daemon_threads = True
    cut = len(CONTENT)
    ranges = True
    asked: list[str | None]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/data.zip"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        if self.path != "/data.zip":
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.ranges else 0
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        self.wfile.write(CONTENT[start : start + self.server.cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.asked = []
        thread = Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_download_is_verified_and_kept(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "data.zip"
    assert fetch(server.url, target, checksum=SHA256) == target
    assert target.read_bytes() == CONTENT
    assert [p.name for p in target.parent.iterdir()] == ["data.zip"]
    fetch(server.url, target, checksum=SHA256)
    assert len(server.asked) == 1


def test_broken_connection_is_resumed(server: Server, tmp_path: Path) -> None:
    server.cut = 100_000
    fetch(server.url, tmp_path / "data.zip", checksum=SHA256)
    assert (tmp_path / "data.zip").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=200000-"]


def test_partial_file_of_an_earlier_call_is_resumed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.zip.part").write_bytes(CONTENT[:1234])
    fetch(server.url, tmp_path / "data.zip", checksum=SHA256)
    assert (tmp_path / "data.zip").read_bytes() == CONTENT
    assert server.asked == ["bytes=1234-"]


def test_complete_partial_file_needs_only_its_name(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.zip.part").write_bytes(CONTENT)
    fetch(server.url, tmp_path / "data.zip", checksum=SHA256)
    assert (tmp_path / "data.zip").read_bytes() == CONTENT


def test_server_without_ranges_starts_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "data.zip.part").write_bytes(b"x" * 500)
    fetch(server.url, tmp_path / "data.zip", checksum=SHA256)
    assert (tmp_path / "data.zip").read_bytes() == CONTENT


def test_without_checksum_an_old_partial_file_is_not_trusted(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.zip.part").write_bytes(b"x" * 500)
    fetch(server.url, tmp_path / "data.zip")
    assert (tmp_path / "data.zip").read_bytes() == CONTENT
    assert server.asked == [None]


def test_connection_that_brings_nothing_gives_up_and_keeps_what_came(server: Server, tmp_path: Path) -> None:
    server.cut = 0
    (tmp_path / "data.zip.part").write_bytes(CONTENT[:10])
    with pytest.raises(FetchError, match=r"broke off after 10 bytes.*run the command again"):
        fetch(server.url, tmp_path / "data.zip", checksum=SHA256)
    assert (tmp_path / "data.zip.part").read_bytes() == CONTENT[:10]


def test_wrong_checksum_is_refused_and_deleted(server: Server, tmp_path: Path) -> None:
    with pytest.raises(
        FetchError, match=r"does not match its checksum: sha256 should be 0+, got [0-9a-f]{64}"
    ):
        fetch(server.url, tmp_path / "data.zip", checksum="sha256:" + "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_refusal_of_the_server_is_told(server: Server, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="answered 404"):
        fetch(server.url + ".no", tmp_path / "data.zip")


def test_unreachable_host_says_what_to_do(server: Server, tmp_path: Path) -> None:
    url = server.url
    server.server_close()
    with pytest.raises(FetchError, match=r"cannot be reached.*put it at .*data.zip"):
        fetch(url, tmp_path / "data.zip", timeout=1)


def test_only_http_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="http or https"):
        fetch("file:///etc/hostname", tmp_path / "x")


def test_verify_knows_md5_and_refuses_other_forms(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    verify(path, "md5:900150983cd24fb0d6963f7d28e17f72")
    with pytest.raises(ParameterError, match="checksum"):
        verify(path, "900150983cd24fb0d6963f7d28e17f72")


def test_cache_dir_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RECSMITH_DATA_DIR", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("RECSMITH_DATA_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    for platform, ending in (
        ("linux", "xdg/recsmith"),
        ("darwin", "Caches/recsmith"),
        ("win32", "local/recsmith/cache"),
    ):
        monkeypatch.setattr(sys, "platform", platform)
        assert cache_dir().as_posix().endswith(ending)


def test_no_home_folder_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("RECSMITH_DATA_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    with pytest.raises(FetchError, match="Set RECSMITH_DATA_DIR"):
        cache_dir()
