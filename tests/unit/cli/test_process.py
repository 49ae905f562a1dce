"""The real command in a process of its own: start, interrupts, pipes, a disk that is full."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = (sys.executable, "-c", "from recsmith.cli.main import run; run()")


def run(*arguments, **options):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=60, **options
    )


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """A bundle with so many users that lists for all of them take seconds."""
    target = tmp_path_factory.mktemp("large") / "bundle"
    data = "synthetic:users=60000,items=2000,events=300000,seed=1"
    done = run("train", "ials", "--data", data, "--set", "epochs=1", "--out", target, "--json")
    assert done.returncode == 0, done.stderr
    return target


def test_help_imports_nothing_heavy():
    heavy = ["polars", "numba", "scipy", "numpy", "torch", "yaml", "pydantic"]
    script = "import sys; from recsmith.cli.main import main; main(['--help'])"
    script += f"; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


def test_exit_statuses(bundle):
    assert run("--version").returncode == 0
    assert run("recommend", bundle, "--user", "u00").returncode == 0
    assert run("recommend", bundle, "--user", "u00", "--k", "0").returncode == 2
    assert run("nosuch").returncode == 2


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_stop_leaves_nothing_half_written(large, tmp_path, number, status):
    target = tmp_path / "lists.parquet"
    target.write_text("the old one")
    process = subprocess.Popen(
        [*COMMAND, "recommend", str(large), "--all", "--k", "100", "--out", str(target)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob(".lists.parquet.*")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    sent = time.monotonic()
    out, err = process.communicate(timeout=30)
    assert process.returncode == status
    assert time.monotonic() - sent < 10
    assert (out, "Traceback" in err) == ("", False)
    assert "Stopped" in err
    assert [p.name for p in tmp_path.iterdir()] == ["lists.parquet"]
    assert target.read_text() == "the old one"


def limited(size):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


@pytest.mark.skipif(sys.platform == "win32", reason="no resource limits")
def test_no_room_for_the_lists(large, tmp_path):
    for suffix in (".parquet", ".csv"):
        done = run(
            "recommend", large, "--all", "--out", tmp_path / f"lists{suffix}", preexec_fn=limited(200_000)
        )
        assert done.returncode == 1, done.stderr
        assert "File too large" in done.stderr
        assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="no resource limits")
def test_no_room_for_a_bundle(large, tmp_path):
    target = tmp_path / "bundle"
    shutil.copytree(large, target)
    before = (target / "manifest.json").read_bytes()
    data = "synthetic:users=2000,items=500,events=20000,seed=1"
    done = run("train", "ease", "--data", data, "--out", target, preexec_fn=limited(200_000))
    assert done.returncode == 1, done.stderr
    assert "could not be written" in done.stderr
    assert (target / "manifest.json").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]
    assert run("info", target).returncode == 0


def test_a_reader_that_goes_away(bundle):
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.Popen(
        [*COMMAND, "info", str(bundle)], stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_standard_output_on_a_full_disk(bundle, as_json, unbuffered):
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "info", str(bundle), *as_json],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            env=environment,
        )
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Exception ignored" not in done.stderr
    assert "Traceback" not in done.stderr


def test_letters_that_standard_output_does_not_have(bundle):
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = run("recommend", bundle, "--user", "Zoë", env=ascii_only)
    assert (done.returncode, "Zo\\xeb" in done.stdout) == (0, True)
    done = run("recommend", bundle, "--user", "Zoë", "--json", env=ascii_only)
    assert json.loads(done.stdout)["lists"][0]["user_id"] == "Zoë"
