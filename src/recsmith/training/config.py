"""The parameters that every model trained by gradients has; a model's own config adds to them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from recsmith.config import Config, Search


class TrainingConfig(Config):
    """How to descend."""

    epochs: int = Field(default=50, ge=1)
    """Passes over the examples at most, >= 1."""
    batch_size: int = Field(default=256, ge=1)
    """Examples of a step, those of all processes together, >= 1."""
    learning_rate: Annotated[float, Search(1e-4, 1e-2, log=True)] = Field(default=1e-3, gt=0)
    """Step size of Adam at its largest, > 0."""
    schedule: Literal["constant", "cosine", "restarts"] = "constant"
    """How the step size goes on: as it is, down to 0 along a cosine, or so again and again, each time twice as long."""
    warmup_epochs: float = Field(default=0.0, ge=0)
    """Epochs in which the step size rises from 0 in a straight line, >= 0."""
    restart_epochs: int = Field(default=10, ge=1)
    """Epochs of the first cosine of ``restarts``, >= 1."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Share of the weights taken off at each step, times the step size (AdamW), >= 0; with 0 it is Adam."""
    reg: Annotated[float, Search(1e-8, 1e-2, log=True)] = Field(default=0.0, ge=0)
    """L2: half of this times the squared weights is added to the mean loss, >= 0."""
    l1: float = Field(default=0.0, ge=0)
    """L1: this times the absolute weights is added to the mean loss, >= 0."""
    clip_norm: float | None = Field(default=None, gt=0)
    """Longest gradient, > 0; a longer one is shortened to it. None: as it comes."""
    patience: int = Field(default=10, ge=1)
    """Judgements without a new best after which the training stops, where it is judged, >= 1."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute: auto takes cuda where there is one."""
    precision: Literal["float32", "mixed"] = "float32"
    """mixed: matrix products in bfloat16, weights in float32."""
