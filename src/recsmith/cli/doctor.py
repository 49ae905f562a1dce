"""``recsmith doctor``: what this machine offers, and what about it will hurt."""

from __future__ import annotations

import os
import platform
import re
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from recsmith.cli.console import Output, facts, line, megabytes
from recsmith.cli.options import Json
from recsmith.errors import FetchError
from recsmith.redaction import redacted
from recsmith.tables import text_of
from recsmith.variables import VARIABLES
from recsmith.version import __version__

_LIBRARIES = (
    "numpy",
    "scipy",
    "numba",
    "polars",
    "narwhals",
    "pydantic",
    "safetensors",
    "threadpoolctl",
    "typer",
    "rich",
)
_VARIABLES = (
    *VARIABLES, "NUMBA_CACHE_DIR", "NUMBA_DISABLE_JIT", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
)  # fmt: skip
_LITTLE_MEMORY_MB = 1024


def doctor(as_json: Json = False) -> None:
    """Versions, cores, memory, cache folder and extras; needs no network."""
    report = examine()
    shown = [facts(title, _lines(part)) for title, part in report.items() if part and title != "warnings"]
    words = [line(f"Warning: {text}") for text in report["warnings"]] or [line("Nothing to worry about.")]
    Output(as_json).show(report, *shown, *words)


def examine() -> dict[str, Any]:
    """Everything that ``doctor`` shows, JSON-able; ``warnings`` are sentences."""
    report = {
        "versions": _versions(),
        "cores": _cores(),
        "blas": _blas(),
        "memory": _memory(),
        "folders": _folders(),
        "extras": _extras(),
        "environment": {name: redacted(os.environ[name]) for name in _VARIABLES if name in os.environ},
    }
    return report | {"warnings": _warnings(report)}


def _versions() -> dict[str, str]:
    found = {"recsmith": __version__, "python": platform.python_version(), "platform": platform.platform()}
    return found | {name: _version(name) or "missing" for name in _LIBRARIES}


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _cores() -> dict[str, int]:
    from recsmith import parallel

    return {"machine": os.cpu_count() or 1, "usable": parallel.cores(), "threads": parallel.n_threads()}


def _blas() -> list[dict[str, Any]]:
    import scipy.linalg  # noqa: F401  (loads the BLAS)
    from threadpoolctl import threadpool_info

    keys = ("internal_api", "version", "num_threads", "threading_layer", "architecture")
    return [
        {key: pool.get(key) for key in keys} for pool in threadpool_info() if pool.get("user_api") == "blas"
    ]


def _memory() -> dict[str, float | None]:
    from recsmith.resources import available_mb, resident_mb

    return {"available_mb": available_mb(), "this_process_mb": resident_mb()}


def _folders() -> dict[str, Any]:
    from recsmith.data.sources.fetch import cache_dir

    try:
        cache = cache_dir()
    except FetchError:  # no home folder
        cache = None
    files = cache.rglob("*") if cache is not None and cache.is_dir() else ()
    size = sum(f.stat().st_size for f in files if f.is_file())
    kernels = _kernel_folder()
    return {
        "data": None if cache is None else str(cache),
        "data_size_mb": round(size / 2**20, 1),
        "data_writable": cache is not None and _writable(cache),
        "kernels": None if kernels is None else str(kernels),
        "kernels_writable": kernels is not None and _writable(kernels),
    }


def _kernel_folder() -> Path | None:
    """Where numba keeps compiled code; None where it found no place."""
    from recsmith import topk

    kernels = [
        value for value in vars(topk).values() if hasattr(value, "py_func") and hasattr(value, "stats")
    ]
    return Path(kernels[0].stats.cache_path) if kernels and kernels[0].stats.cache_path else None


def _writable(folder: Path) -> bool:
    """Whether files can be made there, or in the nearest folder above that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _extras() -> dict[str, dict[str, Any]]:
    """Each extra with what is missing of it."""
    found: dict[str, dict[str, Any]] = {}
    for wanted in metadata.requires("recsmith") or []:
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", wanted)
        name = re.match(r"[A-Za-z0-9._-]+", wanted)
        if extra is None or name is None:
            continue
        entry = found.setdefault(extra[1], {"installed": True, "missing": []})
        if _version(name[0]) is None:
            entry["installed"] = False
            entry["missing"].append(name[0])
    return found


def _warnings(report: dict[str, Any]) -> list[str]:
    """Set-ups that are known to fail or to be slow."""
    cores, folders, free = report["cores"], report["folders"], report["memory"]["available_mb"]
    layers = {pool["internal_api"] for pool in report["blas"]}
    threads = [pool["num_threads"] for pool in report["blas"] if pool["num_threads"]]
    more_threads = cores["threads"] > cores["usable"]
    held = bool(threads) and max(threads) == 1 < cores["usable"]
    checks = (
        (sys.maxsize < 2**32, "This is a 32-bit Python: arrays beyond 2 GB fail."),
        (
            more_threads,
            f"{cores['threads']} threads are asked for (RECSMITH_THREADS) and {cores['usable']} cores may be used: "
            "that is slower than one for each.",
        ),
        (
            os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"),
            "NUMBA_DISABLE_JIT is set: everything runs a hundred times slower. Unset it.",
        ),
        (
            not layers,
            "No optimized BLAS was found: matrix products are slow. Install numpy and scipy from wheels.",
        ),
        (
            len(layers) > 1,
            f"Several kinds of BLAS are loaded ({', '.join(sorted(layers))}): they may take one another's cores.",
        ),
        (held, "An environment variable holds BLAS to one thread: models with a matrix inverse are slow."),
        (free is not None and free < _LITTLE_MEMORY_MB, f"Only {megabytes(free)} of memory are free."),
        (
            not folders["data_writable"],
            f"{folders['data'] or 'The home folder'} cannot be written: data sets cannot be fetched. "
            "Set RECSMITH_DATA_DIR.",
        ),
        (
            not folders["kernels_writable"],
            "Compiled code cannot be kept, so every start compiles what it uses again, for up to half a minute. "
            "Set NUMBA_CACHE_DIR to a folder that can be written.",
        ),
    )
    return [text for holds, text in checks if holds]


def _lines(part: Any) -> dict[str, str]:
    """A part of the report as names and words."""
    if isinstance(part, list):
        return {
            str(p["internal_api"]): f"{p['version']}, {p['num_threads']} threads, {p['architecture']}"
            for p in part
        }
    lines = {}
    for name, value in part.items():
        if isinstance(value, dict):
            words = "installed" if value["installed"] else f"missing: {', '.join(value['missing'])}"
        elif name.endswith("_mb"):
            words = megabytes(value)
        else:
            words = "none" if value is None else text_of(value)
        lines[name if name.isupper() else name.removesuffix("_mb").replace("_", " ")] = words
    return lines
