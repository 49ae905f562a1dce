"""How likely a draw is the largest, beside SciPy's quadrature, closed forms and draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from recsmith.models.bandits.winning import beta_wins, normal_wins

FAMILIES = {"beta": (beta_wins, stats.beta), "normal": (normal_wins, stats.norm)}


def wins(family, p, q):
    """Every candidate's chance."""
    m = len(p)
    table = [np.tile(np.array(a, dtype=np.float64), (m, 1)) for a in (p, q)]
    return FAMILIES[family][0](*table, np.ones((m, m), dtype=np.bool_), np.arange(m))


def quadrature(family, p, q, own):
    """In the quantiles of the candidate, so that no density is needed."""
    mine, others = FAMILIES[family][1](p[own], q[own]), [b for b in range(len(p)) if b != own]

    def product(u):
        x = mine.ppf(u)
        return np.prod([FAMILIES[family][1].cdf(x, p[b], q[b]) for b in others])

    return integrate.quad(product, 0, 1, limit=500, epsabs=1e-12, epsrel=1e-9)[0]


@pytest.mark.parametrize(
    ("family", "p", "q"),
    [
        ("beta", (1, 1, 1), (1, 1, 1)),
        ("beta", (3, 2.5, 1), (2, 3.5, 8)),
        ("beta", (0.5, 0.5, 2), (0.5, 3, 2)),
        ("beta", (40, 400, 1, 30), (160, 1700, 1, 170)),
        ("beta", (1000, 1020, 3), (99_000, 99_000, 200)),
        ("beta", (0.1, 0.1, 5), (10, 3, 100)),
        ("normal", (0, 0.3, -0.2), (1, 0.5, 2)),
        ("normal", (0.1, 0.12, 0.5), (0.001, 0.003, 0.2)),
        ("normal", (0, 3), (1, 1)),
    ],
)
def test_beside_quadrature(family, p, q):
    found = wins(family, p, q)
    for own in range(len(p)):
        wanted = quadrature(family, p, q, own)
        assert found[own] == pytest.approx(wanted, rel=2e-4, abs=1e-9)


def test_two_normal_candidates_have_a_closed_form():
    means, deviations = (0.2, 0.9), (0.5, 0.1)
    wanted = stats.norm.cdf((0.2 - 0.9) / np.hypot(*deviations))
    assert wins("normal", means, deviations)[0] == pytest.approx(wanted, rel=1e-4)


def test_equal_candidates_win_alike_whatever_their_number():
    for family, p, q in (("beta", 2.0, 30.0), ("normal", 0.0, 1e-12), ("beta", 1.0, 1.0)):
        np.testing.assert_allclose(wins(family, [p] * 50, [q] * 50), 0.02, rtol=2e-4)


def test_candidates_that_are_not_left_do_not_count():
    left = np.array([[True, False, True]])
    alpha, beta = np.array([[2.0, 900.0, 3.0]]), np.array([[5.0, 1.0, 4.0]])
    found = beta_wins(alpha, beta, left, np.array([0]))
    assert found[0] == pytest.approx(wins("beta", (2, 3), (5, 4))[0], rel=1e-4)
    alone = beta_wins(alpha, beta, np.array([[True, False, False]]), np.array([0]))
    assert alone[0] == pytest.approx(1)


shape = st.floats(0.3, 3000)


@given(st.lists(st.tuples(shape, shape), min_size=1, max_size=6))
@settings(max_examples=60)
def test_somebody_wins_beta(pairs):
    found = wins("beta", *zip(*pairs, strict=True))
    assert ((found >= 0) & (found <= 1 + 2e-4)).all()
    assert found.sum() == pytest.approx(1, abs=5e-4)


@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(1e-3, 10)), min_size=1, max_size=6))
@settings(max_examples=60)
def test_somebody_wins_normal(pairs):
    found = wins("normal", *zip(*pairs, strict=True))
    assert found.sum() == pytest.approx(1, abs=5e-4)
