"""Figures as SVG within the page, which follow its light and dark colours, and as PNG files beside it."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

from recsmith.plots.style import COLOURS, GRID, INK, MUTED, PAPER, quiet, settle
from recsmith.report.html import Html, paragraph, tag

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 160  # of PNG files, and of what is drawn as points within an SVG
_VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", PAPER: "paper"} | {
    colour: f"c{n}" for n, colour in enumerate(COLOURS)
}
_COLOUR = re.compile("|".join(_VARIABLES), re.IGNORECASE)
_FONTS = "'DejaVu Sans', Verdana, 'Segoe UI', Roboto, sans-serif"
_CUT = re.compile(r"<metadata>.*?</metadata>|<!--.*?-->|<style[^>]*>.*?</style>", re.DOTALL)
_GROUP_ID = re.compile(r'<g id="[^"]*"')
_ID = re.compile(r'(\bid="|xlink:href="#|href="#|url\(#)')
_ROOT = re.compile(r"<svg[^>]*?(viewBox=\"[^\"]*\")[^>]*>", re.DOTALL)


@dataclass(slots=True)
class Pictures:
    """The pictures of a page, in order."""

    png: dict[str, bytes] = field(default_factory=dict)  #: file name -> content

    def show(self, name: str, figure: Figure, alt: str, caption: str = "") -> Html:
        """A figure for the page; its PNG is kept.

        Parameters
        ----------
        name
            Of the PNG file, without its suffix; a number is added where it is taken.
        alt
            What is to be seen, for those who do not see it.
        caption
            Below the picture: how to read it.
        """
        name = self._unused(name)
        settle(figure)
        raw = io.BytesIO()
        with quiet():
            figure.savefig(raw, format="png", dpi=_DPI)
        self.png[f"{name}.png"] = raw.getvalue()
        words = [tag("figcaption", caption)] if caption else []
        return tag("figure", svg(figure, name, alt), *words, id=f"picture-{name}")

    def _unused(self, name: str) -> str:
        number, found = 1, name
        while f"{found}.png" in self.png:
            number += 1
            found = f"{name}-{number}"
        return found


def svg(figure: Figure, name: str, alt: str) -> Html:
    """The figure as an SVG element whose text is text and whose colours are variables of the page.

    Parameters
    ----------
    figure
        Drawn in the colours of ``plots.style`` alone.
    name
        Unique within the page: ids within the SVG begin with it.
    alt
        The label for screen readers.
    """
    import matplotlib as mpl

    raw = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), quiet():
        figure.savefig(raw, format="svg", transparent=True, dpi=_DPI)
    text = raw.getvalue()
    text = _CUT.sub("", text[text.index("<svg") :])
    text = _GROUP_ID.sub("<g", text)
    text = _ID.sub(rf"\g<1>{name}-", text)
    text = _COLOUR.sub(lambda found: f"var(--{_VARIABLES[found.group().lower()]})", text)
    text = text.replace("'DejaVu Sans'", _FONTS)
    label = escape(alt, quote=True)
    head = f'<svg \\1 role="img" aria-label="{label}" xmlns:xlink="http://www.w3.org/1999/xlink">'
    return Html(_ROOT.sub(lambda found: head.replace("\\1", found.group(1)), text, count=1))


def missing(what: str, how: Html) -> Html:
    """A line in place of pictures whose input was not given."""
    return paragraph(tag("strong", f"{what}: "), how, class_="missing")
