"""Section 2: the one figure. Test accuracy against density, with bands, and published curves beside it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ticketdiet.core.errors import UserError
from ticketdiet.page.chart import DASHES, Chart, Line, Point
from ticketdiet.page.figures import Gallery, PageFigure
from ticketdiet.page.inputs import StudyInput
from ticketdiet.page.svg import colour_variable
from ticketdiet.reports.figures import describe_spread
from ticketdiet.reports.published import Distance, PublishedCurve, distance
from ticketdiet.reports.statistics import summarise
from ticketdiet.reports.style import arm_styles
from ticketdiet.reports.table import format_density

if TYPE_CHECKING:
    import pandas as pd

WIDE, NARROW = (760.0, 400.0), (360.0, 340.0)
PUBLISHED_DASH = "3 4"


@dataclass(frozen=True)
class Cell:
    """A cell of the table below the figure: mean and spread, and the interval of the mean, in percent."""

    mean: str
    interval: str


@dataclass(frozen=True)
class ArmRow:
    """One arm in the table below the figure.

    Attributes:
        arm: Its name.
        n: Number of replicates, as in "2" or "2 to 4".
        cells: One per density of the table, None where nothing is finished.
    """

    arm: str
    n: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class AccuracySection:
    """Test accuracy against density.

    Attributes:
        charts: The same chart for wide and for narrow screens; empty when nothing is measured.
        lines: The lines of either, for the switches.
        caption: What the bands are, over how many replicates.
        sources: Where published curves come from.
        densities: Headings of the table.
        rows: Of the table.
        pdf: The same figure as a PDF file, in base64; "" when nothing is measured.
        distances: How far the arms are from their published curves.
        along: Figures of the accuracy along pre-training.
        note: Why there is no chart; "" when there is one.
    """

    charts: tuple[Chart, ...] = ()
    lines: tuple[Line, ...] = ()
    caption: str = ""
    sources: tuple[str, ...] = ()
    densities: tuple[str, ...] = ()
    rows: tuple[ArmRow, ...] = ()
    pdf: str = ""
    distances: tuple[Distance, ...] = ()
    along: tuple[PageFigure, ...] = ()
    note: str = ""


def accuracy_section(study: StudyInput, gallery: Gallery) -> AccuracySection:
    """Return the accuracy of the sparse networks of a study, for a chart and a table."""
    along = gallery.of("pretraining")
    try:
        summary = summarise(study.results.rows)
    except UserError as error:
        return AccuracySection(note=f"No accuracy of a sparse network is finished yet. {error.came}", along=along)
    lines = (*_arm_lines(summary), *_published_lines(study.curves, summary))
    charts = tuple(_chart(study, summary, lines, *size) for size in (WIDE, NARROW))
    drawn = gallery.of("accuracy")
    level = summary.groupby("level")["density"].mean()
    return AccuracySection(
        charts=charts,
        lines=lines,
        caption=describe_spread(summary["n"]),
        sources=tuple(dict.fromkeys(curve.source for curve in study.curves.values())),
        densities=tuple(format_density(density) for density in level),
        rows=tuple(_row(summary[summary["arm"] == arm], list(level.index)) for arm in dict.fromkeys(summary["arm"])),
        pdf=drawn[0].pdf if drawn else "",
        distances=_distances(study, set(summary["arm"])),
        along=along,
    )


def _distances(study: StudyInput, measured: set[str]) -> tuple[Distance, ...]:
    found = (distance(study.results.rows, arm, curve) for arm, curve in study.curves.items() if arm in measured)
    return tuple(one for one in found if one is not None)


def _arm_lines(summary: pd.DataFrame) -> list[Line]:
    styles = arm_styles(summary["arm"])
    return [
        Line(
            name=arm,
            colour=colour_variable(style.color),
            marker=style.marker,
            dash=DASHES[style.linestyle],
            points=tuple(_point(row) for row in summary[summary["arm"] == arm].to_dict("records")),
        )
        for arm, style in styles.items()
    ]


def _point(row: Mapping[Hashable, Any]) -> Point:
    mean, std = 100 * row["mean"], 0.0 if math.isnan(row["std"]) else 100 * row["std"]
    spread = f" ± {std:.2f}" if row["n"] > 1 else ""
    replicates = f"{row['n']:.0f} replicate{'s' * (row['n'] != 1)}"
    text = f"{format_density(row['density'])} density: {mean:.2f}{spread} % ({replicates})"
    return Point(row["density"], mean, mean - std, mean + std, text)


def _published_lines(curves: Mapping[str, PublishedCurve], summary: pd.DataFrame) -> list[Line]:
    """Return the published curves, each in the colour of the arm that it belongs to."""
    styles = arm_styles(summary["arm"])
    return [
        Line(
            name=f"{curve.label} ({arm})",
            colour=colour_variable(styles[arm].color),
            marker="",
            dash=PUBLISHED_DASH,
            points=tuple(_published_point(*point) for point in _from_dense(curve)),
            published=True,
        )
        for arm, curve in curves.items()
        if arm in styles
    ]


def _from_dense(curve: PublishedCurve) -> list[tuple[float, float, float]]:
    points = zip(curve.densities.tolist(), curve.means.tolist(), curve.stds.tolist(), strict=True)
    return sorted(points, key=lambda point: -point[0])


def _published_point(density: float, mean: float, std: float) -> Point:
    spread = 0.0 if math.isnan(std) else 100 * std
    text = (
        f"{format_density(density)} density: {100 * mean:.2f}"
        + (f" ± {spread:.2f}" if spread else "")
        + " %, published"
    )
    return Point(density, 100 * mean, 100 * mean - spread, 100 * mean + spread, text)


def _chart(study: StudyInput, summary: pd.DataFrame, lines: tuple[Line, ...], width: float, height: float) -> Chart:
    dense = summary[summary["level"] == 0]["mean"]
    return Chart(
        name=f"{study.anchor}-accuracy-{width:.0f}",
        width=width,
        height=height,
        lines=lines,
        reference=100 * float(dense.mean()) if len(dense) else math.nan,
        reference_text="dense: mean of all arms",
        y_title="test accuracy (%)",
    )


def _row(own: pd.DataFrame, levels: list[int]) -> ArmRow:
    by_level = own.set_index("level").to_dict("index")
    low, high = own["n"].min(), own["n"].max()
    return ArmRow(
        arm=str(own["arm"].iloc[0]),
        n=f"{low}" if low == high else f"{low} to {high}",
        cells=tuple(_cell(by_level[level]) if level in by_level else None for level in levels),
    )


def _cell(row: Mapping[Hashable, Any]) -> Cell:
    spread = "" if math.isnan(row["std"]) else f" ± {100 * row['std']:.1f}"
    interval = "" if math.isnan(row["low"]) else f"{100 * row['low']:.1f} to {100 * row['high']:.1f}"
    return Cell(f"{100 * row['mean']:.1f}{spread}", interval)
