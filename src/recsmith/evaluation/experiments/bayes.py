"""How probable it is that the treatment is better, and what a wrong choice is expected to cost."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import special, stats

from recsmith.evaluation.experiments.contrast import Arm, Contrast

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(400)
_PLACES, _WEIGHTS = (_NODES + 1) / 2, _WEIGHTS / 2  # on (0, 1)


class Belief(NamedTuple):
    """What to think of a treatment after the experiment; NaN without variance."""

    better: float  #: probability that its figure is above the control's
    loss: float  #: expected shortfall below the control if it is chosen: mean of max(control - treatment, 0)
    regret: float  #: expected gain that is missed if it is not chosen: mean of max(treatment - control, 0)

    def mirrored(self) -> Belief:
        """The same where a smaller figure is better."""
        return Belief(1 - self.better, self.regret, self.loss)


def normal_belief(contrast: Contrast) -> Belief:
    """The difference under a flat prior: normal around its estimate, as it is for many users.

    A. Deng, J. Lu, S. Chen, DSAA 2016, on what such a posterior does and does not say.
    """
    if not contrast.variance > 0:
        return Belief(math.nan, math.nan, math.nan)
    error = float(contrast.error)
    z = float(contrast.difference) / error
    density = float(stats.norm.pdf(z))
    loss, regret = (error * (density - s * z * float(stats.norm.sf(s * z))) for s in (1, -1))
    return Belief(float(stats.norm.cdf(z)), loss, regret)


def beta_belief(control: Arm, treatment: Arm) -> Belief:
    """Two proportions under uniform priors: independent Beta posteriors, integrated by Gauss and Legendre.

    Given the treatment's ``x``, what the control has above it is ``m P(B' > x) - x P(B > x)``, with ``m`` the mean of
    the control's ``B ~ Beta(a, b)`` and ``B' ~ Beta(a + 1, b)``.
    """
    (a, b), (c, d) = (
        (1 + float(arm.n * arm.value), 1 + float(arm.n * (1 - arm.value))) for arm in (control, treatment)
    )
    mean, x = a / (a + b), special.betaincinv(c, d, _PLACES)
    below, below_next = special.betainc(a, b, x), special.betainc(a + 1, b, x)
    loss = mean * special.betaincc(a + 1, b, x) - x * special.betaincc(a, b, x)
    regret = x * below - mean * below_next
    return Belief(*(float(_WEIGHTS @ each) for each in (below, loss, regret)))
