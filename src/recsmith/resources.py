"""What a piece of work used, and what the machine still has: seconds and megabytes (2**20 bytes)."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_STATM = Path("/proc/self/statm")
_MEMINFO = Path("/proc/meminfo")
_CGROUPS = Path("/sys/fs/cgroup")
_MB = 2**20
_INTERVAL = 0.01  # seconds between two looks at the resident memory


@dataclass(slots=True)
class Usage:
    """What a block of code used; complete once the block has ended."""

    seconds: float = 0.0  #: wall-clock time
    peak_mb: float | None = None  #: largest resident memory of the process seen in the block; None: not known
    start_mb: float | None = None  #: resident memory when the block began; None: not known

    @property
    def grown_mb(self) -> float | None:
        """How far the peak rose above the start, >= 0."""
        if self.peak_mb is None or self.start_mb is None:
            return None
        return max(self.peak_mb - self.start_mb, 0.0)


@contextmanager
def measure() -> Iterator[Usage]:
    """Measure the wall time and the peak resident memory of the ``with`` block.

    A thread looks at the process every 10 ms, so a peak shorter than that may be missed. Blocks may be
    nested. Where there is no ``/proc`` the peak is that of the whole process so far (``getrusage``), and on
    a system without that it is None.

    Yields
    ------
    Usage
        Filled when the block ends, also where it ends with an error.
    """
    usage = Usage(start_mb=resident_mb())
    usage.peak_mb = usage.start_mb
    done = threading.Event()
    sampler = threading.Thread(target=_sample, args=(usage, done), name="memory-sampler", daemon=True)
    if _STATM.exists():
        sampler.start()
    start = time.perf_counter()
    try:
        yield usage
    finally:
        usage.seconds = time.perf_counter() - start
        done.set()
        if sampler.is_alive():
            sampler.join()
        _look(usage)


def resident_mb() -> float | None:
    """Resident memory of this process now; without ``/proc`` its peak so far; None where neither is known."""
    try:
        pages = int(_STATM.read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return _peak_so_far_mb()
    return pages * os.sysconf("SC_PAGE_SIZE") / _MB


def available_mb() -> float | None:
    """Memory that this process may still take without swapping: what the machine or its cgroup has left.

    None on systems other than Linux.
    """
    try:
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text(encoding="ascii").splitlines())
        machine = int(lines["MemAvailable"].split()[0]) / 1024
    except (OSError, KeyError, ValueError):
        return None
    return min([machine, *_cgroup_rooms_mb()])


def _sample(usage: Usage, done: threading.Event) -> None:
    while not done.wait(_INTERVAL):
        _look(usage)


def _look(usage: Usage) -> None:
    now = resident_mb()
    if now is not None and (usage.peak_mb is None or now > usage.peak_mb):
        usage.peak_mb = now


def _peak_so_far_mb() -> float | None:
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / _MB if sys.platform == "darwin" else peak / 1024


def _cgroup_rooms_mb() -> list[float]:
    """What each enclosing cgroup with a limit has left (version 2, then 1)."""
    rooms = []
    for group in _own_cgroups():
        for limit_name, used_name in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, used = _number(group / limit_name), _number(group / used_name)
            if limit is not None and used is not None:
                rooms.append(max(limit - used + _reclaimable(group), 0) / _MB)
    return rooms


def _own_cgroups() -> list[Path]:
    """This process's cgroup directories and their parents."""
    groups = [_CGROUPS, _CGROUPS / "memory"]
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return groups
    for line in lines:
        _, controllers, path = line.split(":", 2)
        root = _CGROUPS if not controllers else _CGROUPS / "memory"
        if not controllers or "memory" in controllers.split(","):
            own = root / path.lstrip("/")
            groups += [g for g in (own, *own.parents) if g.is_relative_to(root) and g not in groups]
    return groups


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such file, or "max"
        return None


def _reclaimable(group: Path) -> int:
    """Bytes of cached files that the kernel gives back under pressure."""
    try:
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
