"""Section 6: the masks. Which layers keep their weights over the levels."""

from __future__ import annotations

from dataclasses import dataclass

from ticketdiet.page.figures import Gallery, PageFigure
from ticketdiet.page.inputs import StudyInput
from ticketdiet.studies.stages.masked import MaskedTraining

MAKERS = ("layer_density",)


@dataclass(frozen=True)
class MaskSection:
    """Density per layer over the levels.

    Attributes:
        figures: What is drawn.
        empty: Layers that a finished mask leaves no weight, each in one sentence.
        note: Why there is no figure; "" when there is.
    """

    figures: tuple[PageFigure, ...]
    empty: tuple[str, ...]
    note: str


def mask_section(study: StudyInput, gallery: Gallery) -> MaskSection:
    """Return the masks of a study, by layer."""
    figures = gallery.of(*MAKERS)
    note = "" if figures else "No pruned level is finished yet, so there is no mask to show."
    return MaskSection(figures, tuple(_empty(study)), note)


def _empty(study: StudyInput) -> list[str]:
    found = study.results
    return [
        f"{stage.label}: every weight of the layer {layer} is pruned."
        for stage in found.plan.of(MaskedTraining)
        if found.store.has(stage.address)
        for layer, kept in found.store.document(stage.address, "facts")["layer_densities"].items()
        if kept == 0
    ]
