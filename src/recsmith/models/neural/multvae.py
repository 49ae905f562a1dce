"""Mult-VAE: a variational autoencoder of histories with a multinomial likelihood.

D. Liang, R. G. Krishnan, M. D. Hoffman and T. Jebara, "Variational Autoencoders for Collaborative Filtering", WWW
2018. A history x is coded as a normal distribution q(z | x), and a draw from it is decoded to logits over all items.
What is made small is ``-sum_i x_i log softmax_i + beta KL(q || N(0, I))`` (section 2.2), with a beta that grows from 0
(section 2.2.2). The encoder sees a random part of the history. When asked, the mean of the code is decoded.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Search
from recsmith.data.dataset import Dataset
from recsmith.models.neural.profiles import (
    Bag,
    ProfileConfig,
    ProfileModel,
    Profiles,
    Users,
    drawn,
    multinomial,
)
from recsmith.types import IntArray


class MultVAEConfig(ProfileConfig):
    """Parameters of Mult-VAE."""

    beta: Annotated[float, Search(0.05, 1.0, log=True)] = Field(default=0.2, ge=0)
    """Weight of the divergence from the prior once it has grown, >= 0."""
    anneal_epochs: Annotated[int, Search(10, 100, log=True)] = Field(default=30, ge=0)
    """Epochs in which the weight grows from 0 to ``beta``, >= 0."""


class MultVAE(ProfileModel[MultVAEConfig]):
    """Variational autoencoder with a hidden layer on either side of the code."""

    config_class = MultVAEConfig

    def build(self) -> nn.Module:
        """Encoder and decoder."""
        return _Network(self.sizes_["n_items"], self.config)

    def objective(self, data: Dataset) -> Users:
        """The evidence lower bound of each user's history."""
        return _Bound(self, data)


class _Bound(Users):
    """Likelihood of the history, less the divergence of its code from the prior."""

    def __init__(self, model: MultVAE, data: Dataset) -> None:
        super().__init__(data, model.device)
        self.module, self.config, self.beta = model.module_, model.config, 0.0

    def begin(self, epoch: int, rng: np.random.Generator) -> None:
        """The weight of the divergence in this epoch."""
        c = self.config
        self.beta = c.beta * (min(1.0, epoch / c.anneal_epochs) if c.anneal_epochs else 1.0)

    def loss(self, rows: IntArray) -> tuple[Tensor, float]:
        profiles = self.profiles(rows)
        mean, log_variance = self.module.encode(profiles)  # type: ignore[operator]
        logits = self.module.out(self.module.decode(drawn(mean, log_variance)))  # type: ignore[operator]
        divergence = 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance).sum()
        return multinomial(logits, profiles.dense(logits.shape[1])) + self.beta * divergence, len(rows)


class _Network(nn.Module):
    def __init__(self, n_items: int, config: MultVAEConfig) -> None:
        super().__init__()
        self.read = Bag(n_items, config.hidden_size, config.dropout)
        self.code = nn.Linear(config.hidden_size, 2 * config.latent_size)
        self.widen = nn.Linear(config.latent_size, config.hidden_size)
        self.out = nn.Linear(config.hidden_size, n_items)
        for layer in (self.code, self.widen, self.out):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def encode(self, profiles: Profiles) -> tuple[Tensor, Tensor]:
        """(n, latent) mean and logarithm of the variance of the code."""
        mean, log_variance = self.code(torch.tanh(self.read(profiles))).chunk(2, 1)
        return mean, log_variance

    def decode(self, code: Tensor) -> Tensor:
        """(n, hidden) what the last layer reads."""
        return torch.tanh(self.widen(code))

    def before_out(self, profiles: Profiles) -> Tensor:
        """(n, hidden) of the mean of the code."""
        return self.decode(self.encode(profiles)[0])
