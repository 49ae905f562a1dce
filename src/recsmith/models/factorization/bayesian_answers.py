"""Answers from the draws of a Gibbs sampler: users from their histories, expected ratings, their spread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from recsmith import parallel
from recsmith.data.weighting import SECONDS_PER_DAY
from recsmith.errors import ParameterError
from recsmith.models.base import BaseModel
from recsmith.models.baselines.rating_baseline import history_ratings
from recsmith.models.factorization import ordinal, posterior
from recsmith.models.factorization.gibbs import normal_quantile
from recsmith.models.factorization.relations import scaled
from recsmith.types import FloatArray, IntArray, Prediction, Queries, check_range

_ROWS = 64  # queries answered together
_FOLD_ROWS = 4  # histories folded in by one task
_SCORED_ROWS = 8  # requests that pass over the items together
_PAIRS = 2048  # predictions of one task

#: Pairs (positions), their rows of the requests, the requests, and the requests with a user's own uncertainty.
_Answer = Callable[[IntArray, IntArray, FloatArray, FloatArray], None]


class AnswersFromDraws(BaseModel[Any]):
    """What is learned is S draws; an answer is an average over them.

    A user of the log with the history of the log answers with the draws of its vector, where they were kept. Any
    other history is folded in for each draw: the posterior of its vector given the draw of everything else.
    """

    learned = (
        "scale_", "center_", "spread_", "levels_", "noise_", "edges_", "item_draws_", "new_item_draws_", "user_draws_",
        "prior_mean_", "prior_precision_", "implicit_draws_", "attributes_", "attribute_draws_", "days_", "day_draws_",
    )  # fmt: skip
    scale_: list[float]  #: lowest and highest rating that is predicted
    center_: float  #: what a score of 0 means on the scale of ratings (gaussian)
    spread_: float  #: what a score of 1 adds (gaussian)
    levels_: FloatArray  #: (K,) the ratings that are classes; empty for gaussian
    noise_: FloatArray  #: (S,) precision of a rating around its score
    edges_: FloatArray  #: (S, K + 1) cut points (probit)
    item_draws_: FloatArray  #: (n_items, S, 1 + embedding_size) float32, bias first
    new_item_draws_: FloatArray  #: (S, 1 + embedding_size) float32, an item that is not known
    user_draws_: FloatArray  #: (n_users, S, 1 + embedding_size) float32, or no rows
    prior_mean_: FloatArray  #: (S, 1 + embedding_size) float32 of a user's own vector
    prior_precision_: FloatArray  #: (S, 1 + embedding_size, 1 + embedding_size)
    implicit_draws_: FloatArray  #: (n_items, S, 1 + embedding_size) float32, or no rows
    attributes_: Any  #: (n_users, p) CSR of the users' attributes
    attribute_draws_: FloatArray  #: (p, S, 1 + embedding_size) float32
    days_: IntArray  #: (n_days,) days since 1970, sorted
    day_draws_: (
        FloatArray  #: (n_days + 1, S, 1 + embedding_size) float32, the last is the mean rating's; or no rows
    )

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(n, n_items or len(items)) float32: the expected rating, not clipped; NaN without a history.

        Raises
        ------
        ParameterError
            An index out of range.
        DataError
            Where a history must be folded in and has no ratings.
        """
        self.check_fitted()
        n_items = len(self.item_draws_)
        columns = np.arange(n_items) if items is None else np.asarray(items, dtype=np.int64)
        check_range("score", "items", columns, n_items)
        out = np.full((len(queries), len(columns)), np.nan, dtype=np.float32)
        has = np.flatnonzero(queries.lengths > 0)
        for part in parallel.blocks(len(has), _ROWS):
            asked, _ = self._asked(queries.take(has[part]))
            out[has[part]] = self._expected(asked, columns, everything=items is None)
        return out

    def predict(self, queries: Queries, rows: IntArray, items: IntArray) -> Prediction:
        """Mean and standard deviation of the ratings of the pairs, that of a rating's own noise included.

        The mean lies within the rating scale. Item -1 is one that is not known, and a query without a history a new
        user: both are answered with what is known of all.

        Raises
        ------
        ParameterError
            An index out of range.
        DataError
            Where a history must be folded in and has no ratings.
        """
        mean, std = np.empty((2, len(rows)), dtype=np.float32)

        def answer(pairs: IntArray, place: IntArray, asked: FloatArray, drawn: FloatArray) -> None:
            own = items[pairs]
            if len(self.levels_):
                share = self._shares(place, own, drawn)
                square = np.maximum(share @ self.levels_**2 - (share @ self.levels_) ** 2, 0)
                std[pairs] = np.sqrt(square)
                mean[pairs] = (
                    share @ self.levels_ if asked is drawn else self._shares(place, own, asked) @ self.levels_
                )
            else:
                moments = np.empty((2, len(pairs)), dtype=np.float64)
                posterior.moments(
                    *moments, 0, len(pairs), place, own, asked, drawn, self.item_draws_, self.new_item_draws_,
                    self.noise_,
                )  # fmt: skip
                mean[pairs] = self.center_ + self.spread_ * moments[0]
                std[pairs] = self.spread_ * moments[1]

        self._each_pair(queries, rows, items, answer)
        return Prediction(np.clip(mean, self.scale_[0], self.scale_[1]), std)

    def probabilities(self, queries: Queries, rows: IntArray, items: IntArray) -> FloatArray:
        """(p, len(levels_)) float64 probability of each of the ratings ``levels_``: the probit's whole answer.

        Raises
        ------
        ParameterError
            Where the likelihood is gaussian, or an index is out of range.
        """
        self.check_fitted()
        if not len(self.levels_):
            raise ParameterError("A gaussian BayesianMF has no classes of ratings. Set likelihood='probit'.")
        out = np.empty((len(rows), len(self.levels_)))

        def answer(pairs: IntArray, place: IntArray, asked: FloatArray, drawn: FloatArray) -> None:
            out[pairs] = self._shares(place, items[pairs], drawn)

        self._each_pair(queries, rows, items, answer)
        return out

    def quantiles(
        self, queries: Queries, rows: IntArray, items: IntArray, at: Sequence[float] = (0.05, 0.95)
    ) -> FloatArray:
        """(p, len(at)) float64 quantiles of the ratings of the pairs, within the rating scale.

        Of a probit they are ratings that occur, so that an interval covers at least what is asked.

        Raises
        ------
        ParameterError
            A quantile that is not between 0 and 1, or an index out of range.
        """
        if not all(0 < q < 1 for q in at):
            raise ParameterError.of("quantiles", "at", "between 0 and 1", at)
        self.check_fitted()
        if len(self.levels_):
            total = np.cumsum(self.probabilities(queries, rows, items), axis=1)
            reached = [(total[:, :-1] < q).sum(axis=1) for q in at]
            return np.stack([self.levels_[k] for k in reached], axis=1)
        given = self.predict(queries, rows, items)
        assert given.std is not None
        found = [given.mean + given.std * normal_quantile(q) for q in at]
        out: FloatArray = np.clip(np.stack(found, axis=1), self.scale_[0], self.scale_[1])
        return out

    def _each_pair(self, queries: Queries, rows: IntArray, items: IntArray, answer: _Answer) -> None:
        """Call ``answer`` for blocks of the pairs, with the requests that they are about."""
        self.check_fitted()
        check_range("predict", "rows", rows, len(queries))
        check_range("predict", "items", items[items != -1], len(self.item_draws_))
        order = np.argsort(rows, kind="stable")
        distinct, first = np.unique(rows[order], return_index=True)
        bounds = np.append(first, len(rows))

        def block(part: slice) -> None:
            asked, drawn = self._asked(queries.take(distinct[part]))
            pairs = order[bounds[part.start] : bounds[part.stop]]
            for some in parallel.blocks(len(pairs), _PAIRS):
                place = np.searchsorted(distinct[part], rows[pairs[some]])
                answer(pairs[some], place, asked, drawn)

        parts = parallel.blocks(len(distinct), _ROWS)
        parallel.run(lambda part: block(slice(part.start, min(part.stop, len(distinct)))), parts)

    def _asked(self, queries: Queries) -> tuple[FloatArray, FloatArray]:
        """Requests (n, S, m) at the posterior mean of each user's vector, and at draws of it.

        They are one and the same array where no history is folded in.
        """
        n = len(queries)
        trained = np.zeros(n, dtype=np.bool_)
        if len(self.user_draws_) and queries.as_trained is not None:
            trained = (queries.lengths > 0) & (queries.users >= 0) & queries.as_trained
        rows = np.flatnonzero(~trained)
        if len(rows) == 0:
            asked = self.user_draws_[queries.users]
            drawn = asked
        else:
            asked = np.empty((n, *self.prior_mean_.shape), dtype=np.float32)
            asked[trained] = self.user_draws_[queries.users[trained]]
            drawn = asked.copy()
            asked[rows], drawn[rows] = self._fold_in(queries.take(rows))
        if len(self.day_draws_):
            day = self._days_asked(queries)
            posterior.meet(asked, day)
            if drawn is not asked:
                posterior.meet(drawn, day)
        return asked, drawn

    def _history(self, queries: Queries) -> Any:
        """(n, n_items) CSR of the rated items of the histories, each row with squares that sum to 1."""
        given = queries.values
        keep = slice(None) if given is None else np.flatnonzero(~np.isnan(given))
        rows, columns = queries.rows[keep], queries.items[keep]
        shape = (len(queries), len(self.item_draws_))
        return scaled(sparse.csr_array((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=shape))

    def _prior(self, queries: Queries) -> FloatArray:
        """(n, S, m) float32 what is expected of a user before its ratings are looked at."""
        prior = np.repeat(self.prior_mean_[None], len(queries), axis=0)
        for matrix, draws in (
            (self._history(queries), self.implicit_draws_),
            (self._own_attributes(queries), self.attribute_draws_),
        ):
            if len(draws):
                prior += (matrix @ draws.reshape(len(draws), -1)).reshape(prior.shape)
        return prior

    def _own_attributes(self, queries: Queries) -> Any:
        """(n, p) CSR; a user that is not known has none."""
        if not len(self.attribute_draws_):
            return None
        known = (queries.users >= 0).astype(np.float32)
        return sparse.diags_array(known).tocsr() @ self.attributes_[np.maximum(queries.users, 0)]

    def _fold_in(self, queries: Queries) -> tuple[FloatArray, FloatArray]:
        """(n, S, m) posterior means of the users' vectors given their histories, and a draw of each."""
        mean = self._prior(queries)
        drawn = np.empty_like(mean)
        values = history_ratings(queries)
        noises = np.random.default_rng(0).standard_normal(self.prior_mean_.shape)  # the same for everybody
        days: IntArray = np.zeros(0, dtype=np.int64)
        if len(self.day_draws_):
            days = self._day_rows(queries.times, len(queries.items))
        common = (queries.offsets, queries.items, days)
        draws = (self.item_draws_, self.day_draws_, self.prior_precision_)
        middle = (self.levels_[1:] + self.levels_[:-1]) / 2
        classes = np.where(np.isnan(values), -1, np.searchsorted(middle, values))
        target = ((values - self.center_) / self.spread_).astype(np.float32)

        def block(part: slice) -> None:
            rows = np.arange(part.start, part.stop)
            both = mean[part], drawn[part]
            if len(self.levels_):
                posterior.fold_in_ordinal(*both, rows, *common, classes, *draws, self.edges_, noises)
            else:
                posterior.fold_in(*both, rows, *common, target, *draws, self.noise_, noises)

        parallel.run(block, parallel.blocks(len(queries), _FOLD_ROWS))
        return mean, drawn

    def _day_rows(self, times: IntArray | None, n: int) -> IntArray:
        """(n,) row of ``day_draws_`` of each moment; the last row, the mean of all, for a day without ratings."""
        last = len(self.days_)
        if times is None:
            return np.full(n, last)
        day = times // SECONDS_PER_DAY
        place = np.minimum(np.searchsorted(self.days_, day), last - 1)
        return np.where(self.days_[place] == day, place, last)

    def _days_asked(self, queries: Queries) -> FloatArray:
        """(n, S, m) float32 vector of the day of each question; without one, the mean over the user's own ratings."""
        n = len(queries)
        if queries.at is not None:
            return self.day_draws_[self._day_rows(queries.at, n)]
        days = self._day_rows(queries.times, len(queries.items))
        silent = np.flatnonzero(queries.lengths == 0)
        rows, columns = (
            np.append(queries.rows, silent),
            np.append(days, np.full(len(silent), len(self.days_))),
        )
        share = 1.0 / np.maximum(queries.lengths, 1)[rows]
        weights = sparse.csr_array(
            (share.astype(np.float32), (rows, columns)), shape=(n, len(self.day_draws_))
        )
        flat = self.day_draws_.reshape(len(self.day_draws_), -1)
        return np.asarray((weights @ flat).reshape(n, *self.day_draws_.shape[1:]), dtype=np.float32)

    def _shares(self, place: IntArray, items: IntArray, asked: FloatArray) -> FloatArray:
        """(p, K) float64 probability of each class."""
        out = np.empty((len(place), len(self.levels_)))
        posterior.shares(
            out, 0, len(place), place, items, asked, self.item_draws_, self.new_item_draws_, self.edges_
        )
        return out

    def _expected(self, asked: FloatArray, items: IntArray, *, everything: bool) -> FloatArray:
        """(n, len(items)) float32 expected ratings of requests, NaN nowhere."""
        n, size, _ = asked.shape
        if len(self.levels_):
            out = np.empty((n, len(items)), dtype=np.float32)
            ranges, table = ordinal.expectations(self.edges_, self.levels_)

            def block(part: slice) -> None:
                posterior.expected(out, part.start, part.stop, asked, items, self.item_draws_, table, ranges)

            parallel.run(block, parallel.blocks(n, _SCORED_ROWS))
            return out
        columns = self.item_draws_ if everything else self.item_draws_[items]
        own = asked[:, :, 0].mean(axis=1, dtype=np.float64)
        left = asked * np.float32(self.spread_ / size)
        left[:, :, 0] = self.spread_ / size
        product = left.reshape(n, -1) @ columns.reshape(len(columns), -1).T
        return np.asarray(product + (self.center_ + self.spread_ * own)[:, None], dtype=np.float32)
