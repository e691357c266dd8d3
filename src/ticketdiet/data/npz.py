"""One ``.npz`` file with ``x_train y_train x_test y_test``.

Images are uint8 of shape (n, height, width) or (n, height, width, channels), labels are integers of shape (n,). An
optional ``class_names`` contains strings; without it, classes have their numbers as names. Pickled objects are refused.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ticketdiet.core.errors import DataError
from ticketdiet.core.reading import open_regular, reason_of
from ticketdiet.data.decoded import Decoded, Progress, check_same_size, checked_labels, stamp_files
from ticketdiet.data.request import Request

# numpy and zipfile raise these for damaged files; RuntimeError, for example, when a flag says that it is encrypted.
_DAMAGE = (
    *(OSError, ValueError, EOFError, KeyError, TypeError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)
KEYS = ("x_train", "y_train", "x_test", "y_test")


class NpzFile:
    """One file of arrays."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def identity(self) -> Mapping[str, object]:
        """Path, size and time of the file."""
        return {"npz": stamp_files([self.path])}

    def decode(self, progress: Progress | None = None) -> Decoded:
        """Read and check the arrays."""
        arrays = self._read()
        names = arrays.get("class_names")
        bound = None if names is None else len(names)
        train, test = (self._pixels(key, arrays[key]) for key in ("x_train", "x_test"))
        check_same_size(train, f"x_train in {self.path}", test, "x_test")
        y_train = checked_labels(arrays["y_train"], len(train), f"y_train of {self.path}", bound)
        y_test = checked_labels(arrays["y_test"], len(test), f"y_test of {self.path}", bound)
        counted = range(1 + max(int(y_train.max()), int(y_test.max())))
        if progress is not None:
            progress(len(train) + len(test), len(train) + len(test))
        return Decoded(train, y_train, test, y_test, tuple(str(name) for name in (counted if names is None else names)))

    def _read(self) -> dict[str, np.ndarray]:
        try:
            with open_regular(self.path) as raw:  # np.load does not close a file that it cannot read
                file = np.load(raw, allow_pickle=False)
                if not isinstance(file, np.lib.npyio.NpzFile):
                    raise ValueError("it is a single array")
                self._check_keys(list(file.files))
                return {key: file[key] for key in (*KEYS, "class_names") if key in file.files}
        except DataError:
            raise
        except _DAMAGE as error:
            raise DataError(
                f"The file {self.path} cannot be read: {reason_of(error)}.",
                expected="a whole .npz file of plain arrays without pickled objects",
                way_out="write it again with numpy.savez(path, x_train=..., y_train=..., x_test=..., y_test=...)",
            ) from error

    def _check_keys(self, present: list[str]) -> None:
        if missing := [key for key in KEYS if key not in present]:
            raise DataError(
                f"The file {self.path} lacks {', '.join(missing)}; it contains: {', '.join(present) or 'nothing'}.",
                expected=", ".join(KEYS),
                way_out="rename the arrays",
            )

    def _pixels(self, key: str, array: np.ndarray) -> np.ndarray:
        if array.dtype != np.uint8:
            raise DataError(
                f"The array {key} of {self.path} has dtype {array.dtype}.",
                expected="uint8, 0..255",
                way_out="scale to 0..255 and convert with .astype('uint8')",
            )
        if array.ndim not in (3, 4) or 0 in array.shape:
            raise DataError(
                f"The array {key} of {self.path} has shape {array.shape}.",
                expected="(n, height, width) or (n, height, width, channels), none of them 0",
                way_out="reorder the axes; channels come last",
            )
        return array[:, None] if array.ndim == 3 else np.ascontiguousarray(array.transpose(0, 3, 1, 2))


def open_npz(request: Request) -> NpzFile:
    """Open ``npz:PATH``, which takes no options."""
    request.check(takes_path=True)
    path = request.path
    if not path.is_file():
        raise DataError(f"The path {path} is a folder.", expected="an .npz file", way_out="correct the path")
    return NpzFile(path)
