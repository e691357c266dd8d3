"""Section 5: the images that each diet was fed, and those that disconnect, from the pictures that the store keeps.

A score's result keeps small pictures of the easiest and the hardest examples of each class. Others would need the data
set, which the page does not read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ticketdiet.page.figures import Gallery, PageFigure, png_of
from ticketdiet.page.inputs import StudyInput
from ticketdiet.page.words import percent
from ticketdiet.reports.diet_figures import read_shown
from ticketdiet.reports.diet_report import score_stages
from ticketdiet.reports.reading import StudyResults
from ticketdiet.reports.sheet import draw_mosaic
from ticketdiet.studies.stages.pretrain import Pretrain

MAKERS = ("diet", "sheet", "stability")
ACROSS, MOST = 12, 24  # pictures in a row, and in all
LARGE = 44  # width of a picture in the page, in pixels


@dataclass(frozen=True)
class Pictures:
    """Some pictures in rows.

    Attributes:
        title: Of whom.
        text: What they are, and how many there are beside them.
        png: A PNG file in base64; "" when none of the pictures in the store is one of them.
        width: In the page, in pixels.
        height: Likewise.
    """

    title: str
    text: str
    png: str = ""
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class ImageSection:
    """What the network was fed before the rewinding point, and which examples are not connected.

    Attributes:
        figures: Scores with the subsets in them, and the easiest and hardest images.
        fed: Pictures of each arm's subset.
        disconnected: Pictures of the examples with the highest barriers, of each arm.
        note: What is missing and why; "" when nothing is.
    """

    figures: tuple[PageFigure, ...]
    fed: tuple[Pictures, ...]
    disconnected: tuple[Pictures, ...]
    note: str


def image_section(study: StudyInput, gallery: Gallery) -> ImageSection:
    """Return the pictures of a study that its store holds."""
    found, figures = study.results, gallery.of(*MAKERS)
    pictures = _pictures(found)
    if not pictures:
        note = (
            "The store holds no pictures of this study. A finished score keeps those of its easiest and hardest "
            "examples; a study without scores, or whose images cannot be drawn, has none. `ticketdiet subset show` "
            "draws the images of a subset where the data set is at hand."
        )
        return ImageSection(figures, (), (), note)
    subsets = {arm: indices for arm in study.arms if (indices := _subset(found, arm)) is not None}
    fed = tuple(_fed(arm, indices, pictures) for arm, indices in subsets.items())
    barriers = {arm: values for arm in study.arms if (values := _barriers(found, arm)) is not None}
    disconnected = tuple(_disconnected(arm, values, pictures, found.tolerance) for arm, values in barriers.items())
    return ImageSection(figures, fed, disconnected, "")


def _pictures(found: StudyResults) -> Mapping[int, np.ndarray]:
    """Pictures of the study's own training images by index, of all its finished scores of replicate 0."""
    own = found.plan.facts.get(found.plan.study.dataset)
    pictures: dict[int, np.ndarray] = {}
    for stage in score_stages(found.plan, replicate=0).values():
        if found.store.has(stage.address) and (own is None or stage.data["train"] == own.fingerprints["train"]):
            shown = read_shown(found.store, stage)
            pictures |= {} if shown is None else dict(zip(shown.indices.tolist(), shown.pixels, strict=True))
    return pictures


def _subset(found: StudyResults, arm: str) -> np.ndarray | None:
    """Subset that the pre-training of an arm sees in replicate 0; None for all images, others, or none yet."""
    for point in found.plan.of(Pretrain):
        used = any((use.arm, use.replicate) == (arm, 0) for use in point.uses)
        if used and point.subset is not None and point.dataset == found.plan.study.dataset:
            ready = found.store.has(point.subset)
            return found.store.tensors(point.subset, "subset")["indices"].numpy() if ready else None
    return None


def _barriers(found: StudyResults, arm: str) -> np.ndarray | None:
    """Barrier of every training example in every family of an arm, shape (families, n); None without any."""
    own = [family.per_example("train") for family in found.families if family.arm == arm]
    return np.stack(own) if own else None


def _fed(arm: str, subset: np.ndarray, pictures: Mapping[int, np.ndarray]) -> Pictures:
    known = [index for index in subset.tolist() if index in pictures]
    if not known:
        text = f"None of its {len(subset):,} examples is among the easiest and hardest, whose pictures are kept."
        return Pictures(arm, text)
    places = np.linspace(0, len(known) - 1, min(MOST, len(known))).round().astype(int)
    which = f"{len(places)} of the {len(known)}" if len(known) > len(places) else f"all {len(known)}"
    text = f"These are {which} pictures that the store holds of its {len(subset):,} examples (replicate 0)."
    return _mosaic(arm, text, [pictures[known[place]] for place in places])


def _disconnected(arm: str, families: np.ndarray, pictures: Mapping[int, np.ndarray], tolerance: float) -> Pictures:
    barriers = families.mean(axis=0)
    beyond = sorted((index for index in pictures if barriers[index] > tolerance), key=lambda index: -barriers[index])
    whole = f"{percent(float(np.mean(families > tolerance)))} of the training examples are not connected"
    if not beyond:
        return Pictures(arm, f"{whole}. None of the {len(pictures)} whose pictures the store holds is among them.")
    drawn = beyond[:MOST]
    text = (
        f"{whole}. Of the {len(pictures)} whose pictures the store holds, {len(beyond)} are not. These have the "
        f"highest barriers, from {barriers[drawn[0]]:.2g} to {barriers[drawn[-1]]:.2g} nats (mean over "
        f"{len(families)} famil{'y' if len(families) == 1 else 'ies'})."
    )
    return _mosaic(arm, text, [pictures[index] for index in drawn])


def _mosaic(title: str, text: str, pixels: Sequence[np.ndarray]) -> Pictures:
    across = min(ACROSS, len(pixels))
    places = np.full((-(-len(pixels) // across), across), -1)
    places.ravel()[: len(pixels)] = np.arange(len(pixels))
    mosaic = draw_mosaic(np.stack(pixels), places)
    scale = max(1, round(LARGE / pixels[0].shape[-1]))
    return Pictures(title, text, png_of(mosaic), scale * mosaic.shape[1], scale * mosaic.shape[0])
