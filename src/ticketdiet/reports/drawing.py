"""Draws the registered figures of a study: all of them, or one by name."""

from __future__ import annotations

from collections.abc import Iterator

from matplotlib.figure import Figure

from ticketdiet.core.errors import UnknownName
from ticketdiet.reports import diet_figures, mask_figures, study_figures
from ticketdiet.reports.figure_registry import FIGURES, FigureMaker
from ticketdiet.reports.reading import StudyResults

BUILT_IN = (study_figures, diet_figures, mask_figures)  # importing them registers their figures


def figure_makers() -> dict[str, FigureMaker]:
    """Return every registered maker of figures by name, the built-in ones included."""
    return {name: FIGURES.get(name) for name in FIGURES.names()}


def draw_figures(found: StudyResults) -> Iterator[tuple[str, Figure]]:
    """Yield stem and figure of every registered figure that the results allow, one at a time."""
    for name, make in figure_makers().items():
        for suffix, figure in make(found).items():
            yield _stem(name, suffix), figure


def draw_figure(found: StudyResults, stem: str) -> Figure:
    """Draw one figure.

    Args:
        found: What a store holds of the study.
        stem: A registered name, with ``_NAME`` for a figure that is drawn per score.

    Returns:
        The figure.

    Raises:
        UnknownName: When no such figure is registered, or the results do not allow it; the message lists those that
            they allow.
    """
    for name in sorted(FIGURES.names(), key=len, reverse=True):
        if stem == name or stem.startswith(f"{name}_"):
            for suffix, figure in FIGURES.get(name)(found).items():
                if _stem(name, suffix) == stem:
                    return figure
    error = UnknownName.of("figure", stem, [known for known, _ in draw_figures(found)])
    raise error


def _stem(name: str, suffix: str) -> str:
    return f"{name}_{suffix}" if suffix else name
