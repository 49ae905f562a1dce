"""``write_report``: everything drawn first, then written, so that nothing is ever left half-written."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from recsmith.bundle import Bundle
from recsmith.errors import ParameterError, StorageError
from recsmith.experiment.train import load_bundle
from recsmith.models.registry import model_class
from recsmith.plots.embeddings import Method
from recsmith.plots.style import check_extra
from recsmith.protocols import Embedder
from recsmith.report import audit, ends, examples, experiment, log, models
from recsmith.report.html import Section, join, tag
from recsmith.report.inputs import HOW_AB, HOW_AUDIT, Inputs, complete, read_inputs
from recsmith.report.maps import NAMES, maps
from recsmith.report.pictures import Pictures

SUFFIXES = (".html", ".htm")
Step = Callable[[str], AbstractContextManager[Any]]  #: opens a display for a step of the work


@contextmanager
def _silent(label: str) -> Iterator[None]:
    yield


@dataclass(frozen=True, slots=True)
class Written:
    """What was written."""

    page: Path
    pictures: tuple[Path, ...]
    size: int  #: bytes of the page
    sections: tuple[str, ...]  #: titles, in order

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "report": str(self.page),
            "bytes": self.size,
            "pictures": [str(path) for path in self.pictures],
            "sections": list(self.sections),
        }


def write_report(
    runs: Sequence[Path],
    out: Path,
    *,
    audit: Path | None = None,
    ab: Path | None = None,
    metric: str | None = None,
    maps: Sequence[Method] = ("tsne", "umap"),
    seed: int = 0,
    step: Step = _silent,
) -> Written:
    """Write one page that stands alone, and its pictures as PNG files in a folder beside it.

    Parameters
    ----------
    runs
        Folders of complete runs. The first one says which questions count; runs on another split stand apart.
    out
        A ``.html`` file. The pictures go to the folder ``NAME_pictures``; an older one is replaced.
    audit, ab, metric
        See ``read_inputs``.
    maps
        Maps of the item vectors to draw.
    seed
        Of maps and of the choice of users.
    step
        Opens a display for each step.

    Raises
    ------
    ParameterError
        No run, another suffix, an unknown map or metric.
    DataError
        A run that is not complete, or a file that is not what it should be.
    StorageError
        The place cannot be written.
    MissingExtraError
        The extra ``plot`` is not installed.
    """
    folder = check_out(out)
    for name in maps:
        if name not in NAMES:
            raise ParameterError.unknown("map", name, NAMES)
    check_extra("A report")
    with step("read"):
        inputs = read_inputs(runs, audit=audit, ab=ab, metric=metric)
        bundles = _bundles(inputs)
    pictures = Pictures()
    sections = _sections(inputs, bundles, pictures, tuple(dict.fromkeys(maps)), seed, step)
    text = _page(inputs, sections)
    with step("write"):
        _write(out, text, folder, pictures.png)
    return Written(
        page=out,
        pictures=tuple(folder / name for name in pictures.png),
        size=len(text.encode()),
        sections=tuple(section.title for section in sections),
    )


def check_out(out: Path) -> Path:
    """The folder for the pictures, after seeing that both it and the page can be written.

    Raises
    ------
    ParameterError
        Another suffix than .html, a folder, or a folder of pictures that holds something else.
    """
    if out.suffix.lower() not in SUFFIXES or out.is_dir():
        raise ParameterError.of("report", "out", "a file that ends in .html", str(out))
    folder = out.with_name(f"{out.stem}_pictures")
    if folder.exists() and not (folder.is_dir() and all(path.suffix == ".png" for path in folder.iterdir())):
        raise ParameterError(
            f"{folder} holds something else than pictures of a report. Choose another --out."
        )
    return folder


def _bundles(inputs: Inputs) -> dict[str, Bundle]:
    """Of the runs whose lists are shown, and of the first that has item vectors; the best first."""
    classes = {run.label: model_class(str(run.values["model"])) for run in inputs.runs}
    vectors = [label for label, one in classes.items() if issubclass(one, Embedder)]
    wanted = {*list(classes)[: examples.MODELS], *vectors[:1]}
    return {label: load_bundle(inputs.folders[label].bundle) for label in classes if label in wanted}


def _sections(
    inputs: Inputs,
    bundles: Mapping[str, Bundle],
    pictures: Pictures,
    methods: Sequence[Method],
    seed: int,
    step: Step,
) -> list[Section]:
    """All sections in order; the first one knows what the others hold."""
    best = bundles[inputs.best.label]
    found: list[Section] = []
    said: list[str] = []  # at the top of the page
    with step("models"):
        found.append(models.models(inputs, pictures))
    with step("log"):
        found.append(log.log(inputs, best, pictures))
    if inputs.audit is not None:
        with step("audit"), complete("The audit", HOW_AUDIT):
            found += [part(inputs, pictures) for part in (audit.cold_start, audit.fairness, audit.robustness)]
            said += audit.in_short(inputs) if not inputs.foreign_audit else [inputs.audit_note]
    with step("maps of the items"):
        plane = maps(bundles, methods, pictures, seed=seed)
    if isinstance(plane, Section):
        found.append(plane)
    with step("examples"):
        found.append(examples.examples(inputs, bundles))
    if inputs.ab is not None:
        with complete("The experiment with users", HOW_AB):
            found.append(experiment.experiment(inputs.ab, pictures))
            said.append(experiment.in_short(inputs.ab))
    found += [ends.limits(inputs), ends.made(inputs)]
    lines = ends.not_given(inputs, None if isinstance(plane, Section) else plane)
    return [ends.in_short(inputs, said, lines), *found]


def _page(inputs: Inputs, sections: Sequence[Section]) -> str:
    name = str(inputs.best.environment["train"]["name"])
    title = f"Recommenders on {name}"
    links = tag("ul", *(tag("li", tag("a", one.title, href=f"#{one.id}")) for one in sections))
    body = join(
        tag(
            "section",
            tag("h2", one.title, id=f"{one.id}-title"),
            *one.parts,
            id=one.id,
            aria_labelledby=f"{one.id}-title",
        )
        for one in sections
    )
    here = files("recsmith.report")
    return Template((here / "page.html").read_text(encoding="utf-8")).substitute(
        title=join([title]), style=(here / "page.css").read_text(encoding="utf-8"), links=links, body=body
    )


def _write(out: Path, text: str, folder: Path, pictures: Mapping[str, bytes]) -> None:
    """Pictures to a new folder, which takes the old one's place; the page last."""
    beside, page = folder.with_name(folder.name + ".new"), out.with_name(out.name + ".new")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        for name, content in pictures.items():
            (beside / name).write_bytes(content)
        page.write_text(text, encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        beside.replace(folder)
        page.replace(out)
    except OSError as error:
        raise StorageError(f"{out} cannot be written: {error.strerror}. Choose another --out.") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        page.unlink(missing_ok=True)
