import math

import pytest

from ticketdiet.page.words import count, duration, energy, names, percent, plain, signed, significant


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (percent(0.2), "20\u00a0%"),
        (percent(0.1234, 1), "12.3\u00a0%"),
        (signed(0.3, 2), "+0.30"),
        (signed(-0.3, 2), "\u22120.30"),
        (signed(-0.001, 2), "0.00"),
        (plain(-1.5, 1), "\u22121.5"),
        (significant(math.nan), "none"),
        (significant(-0.12345), "\u22120.123"),
        (names(["a"]), "a"),
        (names(["a", "b", "c"]), "a, b and c"),
        (count(1, "replicate"), "1\u00a0replicate"),
        (count(2000, "stage"), "2,000\u00a0stages"),
        (duration(7.4), "7 s"),
        (duration(125), "2 min 5 s"),
        (duration(7325), "2 h 2 min"),
        (duration(float("nan")), "none yet"),
        (energy(1754.7), "1.75\u00a0kJ"),
        (energy(2.5e6), "2.5\u00a0MJ"),
        (energy(float("nan")), "not read"),
    ],
)
def test_numbers_are_written_for_people(written, expected):
    assert written == expected
