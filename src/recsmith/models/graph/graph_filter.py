"""GraphFilter: a sharpened spectral filter with the exponents of the degrees free.

``score = D^output_exponent (S exp(-t S) + w V V') D^-input_exponent x`` with the Taylor polynomial for the exponential.
On one pair of exponents stand the blur of GF-CF (0 and 0: popular items gain) and the ideal low pass (1/2 and 1/2: the
random walk). BSPM adds the two; here both parts share one pair between them, as in C. Kim et al., "Graph Spectral
Filtering with Chebyshev Interpolation for Recommendation", SIGIR 2025, but with an exponent each for what enters and
what leaves.
"""

from __future__ import annotations

from typing import Annotated

from numpy.polynomial import Polynomial
from pydantic import Field

from recsmith.config import Search
from recsmith.models.graph.filter import FilterConfig, Response, SpectralModel, decay


class GraphFilterConfig(FilterConfig):
    """Parameters of GraphFilter."""

    rank: Annotated[int, Search(32, 1024, log=True)] = Field(default=448, ge=0)
    ideal_weight: Annotated[float, Search(0.0, 0.5)] = Field(default=0.1, ge=0)
    sharpen_time: Annotated[float, Search(0.0, 3.0)] = Field(default=1.7, ge=0, le=10)
    """t of ``S exp(-t S)``: how much is taken back of what is in the largest eigenvectors, 0 to 10."""
    sharpen_order: int = Field(default=4, ge=1, le=8)
    """Degree of the Taylor polynomial, 1 to 8: as many more products with the log for each query."""
    input_exponent: Annotated[float, Search(-0.25, 0.75)] = Field(default=0.15, ge=-2, le=2)
    """Degrees to this power divide the history: larger listens less to popular items."""
    output_exponent: Annotated[float, Search(-0.25, 0.75)] = Field(default=0.4, ge=-2, le=2)
    """Degrees to this power multiply the scores: larger recommends more popular items."""
    user_exponent: Annotated[float, Search(0.25, 0.75)] = Field(default=0.5, ge=0, le=1)
    """Degrees of the users to this power divide the log, 0 to 1: larger listens less to busy users."""
    item_exponent: Annotated[float, Search(0.25, 0.75)] = Field(default=0.5, ge=0, le=1)
    """Degrees of the items to this power divide the log, 0 to 1: larger lets less pass through popular items."""


class GraphFilter(SpectralModel[GraphFilterConfig]):
    """BSPM with one pair of exponents of the item degrees for all its parts."""

    config_class = GraphFilterConfig

    def response(self) -> Response:
        """``S exp(-t S)`` and the ideal low pass between the same degrees."""
        config = self.config
        local = Polynomial([0.0, 1.0]) * decay(config.sharpen_time, config.sharpen_order)
        before, after = config.input_exponent, config.output_exponent
        return Response(
            local=tuple(local.coef),
            ideal=(config.ideal_weight,),
            before=before,
            after=after,
            ideal_before=before,
        )

    def normalization(self) -> tuple[float, float]:
        """Both exponents are parameters."""
        return self.config.user_exponent, self.config.item_exponent
