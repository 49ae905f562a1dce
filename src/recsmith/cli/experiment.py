"""``recsmith run`` and ``compare-runs``: experiments from YAML files, and what came of them side by side."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsmith.cli.console import Bars, Output, duration, facts
from recsmith.cli.options import DryRun, Json, Quiet, parameters

if TYPE_CHECKING:
    from recsmith.experiment.config import Experiment
    from recsmith.experiment.run import Run
    from recsmith.protocols import Monitor
    from recsmith.types import Shape

_LINE_SECONDS = 10.0  # least time between two lines of progress where no terminal listens


def run(
    config: Annotated[Path, typer.Argument(metavar="FILE", help="A YAML file such as configs/sasrec.yaml.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="KEY=VALUE", help="parameters.learning_rate=0.01, seed=1 ..."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="Where the run goes; else below runs."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, or the newest of this name.")
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Do what an experiment file says: load, split, train, judge on the test part, write a folder."""
    from recsmith.experiment.config import read_experiment

    output = Output(as_json, quiet)
    experiment = read_experiment(config, parameters(settings))
    if dry_run:
        _estimate(output, experiment)
        return
    from recsmith.experiment.run import run as work

    with output.bars() as bars:
        watch = _Watch(output, bars)
        done = work(experiment, out=out, resume=resume, watch=watch.open, say=output.note)
    if done is not None:
        _say(output, done)


def compare_runs(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of complete runs.")],
    metric: Annotated[
        str | None, typer.Option("--metric", "-m", help="What decides; else ndcg@10, where all have it.")
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Test the others against this one; else against the best."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Lay runs side by side: figures with intervals, what differs, and paired tests on the same split."""
    from recsmith.experiment.compare import compare_runs as compared

    found = compared(runs, metric, baseline=baseline)
    tests = [] if found.tests is None else [found.tests]
    Output(as_json, quiet).show(found.as_dict(), *found.tables(), *tests)


@dataclass(slots=True)
class _Lines:
    """A ``Monitor`` that shows a bar, or says a line now and then where no terminal listens."""

    output: Output
    bar: Monitor
    label: str
    said_at: float = field(default_factory=time.monotonic)
    begun: tuple[int, float] | None = None  #: what was done at the first call, and when

    def progress(self, done: int, total: int, **figures: float) -> bool:
        """Show how far the work is, how fast it goes and how long it will take."""
        now = time.monotonic()
        self.begun = self.begun or (done - 1, now - figures.get("seconds", 0.0))
        if not self.output.listened_to and (now - self.said_at > _LINE_SECONDS or done == total):
            self.said_at = now
            left = (now - self.begun[1]) / max(done - self.begun[0], 1) * (total - done)
            shown = ", ".join(f"{name.replace('_', ' ')} {value:.5g}" for name, value in figures.items())
            self.output.note(f"{self.label}: {done} of {total}, {shown}, {duration(left)} left at most")
        return self.bar.progress(done, total, **figures)


@dataclass(frozen=True, slots=True)
class _Watch:
    """Opens a display for each step of a run."""

    output: Output
    bars: Bars

    @contextmanager
    def open(self, label: str) -> Iterator[Monitor]:
        """A bar, and lines beside it."""
        with self.bars.bar(label) as bar:
            yield _Lines(self.output, bar, label)


def _say(output: Output, done: Run) -> None:
    """The figures, and where everything is."""
    folder = done.folder
    payload: dict[str, Any] = {
        "run": str(folder.path),
        "bundle": str(folder.bundle),
        "took": done.took,
        "report": done.report.as_dict(),
    }
    lines = {"folder": folder.path, "model": folder.bundle, "time": duration(done.took["seconds"])}
    if "best_epoch" in done.took:
        lines["best epoch"] = f"{done.took['best_epoch']} of {done.took['epochs']} by validation"
    output.show(payload, done.report, facts(f"Run of {done.report.model}", lines))


def _estimate(output: Output, experiment: Experiment) -> None:
    from recsmith import estimate
    from recsmith.cli.sizes import show_estimate

    shape, pipeline = _shape(experiment), experiment.pipeline()
    k = max(experiment.evaluation.ks, default=1)
    lists = estimate.recommend_cost(pipeline.model, shape, shape.n_users, k, pipeline.memory_mb)
    work = {"load and split": estimate.of_cost(estimate.load_cost(shape) + estimate.split_cost(shape))}
    judged = experiment.in_epochs and experiment.training.validation is not None
    for stage in ("train", "refit") if judged and experiment.training.refit else ("train",):
        work[f"{experiment.model}: {stage}"] = estimate.of_fit(
            pipeline.model, shape, estimate.log_bytes(shape)
        )
    show_estimate(output, shape, {**work, "judge": estimate.of_cost(lists)})


def _shape(experiment: Experiment) -> Shape:
    """The size of what is learned from, about; the log is read where a filter was asked for."""
    from recsmith.cli.sizes import shape_of

    data = experiment.data
    source = str(data.source or data.train)
    if data.min_rating is not None or data.k_core is not None:
        return data.read(source).shape
    return shape_of(source, data.options())
