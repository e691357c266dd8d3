"""Section 4: barriers between dense children. Along the line, single examples, what they predict, and the plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ticketdiet.core.errors import UserError
from ticketdiet.page.figures import Gallery, PageFigure, page_figure
from ticketdiet.page.inputs import StudyInput
from ticketdiet.page.words import percent, plain
from ticketdiet.reports.plane_report import measured_plane, plane_figure
from ticketdiet.reports.rows import FAMILY

if TYPE_CHECKING:
    import pandas as pd

NO_PLANE = (
    "The loss on the plane through a parent and two children is not measured. `ticketdiet report STUDY --plane ARM` "
    "measures it from the stored weights and the data set."
)
MAKERS = ("barrier_alpha", "connected_fraction", "barrier_histogram", "barrier_against", "prediction")


@dataclass(frozen=True)
class BarrierRow:
    """The dense families of one arm, means over replicates.

    Attributes:
        arm: Its name.
        n: Number of families.
        train: Mean barrier of the training examples, nats.
        test: Mean barrier of the test examples, nats.
        connected: Fraction of the training examples that are connected.
    """

    arm: str
    n: int
    train: str
    test: str
    connected: str


@dataclass(frozen=True)
class BarrierSection:
    """What lies between the dense children.

    Attributes:
        rows: Barrier and connected fraction of each arm.
        tolerance: Barrier in nats up to which an example is connected.
        batch_norm: Policy for BatchNorm's statistics between the networks.
        figures: What is drawn.
        planes: The loss on the plane through a parent and two children, of the arms that were asked for.
        plane_notes: Why there is no plane, or not all that were asked for.
        note: Why there is nothing; "" when there is.
    """

    rows: tuple[BarrierRow, ...] = ()
    tolerance: float = 0.0
    batch_norm: str = ""
    figures: tuple[PageFigure, ...] = ()
    planes: tuple[PageFigure, ...] = ()
    plane_notes: tuple[str, ...] = ()
    note: str = ""


def barrier_section(study: StudyInput, gallery: Gallery) -> BarrierSection:
    """Return the barriers of a study, in words and figures."""
    found = study.results
    if not found.plan.study.children:
        return BarrierSection(
            note="The study trains no children (children: 0), so there are no barriers. With children: 2, "
            "each rewinding point gets two more dense trainings, and the barriers among them are measured."
        )
    if not found.families:
        return BarrierSection(note="No barrier between dense children is measured yet.")
    planes, plane_notes = _planes(study)
    return BarrierSection(
        rows=_rows(found.rows),
        tolerance=found.tolerance,
        batch_norm=found.plan.study.measure.batch_norm,
        figures=gallery.of(*MAKERS),
        planes=planes,
        plane_notes=plane_notes,
    )


def _planes(study: StudyInput) -> tuple[tuple[PageFigure, ...], tuple[str, ...]]:
    """Measure and draw the planes that were asked for, and say why one is missing."""
    found, planes, notes = study.results, [], []
    for number, arm in enumerate(study.planes):
        try:
            plane = measured_plane(found.plan, found.store, arm)
        except UserError as error:
            notes.append(f"The plane of {arm} is not measured. {error.came}")
            continue
        title = f"{found.name}: loss on the plane through the dense networks of {arm}"
        planes.append(page_figure(plane_figure(plane, title=title), f"{study.anchor}-plane-{number}"))
    return tuple(planes), tuple(notes) if study.planes else (NO_PLANE,)


def _rows(rows: pd.DataFrame) -> tuple[BarrierRow, ...]:
    families = rows[(rows["kind"] == "barrier") & (rows["pair"] == FAMILY) & (rows["level"] == 0)]
    means = families.groupby(["arm", "metric", "split"])["value"].mean()
    counts = families.groupby("arm")["replicate"].nunique()
    return tuple(
        BarrierRow(
            arm=arm,
            n=int(counts[arm]),
            train=plain(means[arm, "barrier_mean", "train"], 3),
            test=plain(means[arm, "barrier_mean", "test"], 3),
            connected=percent(means[arm, "connected_fraction", "train"]),
        )
        for arm in dict.fromkeys(families["arm"])
    )
