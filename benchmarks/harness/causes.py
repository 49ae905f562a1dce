"""Why a row is not as wanted, where that is known: (cell, peer), or (cell, "") for all peers of a cell."""

from __future__ import annotations

_USER_KNN = (
    "LensKit's fit keeps the matrix as it is; recsmith's turns it into an index by item, and its lists then take a "
    "fiftieth of LensKit's time"
)

_BPR = (
    "after the passes recsmith learns the users once more with the items fixed, 50 passes that a new user gets, too; "
    "at the same size and epochs its lists are better than the peer's"
)
_POPULAR = "both count events; recsmith's 4 ms include the weighting of the log, irspack's 2 ms start from its matrix"

CAUSES: dict[tuple[str, str], str] = {
    ("user-knn-ml-100k", "lenskit"): _USER_KNN,
    ("user-knn-ml-1m", "lenskit"): _USER_KNN,
    ("bpr-ml-100k", "implicit"): _BPR,
    ("bpr-ml-100k", "cornac"): _BPR,
    ("popular-gowalla", "irspack"): _POPULAR,
}
