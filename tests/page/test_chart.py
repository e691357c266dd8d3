import itertools
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketdiet.page.chart import MARKERS, Chart, Line, Point, round_values
from ticketdiet.reports.style import MARKERS as STYLES


def chart(*points, reference=math.nan, width=760.0):
    line = Line("a", "#000000", "o", "", tuple(Point(d, m, low, high, "") for d, m, low, high in points))
    return Chart("c", width, 400.0, (line,), reference, "dense", "accuracy (%)")


POINTS = ((1.0, 90.0, 89.0, 91.0), (0.1, 80.0, 78.0, 82.0), (0.01, 70.0, 65.0, 75.0))


def test_densities_are_on_a_log_scale_with_the_dense_network_on_the_left():
    drawn = chart(*POINTS)
    places = [drawn.x(density) for density in (1.0, 0.1, 0.01)]
    assert drawn.left < places[0] < places[2] < drawn.width - drawn.right
    assert places[1] - places[0] == pytest.approx(places[2] - places[1])


def test_greater_values_are_higher_and_bands_are_inside():
    drawn = chart(*POINTS)
    assert drawn.top < drawn.y(91.0) < drawn.y(90.0) < drawn.y(65.0) < drawn.height - drawn.bottom


def test_the_path_goes_through_the_means_and_the_band_around_the_ends():
    drawn = chart(*POINTS)
    numbers = [float(number) for number in re.findall(r"[\d.]+", drawn.path(drawn.lines[0]))]
    assert numbers[1::2] == pytest.approx([drawn.y(mean) for _, mean, _, _ in POINTS], abs=0.05)
    band = [float(number) for number in re.findall(r"[\d.]+", drawn.band(drawn.lines[0]))]
    expected = [drawn.y(value) for value in (91.0, 82.0, 75.0, 65.0, 78.0, 89.0)]
    assert band[1::2] == pytest.approx(expected, abs=0.05)


def test_ticks_of_densities_keep_apart():
    many = chart(*((0.9**level, 50.0, 50.0, 50.0) for level in range(40)), width=360.0)
    places = [tick.place for tick in many.x_ticks]
    assert len(places) > 3
    assert min(b - a for a, b in itertools.pairwise(places)) >= 40


def test_one_point_can_be_drawn():
    drawn = chart((1.0, 50.0, 50.0, 50.0))
    assert drawn.left < drawn.x(1.0) < drawn.width - drawn.right
    assert drawn.y_ticks


def test_the_reference_line_is_in_the_box():
    low, high = chart(*POINTS, reference=99.0).y_range
    assert low < 65.0
    assert high > 99.0
    assert not chart(*POINTS).has_reference


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_round_values_are_few_equally_apart_and_inside(low, width):
    high = low + width
    values = round_values(low, high)
    assert 2 <= len(values) <= 7
    slack = 1e-6 * width + 1e-9 * abs(low)
    assert low - slack <= values[0]
    assert values[-1] <= high + slack
    steps = {round((b - a) / width, 4) for a, b in itertools.pairwise(values)}
    assert max(steps) - min(steps) <= 2e-3


def test_every_marker_of_the_figures_has_a_path():
    assert set(MARKERS) == set(STYLES)
