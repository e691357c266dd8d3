"""Decoded images on disk: one folder per entry, with plain ``.npy`` files and a ``meta.json``.

An entry is written to another folder, synced and renamed, so that it is whole or absent. It is used when ``meta.json``
matches its own checksum and every file still has the size and time that it was written with; otherwise the images are
decoded again. Pixels are mapped into memory, copy on write: processes that open the same entry share its memory, and
none of them can change the entry.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
import uuid
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from ticketdiet.core.addresses import canonical_json
from ticketdiet.core.folders import user_cache
from ticketdiet.core.values import Images, ImageSplits
from ticketdiet.data.pixel_files import Allocate, PixelFiles, in_memory

CACHE_VERSION = 1
_LEFTOVER_AGE = 24 * 3600  # seconds; an older temporary folder was left by a writer that was killed
_warned: set[Path] = set()


@dataclass(frozen=True)
class SplitFacts:
    """The facts about a split that need no pixels.

    Attributes:
        fingerprint: The same as ``Images.fingerprint``.
        count: Number of examples.
        class_counts: Number of examples of every class.
    """

    fingerprint: str
    count: int
    class_counts: tuple[int, ...]


@dataclass(frozen=True)
class ImageFacts:
    """The facts about a data set that need no pixels.

    Attributes:
        name: The source as the caller wrote it.
        fingerprint: The same as ``ImageSplits.fingerprint``, over all splits.
        splits: Facts of ``train``, ``test`` and, when there is one, ``validation``.
        shape: (channels, height, width) of an image.
        class_names: One name per class.
        mean: Per-channel mean of the training images, on the scale 0..1.
        std: Per-channel standard deviation of the training images.
    """

    name: str
    fingerprint: str
    splits: Mapping[str, SplitFacts]
    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def num_classes(self) -> int:
        """Number of classes, from the names."""
        return len(self.class_names)

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """Fingerprint of every split."""
        return {split: facts.fingerprint for split, facts in self.splits.items()}


def cache_folder(cache: str | Path | bool | None = None) -> Path:
    """Folder of decoded images and downloads: ``cache``, or ``TICKETDIET_CACHE``, or ``~/.cache/ticketdiet``."""
    given = None if isinstance(cache, bool) else cache
    return Path(os.path.expanduser(given)).absolute() if given else user_cache()


def downloads_folder(cache: str | Path | bool | None = None) -> Path:
    """Folder that data sets are downloaded into."""
    return cache_folder(cache) / "downloads"


def entry_key(identity: Mapping[str, object]) -> str:
    """Name of the entry for a source and its options: 32 hexadecimal digits."""
    return hashlib.sha256(canonical_json({"version": CACHE_VERSION, **identity}).encode()).hexdigest()[:32]


class ImageCache:
    """The entries in one folder.

    Args:
        folder: Folder of the entries, made when the first is written. None stores nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def facts(self, key: str) -> ImageFacts | None:
        """Return the facts of an entry, or None when it is absent, damaged or truncated."""
        meta = self._meta(key)
        return None if meta is None else _facts_of(meta)

    def read(self, key: str) -> ImageSplits | None:
        """Return the images of an entry with known fingerprints, or None when it is absent, damaged or truncated."""
        meta = self._meta(key)
        if meta is None or self.folder is None:
            return None
        try:
            return _open_splits(self.folder / key, _facts_of(meta))
        except (OSError, ValueError, EOFError):  # another process is replacing it
            return None

    def keep(self, key: str, make: Callable[[Allocate], ImageSplits]) -> ImageSplits:
        """Return the images of an entry; where there is none, make them and store them.

        Warns once and continues when the folder cannot be written.

        Args:
            key: The entry.
            make: Makes the images, with their pixels in arrays that it is given the means to allocate: they are files
                of the new entry, so that the images need not fit into memory.

        Returns:
            The images, mapped from the entry where it could be written.
        """
        found = self.read(key)
        if found is not None:
            return found
        beside = self._begin(key)
        if beside is None:
            return make(in_memory)
        try:
            files = PixelFiles(beside, self._refused)
            images = make(files)
            self._store(key, beside, images, files)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        # What was made is still writable; what is read cannot change the entry.
        return self.read(key) or images

    def _begin(self, key: str) -> Path | None:
        if self.folder is None:
            return None
        beside = self.folder / f".{key}-{uuid.uuid4().hex}"
        try:
            beside.mkdir(parents=True)
        except OSError as error:
            self._refused(error)
            return None
        return beside

    def _store(self, key: str, beside: Path, images: ImageSplits, files: PixelFiles) -> None:
        try:
            _write_entry(beside, images, files)
            self._put(beside, key)
            self._sweep()
        except OSError as error:
            self._refused(error)

    def _refused(self, error: OSError) -> None:
        assert self.folder is not None
        _warn_once(self.folder, error)

    def _meta(self, key: str) -> dict[str, Any] | None:
        if self.folder is None:
            return None
        try:
            stored = json.loads((self.folder / key / "meta.json").read_bytes())
            meta = cast(dict[str, Any], stored["meta"])
            if _checksum(meta) != stored["checksum"]:
                return None
            files = {name: (self.folder / key / name).stat() for name in meta["files"]}
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return meta if all(_stamp(stat) == meta["files"][name] for name, stat in files.items()) else None

    def _put(self, beside: Path, key: str) -> None:
        assert self.folder is not None
        place = self.folder / key
        if self._meta(key) is None:
            with suppress(FileNotFoundError):
                place.rename(aside := beside.with_name(f"{beside.name}-old"))
                shutil.rmtree(aside, ignore_errors=True)
            try:
                beside.rename(place)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
        # When another writer was faster, its content is equal.
        shutil.rmtree(beside, ignore_errors=True)
        _sync_folder(self.folder)

    def _sweep(self) -> None:
        assert self.folder is not None
        for leftover in self.folder.glob(".*-*"):
            with suppress(FileNotFoundError):
                if time.time() - leftover.stat().st_mtime > _LEFTOVER_AGE:
                    shutil.rmtree(leftover, ignore_errors=True)


def facts_of_images(images: ImageSplits) -> ImageFacts:
    """Compute the facts of images that are in memory."""
    splits = {
        name: SplitFacts(
            split.fingerprint,
            len(split),
            tuple(np.bincount(split.labels.cpu().numpy(), minlength=split.num_classes).tolist()),
        )
        for name, split in images.named().items()
    }
    train = images.train
    _, channels, height, width = train.pixels.shape
    return ImageFacts(
        images.name,
        images.fingerprint,
        splits,
        (channels, height, width),
        train.class_names,
        train.mean,
        train.std,
    )


def _write_entry(folder: Path, images: ImageSplits, pixels: PixelFiles) -> None:
    files = {}
    for name, split in images.named().items():
        for part, tensor in (("pixels", split.pixels), ("labels", split.labels)):
            path = folder / f"{name}_{part}.npy"
            if not pixels.move(tensor.numpy(), path):
                np.save(path, tensor.numpy(), allow_pickle=False)
            with path.open("rb") as file:
                os.fsync(file.fileno())
            files[path.name] = _stamp(path.stat())
    pixels.discard_scratch()
    meta = {**asdict(facts_of_images(images)), "files": files}
    with (folder / "meta.json").open("w") as file:
        json.dump({"checksum": _checksum(meta), "meta": meta}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    _sync_folder(folder)


def _facts_of(meta: Mapping[str, Any]) -> ImageFacts:
    splits = {
        name: SplitFacts(split["fingerprint"], split["count"], tuple(split["class_counts"]))
        for name, split in meta["splits"].items()
    }
    channels, height, width = meta["shape"]
    return ImageFacts(
        meta["name"],
        meta["fingerprint"],
        splits,
        (channels, height, width),
        tuple(meta["class_names"]),
        tuple(meta["mean"]),
        tuple(meta["std"]),
    )


def _open_splits(folder: Path, facts: ImageFacts) -> ImageSplits:
    opened = {}
    for name, split in facts.splits.items():
        pixels = np.load(folder / f"{name}_pixels.npy", mmap_mode="c", allow_pickle=False)
        labels = np.load(folder / f"{name}_labels.npy", allow_pickle=False)
        opened[name] = Images(
            torch.from_numpy(pixels),
            torch.from_numpy(labels),
            facts.class_names,
            facts.mean,
            facts.std,
            split.fingerprint,
        )
    return ImageSplits(opened["train"], opened["test"], opened.get("validation"), facts.name)


def _checksum(meta: Mapping[str, object]) -> str:
    return hashlib.sha256(canonical_json(meta).encode()).hexdigest()


def _stamp(stat: os.stat_result) -> list[int]:
    return [stat.st_size, stat.st_mtime_ns]


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _warn_once(folder: Path, error: OSError) -> None:
    if folder not in _warned:
        _warned.add(folder)
        warnings.warn(
            f"Decoded images are not stored, because the folder {folder} cannot be written ({error}). "
            "Set TICKETDIET_CACHE to a folder that can be written.",
            UserWarning,
            stacklevel=2,
        )
