"""What a request costs, before anything is done for it: one measure for what is refused, what is expensive, and shares.

The unit is a place of a plain list, some microseconds. What a request has to look at is counted, not what it finds, so
the cost of a request is the same each time.
"""

from __future__ import annotations

from collections.abc import Sequence

from recsmith.errors import ParameterError
from recsmith.serving.filters import Filter
from recsmith.serving.schemas import RecommendRequest

QUICK = 200  #: a request that costs more is expensive, and is answered beside the others
PIECE = 2_000  #: of a batch that is answered at a time

_LIST = 50  # a list, however short
_REASONS, _REASON = 200, 10  # a list with reasons, and each place of it
_IDS = 10  # ids of a request that cost as much as a place
_ROWS = 50  # items that are looked at, by a condition of a filter, which cost as much as a place


def cost(request: RecommendRequest, n_items: int) -> int:
    """The cost of a list.

    Parameters
    ----------
    request
        The request.
    n_items
        Items of the catalogue, which filters look at.

    Raises
    ------
    ParameterError
        Its filters cannot be read.
    """
    k = request.num_recommendations
    ids = len(request.exclude_items) + len(request.include_items or ()) + len(request.context.recent_items)
    total = _LIST + k + ids // _IDS
    if request.explain:
        total += _REASONS + (_REASON - 1) * k
    if request.filters:
        total += Filter.parse(request.filters).conditions * scan(n_items)
    return total


def scan(n_items: int) -> int:
    """The cost of a look at each of ``n_items`` items."""
    return 1 + n_items // _ROWS


def check(costs: Sequence[int], most: int) -> None:
    """Refuse a call that costs more than ``most`` in all.

    Raises
    ------
    ParameterError
        It does; the message says what can be sent instead.
    """
    total = sum(costs)
    if total <= most:
        return
    if len(costs) > 1 and (at_once := most * len(costs) // total):
        remedy = f"Send some {at_once} of these {len(costs)} requests at a time"
    else:
        remedy = "Send fewer conditions"
    raise ParameterError(
        f"The work of this call must be at most {most} places of a list. Got {total}. {remedy}, a smaller "
        "num_recommendations, or leave out the reasons (explain)."
    )


def pieces(costs: Sequence[int]) -> list[slice]:
    """Neighbouring requests that are answered at a time: of at most ``PIECE`` together, or a single one."""
    out, start, total = [], 0, 0
    for at, one in enumerate(costs):
        if at > start and total + one > PIECE:
            out.append(slice(start, at))
            start, total = at, 0
        total += one
    return [*out, slice(start, len(costs))] if costs else []
