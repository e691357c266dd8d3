"""Reading what ``torch.save`` wrote, without running any code that is in it."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import torch

from ticketdiet.core.errors import DataError
from ticketdiet.core.reading import open_regular


def load_plain(file: Path) -> object:
    """Read a file of ``torch.save`` with ``weights_only=True``: tensors and plain values, nothing else.

    Args:
        file: The file.

    Returns:
        What it holds, with tensors on the CPU.

    Raises:
        DataError: When it cannot be read, or holds other objects.
    """
    try:
        open_regular(file).close()  # reading a pipe or a device would wait
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of pickle protocols, for files that are refused anyway
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise DataError(
            f"{file} holds other objects than tensors and plain values, or is damaged.",
            expected="tensors by name, which are loaded without running any code",
            way_out="where you trust the file, load it yourself and save its state_dict alone with torch.save",
        ) from None
    except (OSError, EOFError, RuntimeError, ValueError, KeyError) as error:
        reason = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{file} cannot be read: {reason}.",
            expected="a file that torch.save wrote",
            way_out="check the path, and that the copy is complete",
        ) from None
