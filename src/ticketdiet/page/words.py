"""How numbers are written in sentences of the page: signs that are signs, and units that stay on their line."""

from __future__ import annotations

import math
from collections.abc import Sequence

MINUS, HARD_SPACE = "\u2212", "\u00a0"


def percent(fraction: float, digits: int = 0) -> str:
    """Write a fraction in percent, as in "20 %"."""
    return f"{100 * fraction:.{digits}f}{HARD_SPACE}%"


def signed(value: float, digits: int) -> str:
    """Write a number with its sign, as in "+0.30"; zero has none."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", MINUS)


def plain(value: float, digits: int) -> str:
    """Write a number with a sign only where it is negative."""
    return f"{value:.{digits}f}".replace("-", MINUS)


def significant(value: float) -> str:
    """Write a number with three significant digits, "none" where there is none."""
    return "none" if math.isnan(value) else f"{value:.3g}".replace("-", MINUS)


def names(several: Sequence[str]) -> str:
    """Write names as in "a, b and c"."""
    return several[0] if len(several) == 1 else f"{', '.join(several[:-1])} and {several[-1]}"


def count(number: int, what: str) -> str:
    """Write a number of things, as in "1 replicate" or "2 replicates"."""
    return f"{number:,}{HARD_SPACE}{what}{'s' * (number != 1)}"


def duration(seconds: float) -> str:
    """Write a time in hours and minutes, or minutes and seconds."""
    if math.isnan(seconds):
        return "none yet"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def energy(joules: float) -> str:
    """Write an energy in kilojoules, or megajoules from a thousand on."""
    if math.isnan(joules):
        return "not read"
    amount, unit = (joules / 1e6, "MJ") if joules >= 1e6 else (joules / 1e3, "kJ")
    return f"{amount:.3g}{HARD_SPACE}{unit}"
