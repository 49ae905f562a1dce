"""The step size over the epochs, as a factor of the largest.

Cosine and restarts: I. Loshchilov and F. Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017,
equation 5, with T_mult = 2.
"""

from __future__ import annotations

import math

from recsmith.training.config import TrainingConfig


def factor(config: TrainingConfig, epoch: float) -> float:
    """The factor, 0 to 1, after ``epoch`` epochs (a fraction inside one)."""
    warm = config.warmup_epochs
    if epoch < warm:
        return epoch / warm
    if config.schedule == "constant":
        return 1.0
    done, period = epoch - warm, max(config.epochs - warm, 1e-9)
    if config.schedule == "restarts":
        period = float(config.restart_epochs)
        while done >= period:
            done, period = done - period, 2 * period
    return 0.5 * (1 + math.cos(math.pi * min(done / period, 1.0)))
