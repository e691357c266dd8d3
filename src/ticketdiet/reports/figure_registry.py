"""The figures of a study by name, open to other packages through the entry-point group ``ticketdiet.figures``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from matplotlib.figure import Figure

from ticketdiet.core.registry import Registry
from ticketdiet.reports.reading import StudyResults

# From what a store holds of a study to figures by suffix: of one under "", of one per score under the score's name.
# An empty mapping says that the results do not allow the figure.
FigureMaker = Callable[[StudyResults], Mapping[str, Figure]]

FIGURES: Registry[FigureMaker] = Registry("figure")
