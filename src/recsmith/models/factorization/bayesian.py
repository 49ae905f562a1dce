"""BayesianMF: ratings from blocks of user, item and day features, averaged over draws of a Gibbs sampler.

S. Rendle, "Scaling Factorization Machines to Relational Data", VLDB 2013, and S. Rendle, L. Zhang and Y. Koren, "On
the Difficulty of Evaluating Baselines", 2019: the score of a rating is ``p_0 + q_0 + d_0 + p'q + p'd + q'd``, where
the vector of a user, an item or a day is the sum of the vectors of its features. A user's are its id, the items it
rated (SVD++), and its attributes; an item's are its id, the users who rated it (flipped), and its attributes. Each
group of features has a normal prior of its own, whose mean and covariance are drawn too (R. Salakhutdinov and
A. Mnih, ICML 2008). A rating is the score plus normal noise, or the class that it falls into (ordered probit).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator
from scipy import sparse

from recsmith import parallel
from recsmith.config import Config, Search
from recsmith.data.dataset import Dataset
from recsmith.data.weighting import SECONDS_PER_DAY
from recsmith.errors import DataError
from recsmith.models.base import generator
from recsmith.models.baselines.rating_baseline import rated, rating_scale
from recsmith.models.factorization.bayesian_answers import AnswersFromDraws
from recsmith.models.factorization.chain import Block, Chain, Design, Keeper
from recsmith.models.factorization.relations import attributes, scaled
from recsmith.protocols import Monitor
from recsmith.types import Cost, FloatArray, IntArray, Shape

_MOST_CLASSES = 10  # of likelihood auto
_MOST_BYTES = 1 << 30  # for the kept draws of a block


class BayesianMFConfig(Config):
    """Parameters of BayesianMF."""

    embedding_size: Annotated[int, Search(5, 64, log=True)] = Field(default=10, ge=1)
    """Length of the vectors."""
    epochs: Annotated[int, Search(50, 500, log=True)] = Field(default=200, ge=1)
    """Gibbs iterations of each chain."""
    burn_in: int = Field(default=10, ge=0)
    """Iterations that are forgotten, < epochs."""
    chains: int = Field(default=2, ge=1)
    """Independent chains, which share the cores; the same number whatever the cores."""
    samples: int = Field(default=200, ge=1)
    """Draws that are kept to answer from, over all chains, evenly spaced behind ``burn_in``; fewer where there are
    fewer, or where those of all items would take more than 1 GB."""
    likelihood: Literal["auto", "gaussian", "probit"] = "auto"
    """Ordered probit takes ratings as classes; ``auto`` is probit for 2 to 10 different ratings, else gaussian."""
    implicit: bool = True
    """Which items a user rated says something about the user."""
    flipped: bool = True
    """Which users rated an item says something about the item."""
    user_features: bool = False
    """Use the table of users, where the log has one. Off: on validation of MovieLens-100K it made errors larger, by
    .001 to .004 by itself and not at all beside the table of items."""
    item_features: bool = True
    """Use the table of items, where the log has one."""
    rating_day: bool = False
    """The day of a rating counts: it is that of ``Queries.at``, or else those of the user's own history."""

    @model_validator(mode="after")
    def _leaves_something(self) -> Self:
        if self.burn_in >= self.epochs:
            raise ValueError(f"burn_in < epochs, which is {self.epochs}")
        return self


class BayesianMF(AnswersFromDraws):
    """Bayesian matrix factorization with relation blocks.

    What is kept of each draw: the vectors of items, days, of the features that a history or a user table brings,
    the prior of a user's own vector, the noise; and the users' vectors, where those of all take at most 1 GB. A user
    of the log with the history of the log answers with them. Any other history is folded in for each draw: the
    posterior of its vector given the draw of everything else, exact for normal noise, by Newton steps to the most
    probable vector for the probit.
    """

    config_class = BayesianMFConfig

    def fit(
        self, data: Dataset, *, rng: np.random.Generator | int | None = None, monitor: Monitor | None = None
    ) -> Self:
        """Run the chains. ``monitor`` gets ``noise``, the standard deviation of a rating (gaussian), each iteration.

        Raises
        ------
        DataError
            Where the log has no ratings, or no times while ``rating_day`` is on.
        """
        c, rng, data = self.config, generator(rng), rated(data)
        self.scale_ = rating_scale(data)
        classes = self._classify(data.ratings())
        target = ((data.ratings() - self.center_) / self.spread_).astype(np.float32)
        blocks = self._blocks(data)
        given = target if classes is None else classes
        chains = [
            Chain(blocks, given, len(self.levels_), c.embedding_size, np.random.default_rng(int(seed)))
            for seed in rng.integers(2**63, size=c.chains)
        ]
        keeper = self._keeper(chains, rng, data)
        for epoch in range(c.epochs):
            parallel.run(Chain.step, chains)
            keeper.offer(epoch)
            noise = float(np.mean([chain.noise for chain in chains]))
            if monitor is not None and monitor.progress(
                epoch + 1, c.epochs, noise=self.spread_ * noise**-0.5
            ):
                break
        self._take(keeper, data)
        return self

    def cost(self, shape: Shape) -> Cost:
        """A Gram matrix per rating and iteration, and one per shared feature of a rating's row."""
        c, m = self.config, self.config.embedding_size + 1
        shared = c.implicit + c.flipped
        work = (
            0.3 * m * m + 5.5 * m + 0.8 * shared * m * m + 55 * (c.likelihood != "gaussian")
        )  # for a rating
        rows = shape.n_users + shape.n_items
        draws = 4.0 * m * (c.chains + self._samples(shape.n_items)) * (rows + shape.n_items * c.implicit)
        grams = 4.0 * m * m * c.chains * rows * (shared > 0)
        return Cost(
            gather=work * shape.n_events * c.epochs * c.chains,
            bytes=draws + grams + (80.0 + 8 * c.chains) * shape.n_events,
        )

    def _samples(self, n_items: int) -> int:
        """Draws that are kept."""
        c = self.config
        room = _MOST_BYTES // (4 * (c.embedding_size + 1) * max(n_items, 1))
        return int(max(1, min(c.samples, c.chains * (c.epochs - c.burn_in), room)))

    def _keeper(self, chains: Sequence[Chain], rng: np.random.Generator, data: Dataset) -> Keeper:
        """Room for the draws, which are evenly spaced from the last iteration back to the burn-in."""
        c, samples = self.config, self._samples(data.n_items)
        turns = np.linspace(c.epochs - 1, c.burn_in, -(-samples // c.chains)).round().astype(int).tolist()
        users = 4 * (c.embedding_size + 1) * data.n_users * samples <= _MOST_BYTES
        return Keeper(chains, samples, turns, rng, users=users)

    def _take(self, keeper: Keeper, data: Dataset) -> None:
        """Learn what the keeper holds; where the monitor stopped the chains too early for any, their last draws."""
        if not keeper.taken:
            keeper.keep()
        kept = slice(keeper.taken)
        users, items, *days = (np.ascontiguousarray(table[:, kept]) for table in keeper.tables)
        self.user_draws_, self.item_draws_ = users, items
        self.new_item_draws_, self.noise_, self.edges_ = (
            keeper.new_item[kept],
            keeper.noise[kept],
            keeper.edges[kept],
        )
        self.prior_mean_, self.prior_precision_ = keeper.prior_mean[kept], keeper.prior_precision[kept]
        features = [np.ascontiguousarray(part[:, kept]) for part in keeper.features]
        nothing = items[:0]
        self.implicit_draws_ = features.pop(0) if self.config.implicit else nothing
        self.attribute_draws_ = np.concatenate(features) if features else nothing
        self.day_draws_ = nothing
        if days and data.time is not None:
            share = np.bincount(np.searchsorted(self.days_, data.time // SECONDS_PER_DAY)) / len(data)
            usual = np.einsum("d,dsm->sm", share, days[0], dtype=np.float64).astype(np.float32)
            self.day_draws_ = np.concatenate([days[0], usual[None]])

    def _classify(self, value: FloatArray) -> IntArray | None:
        """Set scale or levels of the likelihood; (n,) int8 class of each rating for the probit, else None."""
        levels = np.unique(value).astype(np.float64)
        ordered = self.config.likelihood == "probit" or (
            self.config.likelihood == "auto" and 2 <= len(levels) <= _MOST_CLASSES
        )
        if ordered and len(levels) > 100:
            raise DataError(
                f"The log has {len(levels)} different ratings: too many classes for likelihood='probit'. "
                "Use likelihood='gaussian'."
            )
        if ordered and len(levels) > 1:
            self.levels_, self.center_, self.spread_ = levels, 0.0, 1.0
            return np.searchsorted(levels, value).astype(np.int8)
        self.levels_ = levels[:0]
        self.center_, self.spread_ = (
            float(value.mean(dtype=np.float64)),
            float(value.std(dtype=np.float64)) or 0.01,
        )
        return None

    def _blocks(self, data: Dataset) -> list[Block]:
        """The blocks of users, items and perhaps days, with the designs of what their rows share."""
        c = self.config
        users: list[Any] = []
        items: list[Any] = []
        watched = data.matrix("ones")
        if c.implicit:
            users.append(scaled(watched))
        if c.flipped:
            items.append(scaled(sparse.csr_array(watched.T)))
        self.attributes_, groups = attributes(
            data.user_features if c.user_features else None, data.n_users, "user_id"
        )
        users += groups
        items += attributes(data.item_features if c.item_features else None, data.n_items, "item_id")[1]
        rows = [data.user, data.item]
        counts = [data.n_users, data.n_items]
        self.days_ = np.zeros(0, dtype=np.int64)
        if c.rating_day:
            if data.time is None:
                raise DataError(f"{data.name} has no times, which rating_day=True needs.")
            self.days_, day = np.unique(data.time // SECONDS_PER_DAY, return_inverse=True)
            rows.append(day.astype(np.int32))
            counts.append(len(self.days_))
        designs = [[Design.of(part) for part in parts] for parts in (users, items, [])]
        return [
            Block.of(row, n, [other for other in rows if other is not row], design)
            for row, n, design in zip(rows, counts, designs, strict=False)
        ]
