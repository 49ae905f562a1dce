"""Team-draft interleaving: two rankings in one list, and whose items are clicked.

F. Radlinski, M. Kurup, T. Joachims, "How does clickthrough data reflect retrieval quality?", CIKM 2008, algorithm 2.
Each user sees both rankings, so far fewer users are needed than for an A/B test; what it says is which ranking is
preferred, not by how much a business figure moves.

Credit must not favour a ranking where users click at random. Within a round the coin gives both teams the same chances
at each position, as long as both have an item left whichever way it falls; and how many rounds there are must not
depend on the coins, or a team whose lucky rounds are the last ones would lose by the sign test. So the number of rounds
that are credited is fixed before the draft, by the lengths of the two rankings and the items that they share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from recsmith.errors import ParameterError
from recsmith.evaluation.significance import Interval
from recsmith.kernels import njit
from recsmith.tables import Table
from recsmith.types import BoolArray, IntArray

NOBODY = -1  #: team of a position that is empty, or for which the two rankings did not surely compete


class Draft(NamedTuple):
    """Lists made of two rankings."""

    items: IntArray  #: (n, k) int32, -1 for empty
    teams: IntArray  #: (n, k) int8: 0 the first ranking, 1 the second, -1 nobody


def team_draft(first: IntArray, second: IntArray, k: int, rng: np.random.Generator) -> Draft:
    """Interleave two rankings of each user.

    In each round a coin says who chooses first; each team then takes its best item that is not in the list yet. Once a
    ranking is used up, the other fills the positions that are left. The items of a round belong to their teams where
    both rankings have one left in every possible draft, else to nobody: with ``r`` rounds before, a ranking of ``m``
    items, ``c`` of them in the other too, has lost ``r`` to itself and at most ``min(r + 1, c)`` to the other. Rankings
    of ``k`` items or more are credited at every position.

    Parameters
    ----------
    first, second
        (n, m) and (n, m') item indices, best first, -1 for empty at the end; no item twice in a row.
    k
        Length of the lists, >= 1.
    rng
        Flips the coins.

    Raises
    ------
    ParameterError
        ``k`` below 1, or rankings of different numbers of users.
    """
    first, second = np.atleast_2d(first), np.atleast_2d(second)
    if k < 1:
        raise ParameterError.of("team_draft", "k", ">= 1", k)
    if len(first) != len(second):
        raise ParameterError.of("team_draft", "second", f"of {len(first)} users as first", f"{len(second)}")
    coins = rng.integers(0, 2, size=(len(first), (k + 1) // 2), dtype=np.int8)
    items = np.full((len(first), k), -1, dtype=np.int32)
    teams = np.full((len(first), k), NOBODY, dtype=np.int8)
    _draft(first.astype(np.int32), second.astype(np.int32), coins, items, teams)
    return Draft(items, teams)


@njit(cache=True, nogil=True)
def _draft(first, second, coins, items, teams):  # type: ignore[no-untyped-def]
    """Fill ``items`` and ``teams`` row by row."""
    for row in range(items.shape[0]):
        place = one = two = 0
        taken = items[row]
        credited = 2 * _credited_rounds(first[row], second[row], items.shape[1])
        while place < items.shape[1]:
            one = _next(first[row], one, taken, place)
            two = _next(second[row], two, taken, place)
            has_one, has_two = one < first.shape[1], two < second.shape[1]
            if not (has_one or has_two):
                break
            turn = coins[row, place // 2]
            team = turn if place % 2 == 0 else 1 - turn
            if place < credited:
                teams[row, place] = team
            elif not (has_one and has_two):
                team = 0 if has_one else 1
            items[row, place] = first[row, one] if team == 0 else second[row, two]
            place += 1


@njit(cache=True, nogil=True)
def _credited_rounds(first, second, k):  # type: ignore[no-untyped-def]
    """Rounds in which each ranking has an item left, however the coins fall."""
    mine, others, common = (first >= 0).sum(), (second >= 0).sum(), 0
    for item in first[:mine]:
        for other in second[:others]:
            common += item == other
    rounds = 0
    while 2 * rounds < k:
        before = min(rounds + 1 if 2 * rounds + 1 < k else rounds, common)  # taken by the other team
        if min(mine, others) - rounds - before < 1:
            break
        rounds += 1
    return rounds


@njit(cache=True, nogil=True)
def _next(ranking, start, taken, length):  # type: ignore[no-untyped-def]
    """Position of the first item from ``start`` on that is not taken; the end of the ranking where none is."""
    for position in range(start, len(ranking)):
        item = ranking[position]
        if item < 0:
            return len(ranking)
        free = True
        for place in range(length):
            if taken[place] == item:
                free = False
                break
        if free:
            return position
    return len(ranking)


def credit(teams: IntArray, clicks: BoolArray) -> IntArray:
    """(n, 2) int64 clicks on the items of each team; those of nobody do not count.

    Parameters
    ----------
    teams
        (n, k) as ``team_draft`` gives them.
    clicks
        (n, k) bool: the place was clicked.

    Raises
    ------
    ParameterError
        Arrays of different shapes.
    """
    if teams.shape != clicks.shape:
        raise ParameterError.of("credit", "clicks", f"of the shape {teams.shape}", clicks.shape)
    clicked = clicks.astype(np.bool_)
    return np.column_stack([((teams == team) & clicked).sum(axis=1) for team in (0, 1)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Interleaving:
    """Which of two rankings users preferred."""

    first: int  #: users with more clicks on the first ranking's items
    second: int
    ties: int  #: users with as many on either; with none at all, too
    p: float  #: two-sided sign test over users that are no tie; NaN without one
    share: float  #: of the second ranking among these users
    interval: Interval  #: of the share, Wilson's
    preference: float  #: (second + ties / 2) / all - 1/2, above 0 where the second is preferred

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        share, low, high, p, preference = (
            None if math.isnan(v) else v for v in (self.share, *self.interval, self.p, self.preference)
        )
        return {
            "first": self.first,
            "second": self.second,
            "ties": self.ties,
            "p": p,
            "share": share,
            "interval": [low, high],
            "preference": preference,
        }

    def __rich__(self) -> Table:
        columns = ("prefer first", "prefer second", "ties", "share of second", "95 %", "p")
        row = (
            self.first,
            self.second,
            self.ties,
            self.share,
            f"{self.interval.low:.4f} to {self.interval.high:.4f}",
            self.p,
        )
        return Table("Interleaving: users by whose items they clicked more", columns, [row], numbers=columns)


def compare_clicks(users: IntArray, credits: IntArray, *, alpha: float = 0.05) -> Interleaving:
    """Test whether either ranking is preferred; the users are the units.

    The preference is that of O. Chapelle, T. Joachims, F. Radlinski, Y. Yue, TOIS 30(1), 2012, eq. 1.

    Parameters
    ----------
    users
        (n,) index of the user who saw each list, >= 0; several lists of one user are added up.
    credits
        (n, 2) clicks on the items of each team, as ``credit`` gives them.
    alpha
        1 minus the level of the interval, in (0, 1).

    Raises
    ------
    ParameterError
        Arrays that do not fit, negative counts, or ``alpha`` out of range.
    """
    users, credits = np.asarray(users), np.asarray(credits)
    if credits.shape != (len(users), 2):
        raise ParameterError.of("compare_clicks", "credits", f"of the shape ({len(users)}, 2)", credits.shape)
    if (credits < 0).any():
        raise ParameterError.of("compare_clicks", "credits", ">= 0", int(credits.min()))
    if not 0 < alpha < 1:
        raise ParameterError.of("compare_clicks", "alpha", "in (0, 1)", alpha)
    _, who = np.unique(users, return_inverse=True)
    gap = np.bincount(who, weights=credits[:, 1] - credits[:, 0]) if len(users) else np.zeros(0)
    first, second, ties = (int(n) for n in ((gap < 0).sum(), (gap > 0).sum(), (gap == 0).sum()))
    if first + second == 0:
        nan = math.nan
        return Interleaving(
            first=0, second=0, ties=ties, p=nan, share=nan, interval=Interval(nan, nan), preference=nan
        )
    test = stats.binomtest(second, first + second)
    low, high = test.proportion_ci(1 - alpha, method="wilson")
    return Interleaving(
        first=first,
        second=second,
        ties=ties,
        p=float(test.pvalue),
        share=second / (first + second),
        interval=Interval(float(low), float(high)),
        preference=(second + ties / 2) / len(gap) - 0.5,
    )
