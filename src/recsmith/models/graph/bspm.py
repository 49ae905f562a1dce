"""BSPM: the history is blurred by the graph, and sharpened again by running the blur backwards in time.

J. Choi et al., "Blurring-Sharpening Process Models for Collaborative Filtering", SIGIR 2023. The blur is one Euler
step of ``dx/dt = S x - x``, which gives ``S x``, beside the ideal low pass of GF-CF; the sharpening follows
``dx/dt = -S x`` from there.
"""

from __future__ import annotations

from typing import Annotated, Literal

from numpy.polynomial import Polynomial
from pydantic import Field

from recsmith.config import Search
from recsmith.models.graph.filter import FilterConfig, Response, SpectralModel, decay


class BSPMConfig(FilterConfig):
    """Parameters of BSPM; the defaults are the authors' for Gowalla.

    Theirs for Yelp2018: ``solver="euler", sharpen_time=1.2, rank=384, ideal_weight=0.3, average=True``.
    """

    rank: Annotated[int, Search(32, 1024, log=True)] = Field(default=448, ge=0)
    ideal_weight: Annotated[float, Search(0.0, 1.0)] = Field(default=0.2, ge=0)
    merge: Annotated[Literal["early", "late"], Search()] = "early"
    """Whether the ideal low pass is added before the sharpening (BSPM-EM) or behind it (BSPM-LM)."""
    solver: Annotated[Literal["euler", "rk4"], Search()] = "rk4"
    """Steps of the sharpening: Euler's, or Runge and Kutta's of order 4."""
    sharpen_time: Annotated[float, Search(0.0, 3.0)] = Field(default=2.5, ge=0, le=10)
    """How long the sharpening runs, 0 to 10; 0 leaves it out."""
    sharpen_steps: int = Field(default=1, ge=1, le=10)
    """Steps that it takes, 1 to 10. One long step is not close to the flow, and better on some logs."""
    average: bool = False
    """Whether the scores are the mean of the blurred and the sharpened signal."""


class BSPM(SpectralModel[BSPMConfig]):
    """GF-CF with what all users share taken back out."""

    config_class = BSPMConfig

    def response(self) -> Response:
        """``S`` and the ideal low pass, both or the first alone followed by the sharpening."""
        config = self.config
        sharpened = decay(config.sharpen_time, 1 if config.solver == "euler" else 4, config.sharpen_steps)
        ideal = config.ideal_weight * (sharpened if config.merge == "early" else Polynomial([1.0]))
        local = Polynomial([0.0, 1.0]) * sharpened
        if config.average:
            local = (local + Polynomial([0.0, 1.0])) / 2
            ideal = ideal / 2 if config.merge == "early" else ideal
        return Response(local=tuple(local.coef), ideal=tuple(ideal.coef), ideal_before=0.5, ideal_after=0.5)
