"""The section on the log: what there was to learn from, and how the split cuts it."""

from __future__ import annotations

from recsmith.bundle import Bundle
from recsmith.data.dataset import Dataset
from recsmith.errors import DataError
from recsmith.plots import log as plots
from recsmith.report.html import Html, Section, bullets, gallery, paragraph, table
from recsmith.report.inputs import Inputs
from recsmith.report.pictures import Pictures
from recsmith.tables import Table


def log(inputs: Inputs, bundle: Bundle, pictures: Pictures) -> Section:
    """Pictures of the whole log and of the split; of the train part that the bundle holds where the log is gone."""
    data = bundle.data if inputs.data is None else inputs.data
    parts = []
    if inputs.data is None:
        parts.append(paragraph(f"{inputs.why_no_log} The pictures are of the train part.", class_="missing"))
    parts += [table(_sizes(data)), gallery([*_drawn(data, pictures), *_cut(inputs, pictures)])]
    try:
        parts.append(gallery(_timed(data, pictures)))
    except DataError as error:  # a log without times, or with such as no calendar holds
        parts.append(paragraph(str(error), class_="missing"))
    parts.append(bullets(inputs.best.report.notes))
    return Section("log", "The log and the split", parts)


def _sizes(data: Dataset) -> Table:
    pairs = data.matrix("ones").nnz
    rows = [
        ("users", f"{data.n_users:,}"),
        ("items", f"{data.n_items:,}"),
        ("events", f"{len(data):,}"),
        ("pairs of a user and an item that occur", f"{pairs / (data.n_users * data.n_items):.2%}"),
        ("events of a user, mean", f"{len(data) / data.n_users:.1f}"),
        ("fingerprint", data.fingerprint()[:16]),
    ]
    return Table(f"The log {data.name}", ("what", "how much"), rows, numbers=("how much",))


def _drawn(data: Dataset, pictures: Pictures) -> list[Html]:
    return [
        pictures.show(
            "heat-map",
            plots.heat_map(data),
            "Heat map of users, most active first, by items, most popular first: the colour is the share of pairs that "
            "occur, and it falls from the upper left corner to the lower right one.",
            "The fuller, the more of the cell's pairs occur; empty cells have none.",
        ),
        pictures.show(
            "long-tail",
            plots.long_tail(data),
            "Curve of the share of the events that the most popular items hold, beside the straight line that there "
            "would be if all items were alike.",
            "The further the curve is from the dashed line, the more the log is of few items.",
        ),
    ]


def _cut(inputs: Inputs, pictures: Pictures) -> list[Html]:
    if inputs.split is None:
        return []
    figure = plots.split_picture(inputs.split)
    alt = "Events over time, those to be found on top of those of train; below them some users, a line each."
    return [pictures.show("split", figure, alt, "Hatched on top: what is to be found. A line is one user.")]


def _timed(data: Dataset, pictures: Pictures) -> list[Html]:
    alt = "Number of events, and of users who had one, over time."
    shown = [pictures.show("over-time", plots.over_time(data), alt)]
    alt = "Heat map of the share of the events by day of the week and hour of the day."
    caption = "Times are UTC: users elsewhere have another evening."
    return [*shown, pictures.show("week", plots.week_pattern(data), alt, caption)]
