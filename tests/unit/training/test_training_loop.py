"""The training loop: known steps, early stop, exact resume, several processes, and what goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from recsmith.errors import BundleError, ParameterError, TrainingError
from recsmith.models.sequential.sasrec import SASRec
from recsmith.training.config import TrainingConfig
from recsmith.training.loop import Objective, train
from recsmith.training.schedule import factor


class Line(Objective):
    """y = 3 x, squared error, one weight."""

    def __init__(self, module: nn.Linear, n: int = 32, scale: float = 1.0) -> None:
        self.module, self.n_examples = module, n
        self.x = torch.linspace(-1, 1, n)[:, None] * scale

    def loss(self, rows):
        x = self.x[rows]
        return ((self.module(x) - 3 * x) ** 2).sum(), len(rows)


class Recorder:
    """A coach with the figures given beforehand."""

    def __init__(self, values=(), checkpoint: Path | None = None, stop_after: int | None = None) -> None:
        self.values, self.checkpoint, self.stop_after = list(values), checkpoint, stop_after
        self.told: list[dict[str, float]] = []

    def judge(self, model, epoch):
        return self.values[epoch - 1] if epoch <= len(self.values) else None

    def progress(self, done, total, **figures):
        self.told.append(figures)
        return done == self.stop_after


def linear(weight: float = 0.0) -> nn.Linear:
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, weight)
    return module


def run(module, objective, monitor=None, **parameters):
    return train(None, module, objective, TrainingConfig(**parameters), seed=1, monitor=monitor)


def test_it_finds_the_answer():
    module = linear()
    course = run(module, Line(module), epochs=300, learning_rate=0.05, batch_size=8)
    assert module.weight.item() == pytest.approx(3, abs=1e-3)
    assert course.epoch == len(course.history) == 300
    losses = [figures["loss"] for figures in course.history]
    assert losses[0] > 100 * losses[-1]


def test_steps_are_those_of_adamw_with_l1_and_l2():
    """One batch an epoch: the same steps as PyTorch's own optimizer on the same penalized loss."""
    ours, theirs = linear(0.5), linear(0.5)
    objective = Line(ours)
    run(ours, objective, epochs=5, learning_rate=0.1, batch_size=32, weight_decay=0.2, reg=0.3, l1=0.4)
    adam = torch.optim.AdamW(theirs.parameters(), lr=0.1, weight_decay=0.2)
    for _ in range(5):
        adam.zero_grad()
        w = theirs.weight
        loss = (
            ((theirs(objective.x) - 3 * objective.x) ** 2).mean() + 0.15 * (w**2).sum() + 0.4 * w.abs().sum()
        )
        loss.backward()
        adam.step()
    assert ours.weight.item() == pytest.approx(theirs.weight.item(), abs=1e-6)


def test_long_gradients_are_cut():
    steps = []
    for clip in (None, 1e-12):
        module = linear()
        run(module, Line(module), epochs=1, batch_size=32, learning_rate=0.1, clip_norm=clip)
        steps.append(module.weight.item())
    assert steps[0] == pytest.approx(0.1, rel=1e-4)
    assert steps[1] < 0.01  # Adam divides by |g| + 1e-8


@pytest.mark.parametrize(
    ("parameters", "epoch", "wanted"),
    [
        ({"schedule": "constant"}, 7.0, 1.0),
        ({"schedule": "constant", "warmup_epochs": 4}, 1.0, 0.25),
        ({"schedule": "cosine", "epochs": 10}, 5.0, 0.5),
        ({"schedule": "cosine", "epochs": 10}, 10.0, 0.0),
        ({"schedule": "cosine", "epochs": 12, "warmup_epochs": 2}, 7.0, 0.5),
        ({"schedule": "restarts", "epochs": 50, "restart_epochs": 4}, 2.0, 0.5),
        ({"schedule": "restarts", "epochs": 50, "restart_epochs": 4}, 4.0, 1.0),
        ({"schedule": "restarts", "epochs": 50, "restart_epochs": 4}, 8.0, 0.5),
        ({"schedule": "restarts", "epochs": 50, "restart_epochs": 4}, 12.0, 1.0),
    ],
)
def test_schedules(parameters, epoch, wanted):
    assert factor(TrainingConfig(**parameters), epoch) == pytest.approx(wanted, abs=1e-12)


def test_early_stop_keeps_the_best_weights():
    """The figures fall from the third epoch on: the weights of the third come back."""
    third, module = linear(), linear()
    run(third, Line(third), epochs=3, batch_size=8)
    coach = Recorder([0.1, 0.2, 0.3, 0.2, 0.2, 0.2])
    course = run(module, Line(module), coach, epochs=50, batch_size=8, patience=2)
    assert (course.best_epoch, course.best, course.epoch) == (3, 0.3, 5)
    assert course.ended
    assert module.weight.item() == third.weight.item()
    assert [figures["validation"] for figures in coach.told] == [0.1, 0.2, 0.3, 0.2, 0.2]


def test_epochs_that_are_not_judged_do_not_count():
    module = linear()
    course = run(module, Line(module), Recorder([None, 0.3, None, 0.2, None, 0.2]), epochs=9, patience=2)
    assert course.epoch == 6
    assert course.best_epoch == 2


def test_nan_stops_and_says_where():
    module = linear()
    with pytest.raises(TrainingError, match=r"step 1 of 4 in epoch 1.*Lower 'learning_rate' \(now 0.001\)"):
        run(module, Line(module, scale=float("inf")), epochs=3, batch_size=8)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a cuda device")
def test_cuda_that_is_not_there(ml_like):
    with pytest.raises(ParameterError, match="'device' parameter of training must be 'auto' or 'cpu'"):
        SASRec(device="cuda").fit(ml_like)


def fit(log, monitor=None, **parameters):
    settings = {"epochs": 6, "embedding_size": 8, "dropout": 0.3, "batch_size": 32} | parameters
    return SASRec(**settings).fit(log, rng=3, monitor=monitor)


def weights(model):
    return {name: tensor.numpy() for name, tensor in model.module_.state_dict().items()}


def test_resume_gives_the_same_digits(ml_like, tmp_path):
    figures = [0.1, 0.3, 0.2, 0.25, 0.24, 0.2]
    whole = Recorder(figures)
    wanted = fit(ml_like, whole)
    first, second = (Recorder(figures, tmp_path / "c.safetensors", stop_after=stop) for stop in (3, None))
    fit(ml_like, first)
    resumed = fit(ml_like, second)
    assert len(first.told) == 3
    assert [f["loss"] for f in first.told + second.told] == [f["loss"] for f in whole.told]
    assert resumed.course_.best_epoch == wanted.course_.best_epoch == 2
    for name, array in weights(wanted).items():
        np.testing.assert_array_equal(array, weights(resumed)[name])


def test_a_finished_training_is_not_repeated(ml_like, tmp_path):
    coach = Recorder([0.1], tmp_path / "c.safetensors")
    wanted = fit(ml_like, coach)
    again = Recorder([0.1], tmp_path / "c.safetensors")
    found = fit(ml_like, again)
    assert again.told == []
    for name, array in weights(wanted).items():
        np.testing.assert_array_equal(array, weights(found)[name])


def test_a_checkpoint_of_another_training_is_refused(ml_like, tmp_path):
    path = tmp_path / "c.safetensors"
    fit(ml_like, Recorder([0.1], path), epochs=2)
    fit(ml_like, Recorder([0.1], path), epochs=3, patience=7)
    with pytest.raises(BundleError, match=r"config embedding_size is 8, and here it is 16"):
        fit(ml_like, Recorder([0.1], path), embedding_size=16)
    half = ml_like.take(np.arange(len(ml_like) // 2))
    with pytest.raises(BundleError, match="another training"):
        fit(half, Recorder([0.1], path))
    header = json.loads(path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")])
    assert json.loads(header["__metadata__"]["recsmith"])["identity"]["model"] == "SASRec"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BundleError, match="damaged"):
        fit(ml_like, Recorder([0.1], path))


def test_mixed_precision_learns_the_same_thing(ml_like):
    exact, mixed = (fit(ml_like, precision=p, dropout=0.0) for p in ("float32", "mixed"))
    losses = [model.course_.history[-1]["loss"] for model in (exact, mixed)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert losses[0] != losses[1]


def test_two_processes_follow_the_curve_of_one(tmp_path):
    script = tmp_path / "fit.py"
    script.write_text(
        textwrap.dedent("""
        import json, os, sys
        from recsmith.data.dataset import Dataset
        from recsmith.data.sources.synthetic import generate
        from recsmith.models.sequential.sasrec import SASRec

        log = Dataset.from_log(generate(60, 40, 900, seed=2))
        model = SASRec(epochs=4, embedding_size=8, dropout=0.0, batch_size=16).fit(log, rng=3)
        if os.environ.get("RANK", "0") == "0":
            print(json.dumps([figures["loss"] for figures in model.course_.history]))
        """)
    )
    one = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    two = subprocess.run(
        [*launch, str(script)], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert two.returncode == 0, two.stderr[-2000:]
    single, double = (json.loads(done.stdout.strip().splitlines()[-1]) for done in (one, two))
    np.testing.assert_allclose(double, single, atol=1e-4)
    assert single[-1] < single[0]
