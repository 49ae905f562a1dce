"""The coach of an experiment: judges a training on held-out events, tells the trackers, shows sample lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsmith.bundle import Bundle
from recsmith.data.dataset import Dataset
from recsmith.evaluation.answers import answer, can_rank
from recsmith.evaluation.report import smaller_is_better
from recsmith.experiment.config import Samples
from recsmith.experiment.held_out import HeldOut
from recsmith.protocols import Model, Monitor, Tracker
from recsmith.recommend import Pipeline

_SHOWN = 3  # latest events of a history in a sample


@dataclass(slots=True, kw_only=True, eq=False)
class EpochCoach:
    """A ``recsmith.protocols.Coach``.

    Parameters
    ----------
    stage
        Stands before the figures of the training: ``train/loss``.
    pipeline
        What the model is part of; its fallback is not asked.
    data
        What the model is fitted on.
    tracker
        Is told of each epoch.
    monitor
        Shows the progress, and may stop the training.
    samples
        Who is shown, and how often; None: nobody.
    checkpoint
        The file of the training's state; None: it is not kept.
    held_out
        Who is asked; None: nobody judges.
    metric
        By what.
    every
        Epochs between judgements.
    last
        The epoch after which the training stops; None: where the model says.
    """

    stage: str
    pipeline: Pipeline
    data: Dataset
    tracker: Tracker
    monitor: Monitor
    samples: Samples | None = None
    checkpoint: Path | None = None
    held_out: HeldOut | None = None
    metric: str = ""
    every: int = 1
    last: int | None = None

    def judge(self, model: Model, epoch: int) -> float | None:
        """The figure on what was held out, larger is better; log sample lists when it is time for them."""
        fitted = replace(self.pipeline, model=model, fallback=None, n_items=self.data.n_items)  # type: ignore[arg-type]
        if self.samples is not None and epoch % self.samples.every == 0:
            rows = sample_lists(fitted, self.data, self.samples, self.held_out)
            if rows:
                self.tracker.table("samples", rows, epoch)
        if self.held_out is None or epoch % self.every:
            return None
        figure = answer(fitted, self.held_out.split, self.metric).sample(self.metric).estimate()
        return -figure if smaller_is_better(self.metric) else figure

    def progress(self, done: int, total: int, **figures: float) -> bool:
        """Tell trackers and screen; returns whether to stop."""
        told = dict(figures)
        if "validation" in told:
            sign = -1.0 if smaller_is_better(self.metric) else 1.0
            told[self.metric] = sign * told.pop("validation")
        if told:
            self.tracker.metrics({self._named(name): value for name, value in told.items()}, done)
        stop = self.monitor.progress(done, total, **told)
        if done == self.last:
            self.checkpoint = None  # from that of the last epoch a training would go on beyond its end
            stop = True
        return stop

    def _named(self, name: str) -> str:
        return f"validation/{name}" if name == self.metric else f"{self.stage}/{name}"


def sample_lists(
    fitted: Pipeline, data: Dataset, samples: Samples, held_out: HeldOut | None = None
) -> list[Mapping[str, Any]]:
    """Lists of a few users as rows ``user, history, rank, item, score``; none of a model that orders no items.

    With ``held_out`` they are users who are judged by it, and ``hit`` says which items were held out of their history.
    """
    if not can_rank(fitted) or not samples.users:
        return []
    if held_out is None:
        queries = data.queries(np.flatnonzero(np.diff(data.offsets))[: samples.users].astype(np.int32))
    else:
        queries = held_out.split.queries.take(slice(0, samples.users))
    top = fitted.recommend(queries, samples.k)
    label = Bundle("", fitted, data).item_labels
    names = label(data.items.ids).to_list()
    ids = data.users.raw(queries.users).cast(pl.String).to_list()
    rows: list[Mapping[str, Any]] = []
    for row, slot in zip(*np.nonzero(top.items >= 0), strict=True):
        start, stop = queries.offsets[row], queries.offsets[row + 1]
        item = int(top.items[row, slot])
        told = [names[i] for i in queries.items[max(start, stop - _SHOWN) : stop]]
        line: dict[str, Any] = {
            "user": ids[row],
            "history": " | ".join(told),
            "rank": int(slot) + 1,
            "item": names[item],
            "score": float(top.scores[row, slot]),
        }
        if held_out is not None:
            truth = held_out.split.truth
            line["hit"] = item in truth.items[truth.offsets[row] : truth.offsets[row + 1]]
        rows.append(line)
    return rows
