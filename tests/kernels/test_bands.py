"""Bands of rows, beside a count by hand of which rows a convolution's output and gradients need."""

from hypothesis import given
from hypothesis import strategies as st

from ticketdiet.kernels.bands import FEWEST, SCRATCH, bands, most, rows_that_fit
from ticketdiet.kernels.geometry import Geometry

GEOMETRIES = st.builds(
    Geometry,
    st.tuples(st.integers(1, 5), st.integers(1, 4)),
    st.tuples(st.integers(1, 3), st.integers(1, 2)),
    st.tuples(st.integers(0, 3), st.integers(0, 2)),
)


@given(GEOMETRIES, st.integers(5, 20), st.integers(1, 20))
def test_every_row_of_output_and_input_belongs_to_one_band(geometry, height, rows):
    found = bands(geometry, (height, 9), rows)
    outs = geometry.out_sides(height, 9)[0]
    assert [row for band in found for row in range(*band.out)] == list(range(outs))
    assert [row for band in found for row in range(*band.own)] == list(range(height))
    assert all(band.out[1] - band.out[0] <= rows for band in found)


@given(GEOMETRIES, st.integers(5, 20), st.integers(1, 20))
def test_a_band_has_all_rows_that_touch_its_output_and_its_own_input(geometry, height, rows):
    (kernel, _), (stride, _), (padding, _) = geometry.kernel, geometry.stride, geometry.padding
    outs = geometry.out_sides(height, 9)[0]
    for band in bands(geometry, (height, 9), rows):
        touched = {out * stride - padding + tap for out in range(*band.out) for tap in range(kernel)}
        assert touched | set(range(*band.own)) <= set(range(*band.source))
        seen = {out for out in range(outs) for tap in range(kernel) if out * stride - padding + tap in range(*band.own)}
        assert seen | set(range(*band.out)) <= set(range(*band.gradient))


@given(
    GEOMETRIES,
    st.tuples(st.integers(1, 600), st.integers(1, 600)),
    st.tuples(st.integers(5, 64), st.integers(5, 64)),
    st.booleans(),
)
def test_bands_fit_the_scratch_memory_or_are_as_low_as_they_may_be(geometry, channels, sides, backward):
    rows = rows_that_fit(geometry, channels, sides, backward=backward)
    outs, columns = geometry.out_sides(*sides)
    found = bands(geometry, sides, rows)
    size = channels[0] * most(found, "source") * (sides[1] + 2 * geometry.pad) * 64
    if backward:
        size += channels[1] * most(found, "gradient") * (columns + 2 * geometry.gradient_pad(*sides)) * 64
        size += channels[0] * most(found, "own") * sides[1] * 64
    step = max(1, 16 // columns)
    assert 1 <= rows <= outs
    assert rows == outs or rows % step == 0, "a band of whole tiles"
    assert size <= SCRATCH or rows <= max(FEWEST, step)


def test_a_plane_that_fits_is_one_band():
    geometry = Geometry((3, 3), (1, 1), (1, 1))
    assert rows_that_fit(geometry, (16, 16), (8, 8), backward=True) == 8
