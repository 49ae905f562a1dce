"""``run``: an experiment from its file to a folder with figures, model and everything that it takes to do it again."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recsmith.bundle import Bundle
from recsmith.data.split import Split
from recsmith.errors import DataError, ParameterError
from recsmith.evaluation.protocol import judge
from recsmith.evaluation.report import Report
from recsmith.experiment.coach import EpochCoach, sample_lists
from recsmith.experiment.config import Experiment
from recsmith.experiment.environment import cuda_device, environment
from recsmith.experiment.folder import RunFolder, choose_folder, flattened
from recsmith.experiment.held_out import HeldOut, hold_out
from recsmith.experiment.trackers import Say, check_extras, open_trackers, remote_trackers
from recsmith.experiment.train import as_bundle
from recsmith.experiment.watch import Watch, silent
from recsmith.protocols import Embedder, Tracker
from recsmith.resources import measure


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What a run left behind."""

    folder: RunFolder
    report: Report
    took: dict[str, Any]  #: seconds, best_epoch, epochs: what ``run.json`` holds


def run(
    experiment: Experiment,
    *,
    out: Path | None = None,
    resume: bool = False,
    watch: Watch | None = None,
    say: Say = lambda text: None,
) -> Run | None:
    """Load, split, train, judge and write; trackers are told meanwhile.

    Parameters
    ----------
    experiment
        All of it; ``read_experiment`` makes one of a file.
    out
        Folder of the run; None: a new one below ``runs``, named after the experiment.
    resume
        Go on with the run in ``out``, or with the newest of that name, from its last epoch; of a complete run only what
        trackers have not got is sent. Where there is none, one is begun.
    watch
        Opens a progress display for a label.
    say
        Is told what the reader must know.

    Returns
    -------
    Run
        None in all but the first of several processes that ``torchrun`` started: they only help to train.

    Raises
    ------
    InputError
        An experiment that cannot be run, or a folder that holds another one.
    MissingExtraError
        A model, tracker or map needs an extra that is not installed.
    TrainingError
        The loss is not a number any more.
    """
    experiment.check()
    check_extras(experiment.tracking)
    helper = int(os.environ.get("RANK", "0")) > 0
    if out is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ParameterError("Say where the run goes: several processes must agree on it, --out runs/NAME.")
    folder = choose_folder(experiment, out, resume=resume or helper)
    if folder.complete.exists():
        return None if helper else _send_rest(experiment, folder, say)
    work = _Work(experiment, folder, watch or silent, say)
    if helper:
        work.help()
        return None
    folder.check(experiment)
    return work.lead()


class _Work:
    """One run, step by step."""

    def __init__(self, experiment: Experiment, folder: RunFolder, watch: Watch, say: Say) -> None:
        self.experiment, self.folder, self.watch, self.say = experiment, folder, watch, say
        self.tracker: Tracker = open_trackers(experiment, folder.path, say)
        self.took: dict[str, Any] = {}

    def help(self) -> None:
        """Train beside the first process, and write nothing."""
        from recsmith.tracking.null import NullTracker

        self.tracker, self.watch = NullTracker(), silent
        self._train(self.experiment.load_split())

    def lead(self) -> Run:
        """Everything; trackers learn of a failure, too."""
        try:
            with measure() as usage:
                report, bundle = self._measured()
            self._draw(bundle)
            self._write(report, bundle, usage.seconds)
        except BaseException:
            self.tracker.close(failed=True)
            raise
        self.tracker.close()
        shutil.rmtree(self.folder.checkpoints, ignore_errors=True)
        return Run(self.folder, report, self.took)

    def _measured(self) -> tuple[Report, Bundle]:
        experiment, asked = self.experiment, self.experiment.evaluation
        with self.watch("load and split"):
            split = experiment.load_split()
        self.folder.begin(experiment)
        self._remember(split)
        bundle, held_out = self._train(split)
        judged = split if held_out is None else held_out.fresh(split)
        with self.watch("judge"):
            report = judge(
                bundle.pipeline, judged, name=experiment.name, seed=experiment.seed, **asked.model_dump()
            )
        report = replace(report, seconds={"fit": bundle.info["fit_seconds"], **report.seconds})
        self.tracker.metrics({f"test/{name}": value for name, value in report.means.items()})
        return report, bundle.with_info(metrics=report.card())

    def _remember(self, split: Split) -> None:
        """Write down where and on what; a run that goes on must find the same data."""
        now, before = environment(split), self.folder.read_environment()
        for part in ("train", "split"):
            if before and before[part]["fingerprint"] != now[part]["fingerprint"]:
                raise DataError(
                    f"{self.folder.path} was begun on other data: its {part} part has another fingerprint. Begin a new "
                    "run, or bring back the data."
                )
        self.folder.write_json(self.folder.environment, now)
        told = {key: now[key] for key in ("python", "platform", "git", "train", "split")}
        self.tracker.parameters(flattened(self.experiment.model_dump(mode="json")) | flattened(told))

    def _train(self, split: Split) -> tuple[Bundle, HeldOut | None]:
        """The fitted model, and what was held out of the log that it was fitted on."""
        asked = self.experiment.training
        if not self.experiment.in_epochs or asked.validation is None:
            if asked.validation is not None:
                self.say(
                    f"{self.experiment.model} does not train in epochs: nothing is held out for validation."
                )
            return self._fit(split, "train"), None
        held_out = hold_out(split.train, asked, self.experiment.seed)
        bundle = self._fit(held_out.split, "train", held_out=held_out)
        course: Any = bundle.pipeline.model
        self.took |= {
            "epochs": course.course_.epoch,
            "best_epoch": course.course_.best_epoch or course.course_.epoch,
        }
        if not asked.refit:
            return bundle, held_out
        return self._fit(split, "refit", last=self.took["best_epoch"]), None

    def _fit(
        self, split: Split, stage: str, *, held_out: HeldOut | None = None, last: int | None = None
    ) -> Bundle:
        experiment, asked = self.experiment, self.experiment.training
        pipeline = experiment.pipeline()
        with self.watch(f"{experiment.model}: {stage}") as monitor:
            coach = EpochCoach(
                stage=stage,
                pipeline=pipeline,
                data=split.train,
                tracker=self.tracker,
                monitor=monitor,
                samples=experiment.tracking.samples if stage == "train" else None,
                checkpoint=self.folder.checkpoints / f"{stage}.safetensors" if asked.checkpoint else None,
                held_out=held_out,
                metric=asked.validation or "",
                every=asked.every,
                last=last,
            )
            return as_bundle(pipeline, split.train, seed=experiment.seed, monitor=coach)

    def _draw(self, bundle: Bundle) -> None:
        """Sample lists of the model that is kept, and the maps of its item vectors."""
        tracking, model = self.experiment.tracking, bundle.pipeline.model
        if rows := sample_lists(bundle.pipeline, bundle.data, tracking.samples):
            self.tracker.table("final-samples", rows)
        if tracking.maps and not isinstance(model, Embedder):
            self.say(f"{self.experiment.model} has no item vectors: no map of them is drawn.")
            return
        for method in tracking.maps:
            from recsmith.plots.embeddings import draw_map

            with self.watch(f"{method} map"):
                file = self.folder.path / "maps" / f"{method}.png"
                draw_map(model.embed_items(), bundle.data, method, file, seed=self.experiment.seed)  # type: ignore[attr-defined]
            self.tracker.artifact(str(file))

    def _write(self, report: Report, bundle: Bundle, seconds: float) -> None:
        """Model and figures; ``run.json`` comes last."""
        folder = self.folder
        bundle.save(folder.bundle)
        folder.write_report(report)
        for file in (folder.experiment, folder.environment, folder.report):
            self.tracker.artifact(str(file))
        self.tracker.model(str(folder.bundle))
        self.took |= {"seconds": round(seconds, 3), "cuda": cuda_device()}
        folder.write_json(folder.complete, self.took)


def _send_rest(experiment: Experiment, folder: RunFolder, say: Say) -> Run:
    """A complete run: trackers get what they have not got."""
    for tracker in remote_trackers(experiment, folder.path, say):
        if tracker.waiting:
            tracker.send_rest()
    say(f"{folder.path} is complete.")
    return Run(folder, folder.read_report(), folder.read_complete())
