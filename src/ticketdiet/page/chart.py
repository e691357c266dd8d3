"""Geometry of the page's own chart: values against density on a log scale, dense on the left, in one SVG.

The drawing is complete without a script. What a script needs to draw it again, zoomed in, is in data attributes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ticketdiet.reports.table import format_density

# Each within a circle of about 4.5 units around the origin; the names are matplotlib's.
MARKERS = {
    "o": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z",
    "s": "M-3.6 -3.6H3.6V3.6H-3.6Z",
    "^": "M0 -4.6L4.4 3.4H-4.4Z",
    "D": "M0 -4.8L4.8 0L0 4.8L-4.8 0Z",
    "v": "M0 4.6L4.4 -3.4H-4.4Z",
    "P": "M-1.6 -4.4H1.6V-1.6H4.4V1.6H1.6V4.4H-1.6V1.6H-4.4V-1.6H-1.6Z",
    "X": "M-4.2 -2.2L-2.2 -4.2L0 -2L2.2 -4.2L4.2 -2.2L2 0L4.2 2.2L2.2 4.2L0 2L-2.2 4.2L-4.2 2.2L-2 0Z",
    "<": "M-4.6 0L3.4 -4.4V4.4Z",
    ">": "M4.6 0L-3.4 -4.4V4.4Z",
}
DASHES = {"-": "", "--": "7 4", ":": "2 4", "-.": "8 3 2 3"}
LEGEND_LINE = 20.0  # height of a line of the legend that downloaded files have below the plot


@dataclass(frozen=True)
class Point:
    """One value of a line.

    Attributes:
        density: In (0, 1].
        mean: In the unit of the axis.
        low: Lower end of the band; the mean where there is none.
        high: Upper end, likewise.
        text: What to say about it, in one line.
    """

    density: float
    mean: float
    low: float
    high: float
    text: str


@dataclass(frozen=True)
class Line:
    """One line of the chart.

    Attributes:
        name: Of the arm, or of a published curve.
        colour: A CSS colour.
        marker: Key of ``MARKERS``, or "" for none.
        dash: Value of ``stroke-dasharray``; "" for a whole line.
        points: From dense to sparse, at least one.
        published: Whether it was published by others.
    """

    name: str
    colour: str
    marker: str
    dash: str
    points: tuple[Point, ...]
    published: bool = False

    @property
    def marker_path(self) -> str:
        """Path of the marker around the origin."""
        return MARKERS.get(self.marker, "")

    @property
    def has_band(self) -> bool:
        """Whether any point has a spread."""
        return any(point.high > point.low for point in self.points)


@dataclass(frozen=True)
class Tick:
    """A tick: where, in units of the SVG, for which value, and what it says."""

    place: float
    value: float
    text: str


@dataclass(frozen=True)
class Chart:
    """Lines in a box, with scales.

    Attributes:
        name: What ids begin with.
        width: Of the SVG, in its units.
        height: Likewise, without the legend below.
        lines: What is drawn.
        reference: Value of the dashed horizontal line, NaN for none.
        reference_text: What that line is.
        y_title: What is on the vertical axis, with its unit.
        x_title: What is on the horizontal axis.
        digits: Digits after the point of the values.
    """

    name: str
    width: float
    height: float
    lines: tuple[Line, ...]
    reference: float
    reference_text: str
    y_title: str
    x_title: str = "density: fraction of weights kept (log scale)"
    digits: int = 1

    left, right, top, bottom = 46.0, 14.0, 26.0, 44.0

    @property
    def legend_height(self) -> float:
        """Height of the legend below the plot, which only downloaded files show."""
        return LEGEND_LINE * (len(self.lines) + self.has_reference) + 10

    @property
    def has_reference(self) -> bool:
        """Whether there is a reference line."""
        return math.isfinite(self.reference)

    @property
    def x_range(self) -> tuple[float, float]:
        """Greatest and least density of the box."""
        densities = [point.density for line in self.lines for point in line.points]
        margin = 1.06 if max(densities) > min(densities) else 1.5
        return max(densities) * margin, min(densities) / margin

    @property
    def y_range(self) -> tuple[float, float]:
        """Least and greatest value of the box, with room around the lines and bands."""
        known = [end for line in self.lines for point in line.points for end in (point.low, point.high)]
        known += [self.reference] if self.has_reference else []
        low, high = min(known), max(known)
        room = 0.06 * (high - low) or 1.0
        return low - room, high + room

    @property
    def x_ticks(self) -> list[Tick]:
        """Ticks at the densities that were measured, as many as fit."""
        low = math.log(self.x_range[0] / self.x_range[1]) * 44 / (self.width - self.left - self.right)
        ticks: list[float] = []
        for density in sorted({round(p.density, 6) for line in self.lines for p in line.points}, reverse=True):
            if not ticks or math.log(ticks[-1] / density) >= low:
                ticks.append(density)
        return [Tick(self.x(value), value, format_density(value)) for value in ticks]

    @property
    def y_ticks(self) -> list[Tick]:
        """Ticks at round values."""
        return [Tick(self.y(value), value, f"{value:g}") for value in round_values(*self.y_range)]

    def x(self, density: float) -> float:
        """Place of a density."""
        most, least = self.x_range
        return self.left + (self.width - self.left - self.right) * math.log(most / density) / math.log(most / least)

    def y(self, value: float) -> float:
        """Place of a value."""
        low, high = self.y_range
        return self.height - self.bottom - (self.height - self.top - self.bottom) * (value - low) / (high - low)

    def path(self, line: Line) -> str:
        """Path through the means of a line."""
        return _path((self.x(point.density), self.y(point.mean)) for point in line.points)

    def band(self, line: Line) -> str:
        """Path around the band of a line."""
        upper = [(self.x(point.density), self.y(point.high)) for point in line.points]
        lower = [(self.x(point.density), self.y(point.low)) for point in reversed(line.points)]
        return f"{_path(upper + lower)}Z"


def round_values(low: float, high: float, most: int = 7) -> list[float]:
    """Return the round values (steps of 1, 2 or 5 times a power of ten) between two, at most ``most`` of them."""
    power = 10.0 ** (math.floor(math.log10((high - low) / most)))
    step = next(power * by for by in (1, 2, 5, 10, 20) if (high - low) / (power * by) <= most - 1)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [round(number * step, 10) for number in range(first, last + 1)]


def listed(values: Iterable[float]) -> str:
    """Write numbers for a data attribute, with enough digits to draw them again."""
    return " ".join(f"{value:.6g}" for value in values)


def _path(points: Iterable[Sequence[float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
