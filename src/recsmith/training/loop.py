"""The one training loop: it knows batches, steps and epochs, and no model."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recsmith.errors import TrainingError
from recsmith.protocols import Coach, Model, Monitor
from recsmith.training import checkpoint
from recsmith.training.config import TrainingConfig
from recsmith.training.device import place
from recsmith.training.distributed import World
from recsmith.training.schedule import factor
from recsmith.types import IntArray

_LOOK_EVERY = 50  # steps between looks at the loss: each look waits for the device


class Objective(ABC):
    """What a model brings to the loop: examples, and the loss of some of them."""

    n_examples: int  #: examples of an epoch, >= 1
    regularizes: bool = False  #: adds ``config.reg`` by itself

    def begin(self, epoch: int, rng: np.random.Generator) -> None:  # noqa: B027 - most have nothing to do
        """Prepare epoch number ``epoch`` (from 0): draw negatives, move a weight."""

    def order(self, batch_size: int, rng: np.random.Generator) -> list[IntArray]:
        """The batches of an epoch, each an array of example numbers."""
        shuffled = rng.permutation(self.n_examples)
        return [shuffled[start : start + batch_size] for start in range(0, self.n_examples, batch_size)]

    @abstractmethod
    def loss(self, rows: IntArray) -> tuple[Tensor, float]:
        """The summed loss of the examples ``rows``, and the number of terms that its mean is taken over."""


@dataclass(slots=True)
class Course:
    """How far a training is, and what is best so far."""

    epoch: int = 0  #: epochs done
    best_epoch: int = 0
    best: float | None = None  #: figure of the best epoch; None where nobody judged
    waited: int = 0  #: judgements since the best
    ended: bool = False  #: stopped before the last epoch, for want of a new best
    history: list[dict[str, float]] = field(default_factory=list)  #: figures of each epoch


def train(
    model: Model,
    module: nn.Module,
    objective: Objective,
    config: TrainingConfig,
    *,
    seed: int,
    monitor: Monitor | None = None,
    settle: Callable[[], None] = lambda: None,
    identity: dict[str, Any] | None = None,
) -> Course:
    """Descend on ``objective`` and leave the best weights in ``module``.

    Every draw depends on the seed and the epoch alone, so a training that goes on from a checkpoint gives the digits
    of one that was never broken off.

    Parameters
    ----------
    model
        What a ``Coach`` judges after each epoch.
    module
        The weights; they must be on ``place(config.device)``.
    objective
        Examples and loss.
    config
        Steps, schedule, patience.
    seed
        Of the order of examples, of ``objective.begin`` and of dropout.
    monitor
        Is told of each epoch. A ``Coach`` judges the model, too, and names the checkpoint.
    settle
        Called before the coach judges: the model makes what it derives from the weights.
    identity
        JSON values that a checkpoint must agree with to be gone on from.

    Raises
    ------
    TrainingError
        The loss is not a number any more.
    BundleError
        The checkpoint is damaged or of another training.
    ParameterError
        cuda is asked for and there is none.
    """
    return _Trainer(model, module, objective, config, seed, monitor, settle, identity or {}).run()


class _Trainer:
    def __init__(
        self,
        model: Model,
        module: nn.Module,
        objective: Objective,
        config: TrainingConfig,
        seed: int,
        monitor: Monitor | None,
        settle: Callable[[], None],
        identity: dict[str, Any],
    ) -> None:
        self.model, self.module, self.objective = model, module, objective
        self.config, self.seed, self.monitor, self.settle = config, seed, monitor, settle
        self.coach = monitor if isinstance(monitor, Coach) else None
        self.device = place(config.device)
        self.world = World.join(self.device)
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.best_weights: dict[str, Tensor] = {}
        self.course = Course()
        self.identity = identity

    def run(self) -> Course:
        """Go through the epochs."""
        self._resume()
        course = self.course
        while course.epoch < self.config.epochs and not course.ended:
            start = time.perf_counter()
            figures = self._epoch(course.epoch)
            seconds = time.perf_counter() - start
            course.epoch += 1
            figures |= {"seconds": seconds, "examples_per_second": self.objective.n_examples / seconds}
            self._judge(figures)
            course.history.append(figures)
            stop = self._tell(figures)
            self._save()
            if stop:
                break
        if self.best_weights:
            self.module.load_state_dict(self.best_weights)
        self.module.eval()
        return course

    def _epoch(self, epoch: int) -> dict[str, float]:
        """One pass; returns loss and step size."""
        rng = np.random.default_rng([self.seed, epoch])
        torch.manual_seed(int(rng.integers(2**62)) + self.world.rank)
        self.module.train()
        self.objective.begin(epoch, rng)
        batches = self.objective.order(self.config.batch_size, rng)
        losses, rate = [], 0.0
        for step, batch in enumerate(batches):
            rate = self.config.learning_rate * factor(self.config, epoch + (step + 1) / len(batches))
            losses.append(self._step(batch, rate))
            if (step + 1) % _LOOK_EVERY == 0 or step + 1 == len(batches):
                self._check(losses[-_LOOK_EVERY:], epoch, step, len(batches))
        terms = torch.stack(losses).double().sum(0)
        return {"loss": float(terms[0] / terms[1]), "learning_rate": rate}

    def _step(self, batch: IntArray, rate: float) -> Tensor:
        """Learn from a batch; returns its summed loss and the number of terms, of all processes."""
        mixed = self.config.precision == "mixed"
        with torch.autocast(self.device.type, torch.bfloat16) if mixed else nullcontext():
            total, terms = self.objective.loss(self.world.part(batch))
        said = self.world.total(torch.stack([total.detach().float(), total.new_tensor(terms).float()]))
        self.optimizer.zero_grad()
        (total / said[1]).backward()  # type: ignore[no-untyped-call]
        self.world.add_gradients([p for p in self.parameters if p.requires_grad])  # others take no step
        self._penalize()
        if self.config.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        return said

    @torch.no_grad()
    def _penalize(self) -> None:
        """Add the gradients of the L1 and L2 terms."""
        l1, l2 = self.config.l1, 0.0 if self.objective.regularizes else self.config.reg
        if not l1 and not l2:
            return
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.grad.add_(parameter, alpha=l2)
                parameter.grad.add_(parameter.sign(), alpha=l1)

    def _check(self, losses: list[Tensor], epoch: int, step: int, steps: int) -> None:
        """Stop where a loss is not a number: what follows it means nothing."""
        bad = ~torch.isfinite(torch.stack(losses)[:, 0])
        if bad.any():
            first = step + 1 - len(losses) + int(bad.int().argmax()) + 1
            raise TrainingError(
                f"The loss of {type(self.model).__name__} is not a number from step {first} of {steps} in epoch "
                f"{epoch + 1} on. Lower 'learning_rate' (now {self.config.learning_rate:g}) or set 'clip_norm' "
                f"(now {self.config.clip_norm}), and look for ratings or features that are out of scale."
            )

    def _judge(self, figures: dict[str, float]) -> None:
        """Ask the coach, on the first process; keep the best weights."""
        course, nothing = self.course, float("nan")
        if self.coach is None:
            return
        value = None
        if self.world.rank == 0:
            self.module.eval()
            self.settle()
            value = self.coach.judge(self.model, course.epoch)
        said = self.world.from_first(nothing if value is None else value)
        if said != said:
            return
        figures["validation"] = said
        if course.best is None or said > course.best:
            course.best, course.best_epoch, course.waited = said, course.epoch, 0
            self.best_weights = {name: t.detach().clone() for name, t in self.module.state_dict().items()}
        else:
            course.waited += 1
            course.ended = course.waited >= self.config.patience

    def _tell(self, figures: dict[str, float]) -> bool:
        """Report the epoch; returns whether to stop."""
        stop = False
        if self.monitor is not None and self.world.rank == 0:
            stop = self.monitor.progress(self.course.epoch, self.config.epochs, **figures)
        return bool(self.world.from_first(float(stop)))

    def _save(self) -> None:
        if self.coach is None or self.coach.checkpoint is None or self.world.rank:
            return
        tensors = {f"weights.{name}": t for name, t in self.module.state_dict().items()}
        tensors |= {f"best.{name}": t for name, t in self.best_weights.items()}
        for number, slot in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{number}.{name}": t for name, t in slot.items()}
        course = {name: getattr(self.course, name) for name in Course.__slots__}
        checkpoint.write(self.coach.checkpoint, tensors, {"identity": self._identity(), "course": course})

    def _resume(self) -> None:
        """Take up a checkpoint, where there is one."""
        if self.coach is None or self.coach.checkpoint is None or not self.coach.checkpoint.exists():
            return
        tensors, values = checkpoint.read(self.coach.checkpoint, self._identity())
        self.module.load_state_dict(_below(tensors, "weights"))
        self.best_weights = _below(tensors, "best")
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _below(tensors, "adam").items():
            number, _, slot = name.partition(".")
            state.setdefault(int(number), {})[slot] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.course = Course(**values["course"])

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a training to go on. More patience, and more epochs, may be given."""
        free = {"patience", "device"} | (set() if self.config.schedule == "cosine" else {"epochs"})
        return {
            "model": type(self.model).__name__,
            "config": self.config.model_dump(mode="json", exclude=free),
            "seed": self.seed,
            "examples": self.objective.n_examples,
            **self.identity,
        }


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors named ``prefix.NAME``, by NAME."""
    return {
        name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")
    }
