"""Images in folders: ``PATH/<split>/<class>/<file>``, one folder per class.

Several split folders may be merged: ``folder:PATH?train=train,valid&test=test`` is CINIC-10 as the paper uses it. The
order is that of the split folders as given, then that of the sorted class names, then that of the sorted file names.
Pictures of several sizes are brought to one by ``?size=64``, or ``?resize=256&size=224``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import numpy as np

from ticketdiet.core.errors import DataError
from ticketdiet.data.decoded import Decoded, Progress
from ticketdiet.data.pictures import PictureReader, TargetSize
from ticketdiet.data.pixel_files import Allocate, in_memory
from ticketdiet.data.request import Request

SUFFIXES = (".png", ".jpg", ".jpeg")
LAYOUT = "images in PATH/<split>/<class>/*.png or *.jpg"


class ImageFolders:
    """Split folders of class folders under one path."""

    def __init__(self, path: Path, splits: Mapping[str, tuple[str, ...]], size: TargetSize | None = None) -> None:
        self.path = path
        self.splits = dict(splits)
        self.size = size

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Names of the class folders, sorted; raises DataError when split folders disagree."""
        parts = [part for parts in self.splits.values() for part in parts]
        found = {part: self._class_folders(part) for part in parts}
        names = found[parts[0]]
        for part, others in found.items():
            if odd := sorted(set(names) ^ set(others)):
                raise DataError(
                    f"The class folders in {self.path / parts[0]} and {self.path / part} differ by {', '.join(odd)}.",
                    expected="the same class folders in every split",
                    way_out="add or remove class folders",
                )
        return names

    @cached_property
    def files(self) -> dict[str, list[tuple[int, os.DirEntry[str]]]]:
        """Class number and file of every image in ``train`` and ``test``, in order."""
        return {split: [file for part in parts for file in self._list(part)] for split, parts in self.splits.items()}

    def identity(self) -> Mapping[str, object]:
        """Path, and one hash over the path, size and time of every file."""
        digest = hashlib.sha256()
        for split, files in self.files.items():
            for _, file in files:
                stat = file.stat()
                digest.update(os.fsencode(f"{split}\0{file.path}\0{stat.st_size}\0{stat.st_mtime_ns}\n"))
        found = {"folder": str(self.path), "splits": self.splits, "files": digest.hexdigest()}
        return found if self.size is None else {**found, "size": asdict(self.size)}

    def decode(self, progress: Progress | None = None) -> Decoded:
        """Read every file."""
        return self.decode_into(in_memory, progress)

    def decode_into(self, allocate: Allocate, progress: Progress | None = None) -> Decoded:
        """Read every file, with a few pictures at a time in memory."""
        total = sum(map(len, self.files.values()))
        reader = PictureReader(total, progress, allocate=allocate, size=self.size)
        pixels, labels = {}, {}
        for split, files in self.files.items():
            pixels[split] = reader.read(((file.path, Path(file.path)) for _, file in files), len(files))
            labels[split] = np.array([label for label, _ in files], dtype=np.int64)
        return Decoded(
            reader.settle(pixels["train"]),
            labels["train"],
            reader.settle(pixels["test"]),
            labels["test"],
            self.class_names,
        )

    def _class_folders(self, part: str) -> tuple[str, ...]:
        folder = self.path / part
        if not folder.is_dir():
            there = sorted(entry.name for entry in self.path.iterdir() if entry.is_dir())
            raise DataError(
                f"The path {folder} is not a folder.",
                expected=f"split folders in {self.path}, which contains: {', '.join(there) or 'no folder'}",
                way_out="name the split folders, for example ?train=train,valid&test=test",
            )
        names = tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."))
        if not names:
            raise DataError(
                f"The folder {folder} has no class folders.",
                expected="one folder per class",
                way_out="correct the path",
            )
        return names

    def _list(self, part: str) -> Iterator[tuple[int, os.DirEntry[str]]]:
        for label, name in enumerate(self.class_names):
            folder = self.path / part / name
            with os.scandir(folder) as entries:
                files = [file for file in entries if _is_image(file.name)]
            if not files:
                raise DataError(
                    f"The folder {folder} contains no images.",
                    expected=f"files ending in {', '.join(SUFFIXES)}",
                    way_out="add images of this class, or remove the folder from every split",
                )
            for file in sorted(files, key=lambda file: file.name):
                yield label, file


def open_folder(request: Request) -> ImageFolders:
    """Open ``folder:PATH``; ``train`` and ``test`` name split folders, ``size`` and ``resize`` scale the pictures."""
    request.check(("train", "test", "size", "resize"), takes_path=True)
    try:
        path = request.path
    except DataError as error:
        raise DataError(error.came, expected=f"{LAYOUT}, written folder:PATH", way_out=error.way_out) from None
    if not path.is_dir():
        raise DataError(f"The path {path} is a file.", expected=LAYOUT, way_out="correct the path")
    splits = {split: tuple(request.options.get(split, split).split(",")) for split in ("train", "test")}
    return ImageFolders(path, splits, TargetSize.of(request.options))


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")
