"""GF-CF: a linear filter of the graph and an ideal low pass, in closed form.

Y. Shen et al., "How Powerful is Graph Convolution for Recommendation?", CIKM 2021:
``score = x (S + w D_i^-1/2 V V' D_i^1/2)`` with ``S = R'R`` of the log R that is divided by the roots of both degrees.
"""

from __future__ import annotations

from recsmith.models.graph.filter import FilterConfig, Response, SpectralModel


class GFCFConfig(FilterConfig):
    """Parameters of GF-CF; the defaults are the paper's, 256 and 0.3."""


class GFCF(SpectralModel[GFCFConfig]):
    """What neighbours two steps away in the graph took, and what the leading eigenvectors make of the history."""

    config_class = GFCFConfig

    def response(self) -> Response:
        """``S`` beside the ideal low pass."""
        return Response(
            local=(0.0, 1.0), ideal=(self.config.ideal_weight,), ideal_before=0.5, ideal_after=0.5
        )
