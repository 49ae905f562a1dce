"""Why a row is not as wanted, where that is known: (cell, peer), or (cell, "") for all peers of a cell."""

from __future__ import annotations

_USER_KNN = (
    "LensKit's fit keeps the matrix as it is; recsmith's turns it into an index by item, and its lists then take a "
    "fiftieth of LensKit's time"
)

CAUSES: dict[tuple[str, str], str] = {
    ("user-knn-ml-100k", "lenskit"): _USER_KNN,
    ("user-knn-ml-1m", "lenskit"): _USER_KNN,
}
