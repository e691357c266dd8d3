"""Which tolerances a barrier can be compared with."""

import pytest

from ticketdiet.core.errors import UserError
from ticketdiet.landscape.tolerance import check_tolerance


@pytest.mark.parametrize("tolerance", [0, 0.1, float("inf")])
def test_a_tolerance_that_is_not_negative_comes_back(tolerance: float) -> None:
    assert check_tolerance(tolerance) == tolerance


@pytest.mark.parametrize("tolerance", [-1e-9, float("nan")])
def test_a_tolerance_that_is_negative_or_no_number_is_refused(tolerance: float) -> None:
    with pytest.raises(UserError, match=f"tolerance is {tolerance}"):
        check_tolerance(tolerance)
