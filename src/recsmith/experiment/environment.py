"""Where a run ran and on what: enough to do it again."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import distributions
from typing import Any

from recsmith import parallel
from recsmith.data.dataset import Dataset
from recsmith.data.split import Split
from recsmith.evaluation.answers import fingerprint

_GIT_SECONDS = 10.0


def environment(split: Split) -> dict[str, Any]:
    """Versions, platform, git commit of the working folder, fingerprints of data and split, as JSON values."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": parallel.n_threads(),
        "git": git_state(),
        "train": _about(split.train),
        "split": {"name": split.name, "users": len(split.queries), "fingerprint": fingerprint(split)},
        "packages": packages(),
    }


def packages() -> dict[str, str]:
    """Name and version of every installed distribution."""
    found = {dist.metadata["Name"]: dist.version for dist in distributions() if dist.metadata["Name"]}
    return dict(sorted(found.items(), key=lambda pair: pair[0].lower()))


def git_state() -> dict[str, Any] | None:
    """Commit of the working folder, and whether anything there differs from it; None outside of a git repository."""
    commit = _git("rev-parse", "HEAD")
    return None if commit is None else {"commit": commit, "dirty": bool(_git("status", "--porcelain"))}


def cuda_device() -> str | None:
    """Name of the graphics card; None where PyTorch is not in use or finds none."""
    torch = sys.modules.get("torch")
    return str(torch.cuda.get_device_name()) if torch is not None and torch.cuda.is_available() else None


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, timeout=_GIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _about(train: Dataset) -> dict[str, Any]:
    return {
        "name": train.name,
        "users": train.n_users,
        "items": train.n_items,
        "events": len(train),
        "fingerprint": train.fingerprint(),
    }
