"""Why a row is not as wanted, where that is known: (cell, peer), or (cell, "") for all peers of a cell."""

from __future__ import annotations

CAUSES: dict[tuple[str, str], str] = {}
