"""The table that all estimators share: importance weights and predicted rewards of each round, made in one pass.

Notation (see also ``docs/off_policy.md``): in round ``i`` the logging policy ``p`` took action ``a_i`` in context
``x_i`` with probability ``p_i`` and reward ``r_i``; the target policy takes ``a`` with ``pi(a | x_i)``, and ``q(x, a)``
is a prediction of the reward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from recsmith import parallel
from recsmith.errors import DataError, ParameterError
from recsmith.evaluation.off_policy.logged import LoggedBandit, check_finite
from recsmith.evaluation.significance import Sample
from recsmith.kernels import njit
from recsmith.types import BoolArray, FloatArray, IntArray

Target: TypeAlias = FloatArray | Callable[[LoggedBandit], FloatArray]
"""A target policy: an array as ``Rounds.of`` takes it, or a function of the log that gives one."""

_BLOCK = 1 << 16  # rounds per task
_TOLERANCE = 1e-6  # of a distribution's sum


@dataclass(frozen=True, slots=True, eq=False)
class Rounds:
    """What the estimators need of each round, float64."""

    reward: FloatArray  #: (n,)
    chosen: FloatArray  #: (n,) probability pi(a_i | x_i) of the logged action under the target
    weight: FloatArray  #: (n,) importance weight w_i = pi(a_i | x_i) / p_i
    impossible: FloatArray  #: (n,) target's probability of other actions, where the logged one was certain
    unseen: (
        FloatArray  #: (n,) its probability of actions that the log never shows at this position, elsewhere
    )
    predicted: FloatArray | None = None  #: (n,) q(x_i, a_i)
    direct: FloatArray | None = None  #: (n,) sum over a of pi(a | x_i) q(x_i, a)
    unit: IntArray | None = None  #: (n,) number, from 0, of the unit that each round belongs to

    @classmethod
    def of(cls, log: LoggedBandit, target: Target, rewards: FloatArray | None = None) -> Rounds:
        """The table of a log, a target policy and predicted rewards.

        Parameters
        ----------
        log
            n rounds.
        target
            (n, n_actions) or (n, n_actions, n_positions) probabilities of the target policy; a first axis of 1 is a
            policy that is the same in all rounds. Or (n,) its probability of the logged action alone, which is all
            that estimators without predicted rewards need. Or a function of the log that gives one of these.
        rewards
            (n, n_actions) predicted reward of each action at the round's own position, or
            (n, n_actions, n_positions); a first axis of 1 as above.

        Raises
        ------
        ParameterError
            An array of another shape, or ``rewards`` without the whole distribution of the target.
        DataError
            Probabilities below 0 or that do not add up to 1, or predictions that are not finite;
            the log's row is named, counted from 1.
        """
        given = np.asarray(target(log) if callable(target) else target)
        if given.ndim == 1:
            return cls._of_chosen(log, given, rewards)
        pi = _shaped("target", given, log)
        q = None if rewards is None else _shaped("rewards", np.asarray(rewards), log)
        shown = np.zeros((log.n_positions, log.n_actions), dtype=np.bool_)
        shown[log.positions, log.action] = True
        out = np.empty((6, len(log)))
        _fill(log, pi, q, shown, out)
        chosen, mass, least, unseen, predicted, direct = out
        _check_distribution(mass, least, log.positions)
        if q is not None:
            check_finite("rewards of the actions that the target takes", direct)
            check_finite("rewards of the logged actions", predicted)
        return cls(
            reward=log.reward,
            chosen=chosen,
            weight=chosen / log.propensity,
            impossible=_impossible(log, chosen),
            unseen=np.where(log.propensity < 1, unseen, 0.0),
            predicted=None if q is None else predicted,
            direct=None if q is None else direct,
            unit=log.units,
        )

    @classmethod
    def _of_chosen(cls, log: LoggedBandit, chosen: FloatArray, rewards: FloatArray | None) -> Rounds:
        if len(chosen) != len(log):
            raise ParameterError.of("off-policy evaluation", "target", f"of {len(log)} rows", chosen.shape)
        if rewards is not None:
            raise ParameterError(
                "Predicted rewards need the target's probability of every action, (n, n_actions). "
                "Got its probability of the logged action alone."
            )
        chosen = chosen.astype(np.float64)
        wrong = ~((chosen >= 0) & (chosen <= 1))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(f"The target's probabilities must be in [0, 1]. Row {row + 1} has {chosen[row]}.")
        return cls(
            reward=log.reward,
            chosen=chosen,
            weight=chosen / log.propensity,
            impossible=_impossible(log, chosen),
            unseen=np.zeros(len(log)),
            unit=log.units,
        )

    def __len__(self) -> int:
        return len(self.reward)

    def sample(self, total: FloatArray, count: FloatArray | None = None) -> Sample:
        """``sum(total) / sum(count)`` over units; ``count`` None: every round counts 1."""
        counted = np.ones(len(self)) if count is None else count
        if self.unit is None:
            return Sample(total, counted)
        sums = [np.bincount(self.unit, column).astype(np.float64) for column in (total, counted)]
        return Sample(sums[0], sums[1])


def _impossible(log: LoggedBandit, chosen: FloatArray) -> FloatArray:
    return np.where(log.propensity >= 1, np.maximum(1 - chosen, 0.0), 0.0)


def _shaped(name: str, given: FloatArray, log: LoggedBandit) -> FloatArray:
    """The array as (n or 1, n_positions or 1, n_actions) view."""
    values = given[:, None, :] if given.ndim == 2 else np.moveaxis(given, 2, 1) if given.ndim == 3 else given
    rows, actions = len(log), log.n_actions
    fits = values.ndim == 3 and values.shape[0] in (1, rows) and values.shape[2] == actions
    if not fits or values.shape[1] not in (1, log.n_positions):
        wanted = f"of shape ({rows} or 1, {actions}) or ({rows} or 1, {actions}, {log.n_positions})"
        raise ParameterError.of("off-policy evaluation", name, wanted, given.shape)
    return values.astype(np.float64, copy=False)


def _fill(log: LoggedBandit, pi: FloatArray, q: FloatArray | None, shown: BoolArray, out: FloatArray) -> None:
    nothing = np.zeros((1, 1, log.n_actions)) if q is None else q
    position = log.positions

    def block(rows: slice) -> None:
        _pass(rows.start, rows.stop, log.action, position, pi, nothing, shown, out)

    parallel.run(block, parallel.blocks(len(log), _BLOCK))


@njit(cache=True, nogil=True)
def _pass(start, stop, action, position, pi, q, shown, out):  # type: ignore[no-untyped-def]
    """One look at each round's distribution: rows of ``out`` as ``Rounds.of`` unpacks them."""
    for i in range(start, stop):
        slot = position[i]
        of_pi = pi[i if pi.shape[0] > 1 else 0, slot if pi.shape[1] > 1 else 0]
        of_q = q[i if q.shape[0] > 1 else 0, slot if q.shape[1] > 1 else 0]
        seen = shown[slot]
        mass, least, unseen, direct = 0.0, 0.0, 0.0, 0.0
        for a in range(of_pi.shape[0]):
            p = of_pi[a]
            mass += p
            least = min(least, p)
            if not seen[a]:
                unseen += p
            if p != 0.0:
                direct += p * of_q[a]
        out[0, i], out[1, i], out[2, i] = of_pi[action[i]], mass, least
        out[3, i], out[4, i], out[5, i] = unseen, of_q[action[i]], direct


def _check_distribution(mass: FloatArray, least: FloatArray, position: IntArray) -> None:
    wrong: Any = ~(np.abs(mass - 1) <= _TOLERANCE) | (least < 0)
    if wrong.any():
        row = int(np.argmax(wrong))
        found = f"holds {least[row]:.6g}" if least[row] < 0 else f"adds up to {mass[row]:.6g}"
        raise DataError(
            "The target must be a probability distribution over the actions. "
            f"For row {row + 1} of the log, at position {position[row]}, it {found}."
        )
