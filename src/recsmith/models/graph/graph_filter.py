"""GraphFilter: a sharpened spectral filter with the exponents of the degrees free.

``score = D^output_exponent (S exp(-t S) + w V V') D^-input_exponent x`` with a Taylor polynomial for the exponential,
``S = R'R`` of ``R = D_u^-user_exponent X D_i^-item_exponent``, scaled to the largest eigenvalue 1, and V its leading
eigenvectors. GF-CF and BSPM filter between degrees to the power 0 and add a low pass between degrees to the power 1/2;
here all parts share one pair, as in C. Kim et al., "Graph Spectral Filtering with Chebyshev Interpolation for
Recommendation", SIGIR 2025, but what enters and what leaves have an exponent each. That the normalization itself should
be free is from S. Peng et al., "How Powerful is Graph Filtering for Recommendation?", KDD 2024.
"""

from __future__ import annotations

from typing import Annotated

from numpy.polynomial import Polynomial
from pydantic import Field

from recsmith.config import Search
from recsmith.models.graph.filter import FilterConfig, Response, SpectralModel, decay


class GraphFilterConfig(FilterConfig):
    """Parameters of GraphFilter.

    The defaults suit MovieLens-100K. Chosen on validation data of Gowalla: ``rank=512, sharpen_time=0.95,
    input_exponent=0.25, output_exponent=0.3``; of Yelp2018: ``rank=512, sharpen_time=0.95, output_exponent=0.15``.
    """

    rank: Annotated[int, Search(32, 1024, log=True)] = Field(default=128, ge=0)
    ideal_weight: Annotated[float, Search(0.0, 0.3)] = Field(default=0.04, ge=0)
    sharpen_time: Annotated[float, Search(0.0, 1.2)] = Field(default=0.7, ge=0, le=10)
    """t of ``S exp(-t S)``: how much is taken back of what is in the largest eigenvectors, 0 to 10. Higher orders take
    longer times: 1.6 at order 3, 1.7 to 2 at order 4."""
    sharpen_order: int = Field(default=1, ge=1, le=8)
    """Degree of the Taylor polynomial, 1 to 8: as many more products with the log for each query."""
    input_exponent: Annotated[float, Search(0.0, 0.5)] = Field(default=0.2, ge=-2, le=2)
    """Degrees to this power divide the history: larger listens less to popular items."""
    output_exponent: Annotated[float, Search(0.0, 0.5)] = Field(default=0.25, ge=-2, le=2)
    """Degrees to this power multiply the scores: larger recommends more popular items."""
    user_exponent: Annotated[float, Search(0.1, 0.6)] = Field(default=0.3, ge=0, le=1)
    """Degrees of the users to this power divide the log, 0 to 1: larger listens less to busy users."""
    item_exponent: Annotated[float, Search(0.25, 0.6)] = Field(default=0.4, ge=0, le=1)
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
