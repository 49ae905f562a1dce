"""HTML from text, tables and pictures. Text is escaped here and nowhere else: ids and titles come from outside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from recsmith.tables import Table, text_of

_SHORT = 24  # letters that stay on one line at the head of a row
_FEW = 3  # columns that have room beside each other on a phone


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page with a heading of its own."""

    id: str
    title: str
    parts: Sequence[Html]


def tag(name: str, *inner: str | Html, **attributes: str) -> Html:
    """An element: what is not ``Html`` is escaped. Empty attributes are left out; ``aria_label`` is aria-label."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value, quote=True)}"'
        for key, value in attributes.items()
    )
    return Html(f"<{name}{told}>{join(inner)}</{name}>")


def join(parts: Iterable[str | Html]) -> Html:
    """Parts one after the other, escaped where they are text."""
    return Html("".join(part if isinstance(part, Html) else escape(part, quote=False) for part in parts))


def paragraph(*inner: str | Html, class_: str = "") -> Html:
    """A paragraph."""
    return tag("p", *inner, class_=class_)


def bullets(lines: Iterable[str | Html]) -> Html:
    """A list."""
    return tag("ul", *(tag("li", line) for line in lines))


def heading(text: str) -> Html:
    """A heading within a section."""
    return tag("h3", text)


def command(text: str) -> Html:
    """What is typed."""
    return tag("code", text)


def gallery(pictures: Iterable[Html]) -> Html:
    """Pictures beside each other where there is room, else below."""
    shown = [picture for picture in pictures if picture]
    return tag("div", *shown, class_="gallery") if shown else Html("")


def table(content: Table) -> Html:
    """A table with its title as caption; on a phone each row is a block, and roles say it is a table."""
    columns = [column.strip() for column in content.columns]
    sides = ["number" if column in content.numbers else "text" for column in content.columns]
    head = tag(
        "tr",
        *(
            tag("th", name, scope="col", role="columnheader", class_=side)
            for name, side in zip(columns, sides, strict=True)
        ),
        role="row",
    )
    body = [
        tag(
            "tr",
            *(
                _cell(n, name, side, text_of(value))
                for n, (name, side, value) in enumerate(zip(columns, sides, row, strict=True))
            ),
            role="row",
        )
        for row in content.rows
    ]
    grid = tag(
        "table",
        tag("caption", content.title),
        tag("thead", head, role="rowgroup"),
        tag("tbody", *body, role="rowgroup"),
        role="table",
        class_="wide" if len(columns) > _FEW else "",
    )
    notes = [paragraph(line, class_="note") for line in content.caption.splitlines() if line]
    return join([grid, *notes])


def _cell(column: int, name: str, side: str, text: str) -> Html:
    if column == 0:
        side = f"{side} short" if len(text) <= _SHORT else side
        return tag("th", text, scope="row", role="rowheader", class_=side)
    return tag("td", text, role="cell", class_=side, data_label=name)


def folded(summary: str, *inner: Html) -> Html:
    """Details that are shown when asked for, and in print."""
    return tag("details", tag("summary", summary), *inner)
