"""What callers give for numbers, arrays, scores, labels and indices, checked before anything is done with it."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from torch import Tensor

from ticketdiet.core.errors import DataError


def is_integer(value: object) -> bool:
    """Whether ``value`` is an integer of Python or numpy, and no bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether ``value`` is a real number of Python or numpy, and no bool."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_seed(seed: object) -> None:
    """Refuse what is no integer.

    Raises:
        DataError: For anything else.
    """
    if not is_integer(seed):
        raise DataError(f"seed={seed!r}.", expected="an integer", way_out="for example seed=0")


def as_array(values: object, name: str) -> np.ndarray:
    """Return a tensor, an array or a sequence as an array; ``name`` is for the message.

    Raises:
        DataError: When it makes none, because its rows differ in length, say.
    """
    if isinstance(values, Tensor):
        return np.asarray(values.detach().cpu().numpy())
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as reason:
        raise DataError(
            f"{name} of type {type(values).__name__}, which make no array: {reason}.",
            expected="an array, a tensor or a sequence of numbers",
            way_out=f"np.asarray({name}) has to work",
        ) from None
