"""Figures of the page: each is drawn once by the registered makers, and can be taken along as SVG, PNG and PDF."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field

import matplotlib as mpl
import numpy as np
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.image import imsave

from ticketdiet.core.errors import TicketDietError
from ticketdiet.page.svg import themed_svg
from ticketdiet.reports.drawing import figure_makers
from ticketdiet.reports.reading import StudyResults
from ticketdiet.reports.style import house_style

NO_DATES = {"CreationDate": None, "Producer": None, "Creator": None}  # the same figure gives the same bytes


@dataclass(frozen=True)
class PageFigure:
    """A figure that stands in the page.

    Attributes:
        name: What its files are called, without an ending.
        title: What it shows.
        svg: An ``<svg>`` element, safe to stand in the page as it is.
        pdf: The figure as a PDF file, in base64.
        on_paper: Whether it needs a light ground in the dark theme too, because its colours begin with dark ones.
    """

    name: str
    title: str
    svg: str
    pdf: str
    on_paper: bool = False


@dataclass(frozen=True)
class Gallery:
    """The registered figures of a study.

    Attributes:
        figures: Name of the maker -> its figures, one per score where it draws several.
        reasons: Name of a maker that could not draw -> what it said, in one sentence.
    """

    figures: Mapping[str, tuple[PageFigure, ...]]
    reasons: Mapping[str, str] = field(default_factory=dict)

    def of(self, *makers: str) -> tuple[PageFigure, ...]:
        """Return the figures of some makers, in this order."""
        return tuple(figure for maker in makers for figure in self.figures.get(maker, ()))

    def others(self, known: set[str]) -> tuple[PageFigure, ...]:
        """Return the figures of all makers but the known ones: those that other packages register."""
        return self.of(*(maker for maker in self.figures if maker not in known))


def draw_gallery(found: StudyResults, anchor: str) -> Gallery:
    """Draw every registered figure that the results allow.

    Args:
        found: What a store holds of the study, read with the arrays that figures need.
        anchor: Of the study in the page: what ids and files begin with.

    Returns:
        The figures, and what the makers said that could not draw.
    """
    figures: dict[str, tuple[PageFigure, ...]] = {}
    reasons: dict[str, str] = {}
    for maker, make in figure_makers().items():
        try:
            drawn = make(found)
            named = {f"{maker}_{suffix}" if suffix else maker: figure for suffix, figure in drawn.items()}
            figures[maker] = tuple(page_figure(figure, f"{anchor}-{name}") for name, figure in named.items())
        except TicketDietError as error:
            reasons[maker] = error.came
    return Gallery(figures, reasons)


def page_figure(figure: Figure, name: str) -> PageFigure:
    """Return a figure of matplotlib's as it stands in the page.

    Args:
        figure: What to show; its title is the label for those who cannot see it.
        name: What ids and files begin with.
    """
    meshes = figure.findobj(QuadMesh)
    for mesh in meshes:
        mesh.set_rasterized(True)  # thousands of small rectangles would be thousands of elements
    vector, document = io.BytesIO(), io.BytesIO()
    with house_style(), mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(vector, format="svg", metadata={"Date": None, "Creator": None})
        figure.set_layout_engine("none")  # what the first has laid out stands
        figure.savefig(document, format="pdf", metadata=NO_DATES)
    title = figure.get_suptitle() or name
    svg = themed_svg(vector.getvalue().decode(), name, title)
    pdf = base64.b64encode(document.getvalue()).decode()
    return PageFigure(name, title, svg, pdf, on_paper=bool(meshes))


def png_of(pixels: np.ndarray) -> str:
    """Return uint8 pixels of shape (height, width, 3) as a PNG file in base64."""
    buffer = io.BytesIO()
    imsave(buffer, pixels, format="png", metadata={"Software": ""})
    return base64.b64encode(buffer.getvalue()).decode()
