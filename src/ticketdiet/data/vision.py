"""MNIST, Fashion-MNIST, CIFAR and SVHN; for data the only place that uses torchvision (extra ``vision``).

The files are expected where torchvision puts them, in ``root`` or in the package's own downloads; only the latter is
downloaded into. The IDX files of MNIST and Fashion-MNIST are read here, so that torchvision is needed only to download
them; Fashion-MNIST is also found where Debian's package dataset-fashion-mnist puts it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ticketdiet.core.errors import DataError
from ticketdiet.core.extras import import_extra
from ticketdiet.data.decoded import Decoded, Progress, check_same_size, checked_labels, stamp_files
from ticketdiet.data.idx import find_idx_files, read_idx
from ticketdiet.data.request import Request

DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
_DIGITS = tuple(str(digit) for digit in range(10))
_FASHION = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)


@dataclass(frozen=True)
class VisionSet:
    """One data set of torchvision.

    Attributes:
        loader: Name of its class in ``torchvision.datasets``.
        files: Its files below a root; for IDX sets the folder that contains them.
        class_names: Names of the classes, or None when torchvision knows them.
        idx: Whether it consists of the four IDX files.
        system: The folder where a package of the operating system puts its IDX files, or None.
    """

    loader: str
    files: tuple[str, ...]
    class_names: tuple[str, ...] | None = None
    idx: bool = False
    system: Path | None = None

    def find(self, request: Request) -> list[Path]:
        """Return the paths of its files on this machine, or an empty list."""
        root = request.root or request.downloads
        if not self.idx:
            paths = [root / file for file in self.files]
            return paths if all(path.is_file() for path in paths) else []
        folders = [root / self.files[0], root]
        folders += [self.system] if self.system is not None and request.root is None else []
        return next((found for folder in folders if (found := find_idx_files(folder))), [])


VISION_SETS: Mapping[str, VisionSet] = {
    "mnist": VisionSet("MNIST", ("MNIST/raw",), _DIGITS, idx=True),
    "fashion-mnist": VisionSet("FashionMNIST", ("FashionMNIST/raw",), _FASHION, idx=True, system=DEBIAN_FASHION),
    "cifar10": VisionSet(
        "CIFAR10",
        tuple(
            f"cifar-10-batches-py/{name}"
            for name in ("batches.meta", *(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
        ),
    ),
    "cifar100": VisionSet("CIFAR100", tuple(f"cifar-100-python/{name}" for name in ("meta", "train", "test"))),
    "svhn": VisionSet("SVHN", ("train_32x32.mat", "test_32x32.mat"), _DIGITS),
}


class VisionSource:
    """One data set of torchvision in one place."""

    def __init__(self, kind: VisionSet, request: Request) -> None:
        self.kind = kind
        self.request = request

    def identity(self) -> Mapping[str, object]:
        """Path, size and time of its files; downloads them first where that is allowed."""
        return {self.request.name: stamp_files(self._files())}

    def decode(self, progress: Progress | None = None) -> Decoded:
        """Read the IDX files here, and the others through torchvision, which checks their MD5 first."""
        files = self._files()
        decoded = _decode_idx(self.kind, files) if self.kind.idx else self._decode_torchvision()
        total = len(decoded.train_labels) + len(decoded.test_labels)
        if progress is not None:
            progress(total, total)
        return decoded

    def _files(self) -> list[Path]:
        found = self.kind.find(self.request)
        if found:
            return found
        if not self.request.download:
            raise self._absent(f"is not in {self.request.root or self.request.downloads}")
        self._open(train=True, download=True)
        self._open(train=False, download=True)
        return self.kind.find(self.request)

    def _open(self, *, train: bool, download: bool = False) -> Any:
        loader = getattr(import_extra("torchvision.datasets", "vision"), self.kind.loader)
        which = {"split": "train" if train else "test"} if self.kind.loader == "SVHN" else {"train": train}
        root = self.request.root or self.request.downloads
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # numpy warns about the old pickles in CIFAR
                return loader(str(root), **which, download=download)
        except (OSError, RuntimeError) as error:
            why = "could not be downloaded; is there a network?" if download else "is damaged"
            raise self._absent(f"{why} ({error})") from error

    def _decode_torchvision(self) -> Decoded:
        train, test = self._open(train=True), self._open(train=False)
        names = self.kind.class_names or tuple(train.classes)
        train_labels, test_labels = (_labels_of(split, len(names), self.request.name) for split in (train, test))
        return Decoded(_pixels_of(train), train_labels, _pixels_of(test), test_labels, names)

    def _absent(self, why: str) -> DataError:
        name = self.request.name
        package = " or install the package dataset-fashion-mnist," if name == "fashion-mnist" else ""
        return DataError(
            f"The data set {name} {why}.",
            expected=f"the files of {name} as torchvision lays them out: {', '.join(self.kind.files)}",
            way_out=f"give the folder that contains them as dataset.root (or root=),{package} or allow the download",
        )


def _pixels_of(split: Any) -> np.ndarray:
    data = np.asarray(split.data)
    return data if data.shape[1] == 3 else np.ascontiguousarray(data.transpose(0, 3, 1, 2))


def _labels_of(split: Any, num_classes: int, name: str) -> np.ndarray:
    labels = np.asarray(split.labels if hasattr(split, "labels") else split.targets)
    return checked_labels(labels, len(split.data), f"{name}", num_classes)


def _decode_idx(kind: VisionSet, files: list[Path]) -> Decoded:
    assert kind.class_names is not None
    images, labels = [], []
    for pixels_path, labels_path in (files[:2], files[2:]):
        pixels = read_idx(pixels_path)
        if pixels.ndim != 3:
            raise DataError(
                f"The file {pixels_path} has {pixels.ndim} axes.", expected="3 axes", way_out="download it again"
            )
        images.append(pixels[:, None])
        labels.append(checked_labels(read_idx(labels_path), len(pixels), str(labels_path), len(kind.class_names)))
    check_same_size(images[0], str(files[0]), images[1], str(files[2]))
    return Decoded(images[0], labels[0], images[1], labels[1], kind.class_names)


def opener(name: str) -> Callable[[Request], VisionSource]:
    """Return the function that opens the data set ``name``; it takes neither path nor options."""

    def open_vision(request: Request) -> VisionSource:
        request.check(takes_path=False)
        return VisionSource(VISION_SETS[name], request)

    return open_vision


def finder(name: str) -> Callable[[Request], str]:
    """Return the function that returns the folder of the data set ``name`` on this machine, or an empty string."""

    def find(request: Request) -> str:
        found = VISION_SETS[name].find(request)
        return str(found[0].parent) if found else ""

    return find
