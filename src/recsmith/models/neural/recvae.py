"""RecVAE: Mult-VAE with a composite prior, a divergence weighted by the length of the history, and steps in turn.

I. Shenbin, A. Alekseev, E. Tutubalina, V. Malykh and S. I. Nikolenko, "RecVAE: A New Variational Autoencoder for Top-N
Recommendations with Implicit Feedback", WSDM 2020. An epoch is a few passes that teach the encoder, which sees a part
of the history, and one pass that teaches the decoder from the whole history. The prior is a mixture of N(0, I), a wide
normal, and the code that the encoder gave before this epoch; the weight of the divergence from it is
``gamma |history|`` (both section 3). The encoder has dense connections between its layers, and swish.
"""

from __future__ import annotations

import copy
import math
from typing import Annotated, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

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
from recsmith.protocols import Monitor
from recsmith.types import Cost, IntArray, Shape

_LAYERS = 5  # of the encoder
_SHARES = (0.15, 0.75, 0.1)  # of N(0, I), the code before, and the wide normal
_WIDE = 10.0  # logarithm of the wide normal's variance
_NORM_EPS = 0.1


class RecVAEConfig(ProfileConfig):
    """Parameters of RecVAE."""

    epochs: int = Field(default=20, ge=1)
    """Rounds of ``encoder_passes`` and a pass for the decoder at most, >= 1."""
    learning_rate: Annotated[float, Search(1e-4, 5e-3, log=True)] = Field(default=5e-4, gt=0)
    """Step size of Adam at its largest, > 0."""
    gamma: Annotated[float, Search(0.001, 0.02, log=True)] = Field(default=0.005, ge=0)
    """Weight of the divergence for each event of the history, >= 0."""
    encoder_passes: int = Field(default=3, ge=1)
    """Passes over the users that teach the encoder in an epoch, >= 1."""


class RecVAE(ProfileModel[RecVAEConfig]):
    """Variational autoencoder with a linear decoder and a prior that remembers."""

    config_class = RecVAEConfig

    def build(self) -> nn.Module:
        """Encoder and decoder."""
        return _Network(self.sizes_["n_items"], self.config)

    def objective(self, data: Dataset) -> Users:
        """The bound of each user's history, encoder and decoder in turn."""
        self.module_.before = copy.deepcopy(self.module_.encoder).requires_grad_(False)
        return _Turns(self, data)

    def fit(
        self, data: Dataset, *, rng: np.random.Generator | int | None = None, monitor: Monitor | None = None
    ) -> Self:
        """Build the network anew and train it; errors as ``TorchModel.fit``."""
        super().fit(data, rng=rng, monitor=monitor)
        del self.module_.before  # no answer needs it
        return self

    def cost(self, shape: Shape) -> Cost:
        """The last layer, and the square layers of the encoder, for each user and pass."""
        c, told = self.config, super().cost(shape)
        passes = float(c.epochs * (c.encoder_passes + 1) * shape.n_users)
        layers = passes * 8 * _LAYERS * c.hidden_size**2
        last = 6.0 * passes * c.latent_size * shape.n_items
        return Cost(gemm=last + layers, gather=told.gather * (c.encoder_passes + 1), bytes=told.bytes)


class _Turns(Users):
    """First the encoder's passes, then the decoder's; an example is a user in a pass."""

    def __init__(self, model: RecVAE, data: Dataset) -> None:
        super().__init__(data, model.device)
        self.module, self.config = model.module_, model.config
        self.n_users = self.n_examples
        self.n_examples = self.n_users * (model.config.encoder_passes + 1)
        self.step = self.decoder_from = 0

    def begin(self, epoch: int, rng: np.random.Generator) -> None:
        """The encoder as it is becomes part of the prior; in the first epoch it is the one that is not taught."""
        before, encoder = (self.module.get_submodule(name) for name in ("before", "encoder"))
        before.load_state_dict(encoder.state_dict())
        before.eval()
        self.step = 0

    def order(self, batch_size: int, rng: np.random.Generator) -> list[IntArray]:
        """The batches of all passes, one pass after another."""
        batches: list[IntArray] = []
        for _ in range(self.config.encoder_passes + 1):
            shuffled = rng.permutation(self.n_users)
            self.decoder_from = len(batches)
            batches += [shuffled[at : at + batch_size] for at in range(0, self.n_users, batch_size)]
        return batches

    def loss(self, rows: IntArray) -> tuple[Tensor, float]:
        decoding = self.step >= self.decoder_from
        self.step += 1
        encoder = self.module.get_submodule("encoder").requires_grad_(not decoding).train(not decoding)
        out = self.module.get_submodule("out").requires_grad_(decoding)
        profiles = self.profiles(rows)
        mean, log_variance = encoder(profiles)
        code = drawn(mean, log_variance)
        logits = out(code)
        missed = multinomial(logits, profiles.dense(logits.shape[1]))
        if decoding:
            return missed, len(rows)
        taken = profiles.weights.new_zeros(len(rows)).index_add_(0, profiles.rows, profiles.weights)
        divergence = log_normal(code, mean, log_variance).sum(1) - self._log_prior(profiles, code)
        return missed + self.config.gamma * (taken * divergence).sum(), len(rows)

    def _log_prior(self, profiles: Profiles, code: Tensor) -> Tensor:
        """(n,) logarithm of the composite prior's density, a mixture in each dimension of the code."""
        with torch.no_grad():
            mean, log_variance = self.module.get_submodule("before")(profiles)
        zero = torch.zeros_like(code)
        parts = ((zero, zero), (mean, log_variance), (zero, zero + _WIDE))
        each = [log_normal(code, *part) + math.log(s) for part, s in zip(parts, _SHARES, strict=True)]
        return torch.logsumexp(torch.stack(each), 0).sum(1)


class _Network(nn.Module):
    def __init__(self, n_items: int, config: RecVAEConfig) -> None:
        super().__init__()
        self.encoder = _Encoder(n_items, config)
        self.out = nn.Linear(config.latent_size, n_items)
        nn.init.xavier_normal_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def before_out(self, profiles: Profiles) -> Tensor:
        """(n, latent) the mean of the code."""
        mean: Tensor = self.encoder(profiles)[0]
        return mean


class _Encoder(nn.Module):
    def __init__(self, n_items: int, config: RecVAEConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.read = Bag(n_items, size, config.dropout)
        self.layers = nn.ModuleList([nn.Linear(size, size) for _ in range(_LAYERS - 1)])
        self.norms = nn.ModuleList([nn.LayerNorm(size, eps=_NORM_EPS) for _ in range(_LAYERS)])
        self.code = nn.Linear(size, 2 * config.latent_size)

    def forward(self, profiles: Profiles) -> tuple[Tensor, Tensor]:
        """(n, latent) mean and logarithm of the variance of the code."""
        x = self.norms[0](functional.silu(self.read(profiles)))
        total = x
        for layer, norm in zip(self.layers, self.norms[1:], strict=True):
            x = norm(functional.silu(layer(x) + total))
            total = total + x
        mean, log_variance = self.code(x).chunk(2, 1)
        return mean, log_variance


def log_normal(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Logarithm of the normal density at ``x``, number by number."""
    return -0.5 * (log_variance + math.log(2 * math.pi) + (x - mean).square() * torch.exp(-log_variance))
