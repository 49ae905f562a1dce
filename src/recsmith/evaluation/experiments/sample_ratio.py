"""Whether the groups have the sizes that they should have: the first thing to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from recsmith.errors import ParameterError
from recsmith.tables import Table

BROKEN_BELOW = 0.001  #: p-value of the check
_LEAST_EXPECTED = 5  # users of a group, for the chi-square distribution to hold


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRatio:
    """Users per variant, beside what the shares promise."""

    counts: Mapping[str, int]
    expected: Mapping[str, float]
    p: float  #: of the chi-square test; NaN with an expected group below 5
    broken: bool  #: p < 0.001

    @property
    def verdict(self) -> str:
        """In words."""
        if self.broken:
            return (
                f"The sample ratio is broken (p = {self.p:.2g}): users are missing from a variant, so its figures are "
                "of other users. Find out why; no figure of this experiment can be trusted."
            )
        if np.isnan(self.p):
            return "Too few users to check the sample ratio."
        return f"The sample ratio is as it should be (p = {self.p:.2g})."

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "counts": dict(self.counts),
            "expected": dict(self.expected),
            "p": None if np.isnan(self.p) else self.p,
            "broken": self.broken,
            "verdict": self.verdict,
        }

    def __rich__(self) -> Table:
        rows = [(name, count, f"{self.expected[name]:,.1f}") for name, count in self.counts.items()]
        columns = ("variant", "users", "expected")
        return Table("Sample ratio", columns, rows, numbers=columns[1:], caption=self.verdict)


def sample_ratio(counts: Mapping[str, int], shares: Mapping[str, float] | None = None) -> SampleRatio:
    """Pearson's chi-square test of the counts against the shares.

    A. Fabijan et al., "Diagnosing sample ratio mismatch in online controlled experiments", KDD 2019.

    Parameters
    ----------
    counts
        Users of each variant, >= 0.
    shares
        Parts of the users, relative to one another, > 0; None: equal ones.

    Raises
    ------
    ParameterError
        Fewer than two variants, a negative count, or shares that are not of these variants or not above 0.
    """
    shares = dict.fromkeys(counts, 1.0) if shares is None else shares
    if len(counts) < 2:
        raise ParameterError.of("sample_ratio", "counts", "of two variants or more", dict(counts))
    if any(count < 0 for count in counts.values()):
        raise ParameterError.of("sample_ratio", "counts", ">= 0", dict(counts))
    _check_shares(shares, counts)
    total, whole = sum(counts.values()), sum(shares.values())
    expected = {name: total * shares[name] / whole for name in counts}
    p = float("nan")
    if min(expected.values()) >= _LEAST_EXPECTED:
        p = float(stats.chisquare(list(counts.values()), list(expected.values())).pvalue)
    return SampleRatio(counts=dict(counts), expected=expected, p=p, broken=p < BROKEN_BELOW)


def _check_shares(shares: Mapping[str, float], counts: Mapping[str, int]) -> None:
    for name in shares:
        if name not in counts:
            raise ParameterError.unknown("variant", name, counts)
    if set(shares) != set(counts) or not all(0 < share < np.inf for share in shares.values()):
        raise ParameterError.of(
            "sample_ratio", "shares", f"above 0 for each of {', '.join(sorted(counts))}", dict(shares)
        )
