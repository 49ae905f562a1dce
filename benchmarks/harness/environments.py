"""An environment for each peer, made from the exact pins beside its runner."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from harness.cell import OURS

_PYTHON = re.compile(r"^# python: (\d+\.\d+)$", re.MULTILINE)


class PeerError(Exception):
    """A peer that could not be installed, started or heard to the end; the message is one line."""


@dataclass(frozen=True)
class Peers:
    """The folder with a folder for each peer, and where the environments lie."""

    folder: Path
    environments: Path

    def names(self) -> list[str]:
        """Every peer that has a runner."""
        return sorted(p.parent.name for p in self.folder.glob("*/runner.py") if p.parent.name != OURS)

    def command(self, name: str) -> list[str]:
        """What starts the runner of ``name``; the environment is made where it is missing or out of date.

        Raises
        ------
        PeerError
            Where the installation fails: the last line of its error.
        """
        runner = str(self.folder / name / "runner.py")
        return [sys.executable if name == OURS else str(self._python(name)), runner]

    def _python(self, name: str) -> Path:
        requirements = self.folder / name / "requirements.txt"
        if not requirements.exists():
            raise PeerError(f"{name} has no requirements.txt in {self.folder / name}")
        folder = self.environments / name
        python, stamp = folder / "bin" / "python", folder / ".installed"
        text = requirements.read_text()
        if not stamp.exists() or stamp.read_text() != text:
            print(f"making the environment of {name}", file=sys.stderr)
            _run([_interpreter(text), "-m", "venv", "--clear", str(folder)])
            _run([str(python), "-m", "pip", "install", "-q", "-r", str(requirements)])
            stamp.write_text(text)
        return python


def _interpreter(requirements: str) -> str:
    """The Python that the line ``# python: X.Y`` asks for, where it is to be found; else this one."""
    wanted = _PYTHON.search(requirements)
    if wanted is None or wanted[1] == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    return shutil.which(f"python{wanted[1]}") or sys.executable


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PeerError(last_line(done.stderr) or last_line(done.stdout) or f"{command[0]} failed")


def last_line(text: str) -> str:
    """The last line with something on it, of what a person needs: pip's own notices are passed over."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("[notice]", "WARNING:"))]
    return (telling or lines or [""])[-1]
