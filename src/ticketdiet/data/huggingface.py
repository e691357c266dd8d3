"""Data sets of the Hugging Face library ``datasets``; the only place that uses it (extra ``datasets``).

``hf:PATH`` is a folder written by ``save_to_disk``. ``hf:NAME`` is a data set of the Hub, which the library keeps in
its own cache and downloads where that is allowed. In Python, a ``DatasetDict`` can be given as it is. The image column
has the feature ``Image``, the label column ``ClassLabel`` or integers. Where the defaults do not fit:
``hf:NAME?config=CONFIG&train=train&test=validation&image=img&label=fine_label&size=64``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ticketdiet.core.errors import DataError, first_line
from ticketdiet.core.extras import import_extra
from ticketdiet.data.decoded import Decoded, Progress, checked_labels, stamp_files
from ticketdiet.data.pictures import Columns, PictureReader, TargetSize
from ticketdiet.data.pixel_files import Allocate, in_memory
from ticketdiet.data.request import Request

OPTIONS = ("config", "train", "test", "image", "label", "size", "resize")
_BATCH = 256


class HuggingFaceSet:
    """The splits for training and test of one ``DatasetDict``.

    Args:
        name: What the user calls it, for messages.
        splits: ``train`` and ``test`` to a ``datasets.Dataset`` each.
        options: Options of the source.
        stamps: Of the files, where they are known.
    """

    def __init__(
        self, name: str, splits: Mapping[str, Any], options: Mapping[str, str], stamps: Sequence[object] = ()
    ) -> None:
        self.name = name
        self.stamps = list(stamps)
        self.options = dict(options)
        self.splits = {split: self._split(splits, split) for split in ("train", "test")}
        self.size = TargetSize.of(options)

    def identity(self) -> Mapping[str, object]:
        """The fingerprints that the library keeps of its splits, which every operation on them changes."""
        fingerprints = {split: [found._fingerprint, len(found)] for split, found in self.splits.items()}
        return {"hf": fingerprints, "options": self.options, "files": self.stamps}

    def decode(self, progress: Progress | None = None) -> Decoded:
        """Read every picture; rows keep their order."""
        return self.decode_into(in_memory, progress)

    def decode_into(self, allocate: Allocate, progress: Progress | None = None) -> Decoded:
        """Read every picture, with one batch of encoded pictures at a time in memory."""
        columns = self.columns
        reader = PictureReader(sum(map(len, self.splits.values())), progress, allocate=allocate, size=self.size)
        pixels = {split: reader.read(self._pictures(split), len(found)) for split, found in self.splits.items()}
        labels = {split: self._labels(split) for split in self.splits}
        highest = max(int(numbers.max()) for numbers in labels.values())
        names = columns.class_names or tuple(str(number) for number in range(1 + highest))
        train, test = (reader.settle(pixels[split]) for split in ("train", "test"))
        return Decoded(train, labels["train"], test, labels["test"], names)

    @cached_property
    def columns(self) -> Columns:
        """Which columns are read; raises DataError when they cannot be told."""
        datasets = import_extra("datasets", "datasets")
        features = self.splits["train"].features
        images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
        labels = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
        labels = labels or [name for name, feature in features.items() if _is_integer(datasets, feature)]
        image, label = self._choose("image", images), self._choose("label", labels)
        names = getattr(features[label], "names", None)
        return Columns(image, label, tuple(map(str, names)) if names else None)

    def _choose(self, role: str, candidates: list[str]) -> str:
        wanted = self.options.get(role)
        if wanted in self.splits["train"].features if wanted is not None else len(candidates) == 1:
            return wanted or candidates[0]
        raise DataError(
            f"The data set {self.name} has the columns {', '.join(self.splits['train'].features)}.",
            expected=f"one column with the {role}" if wanted is None else f"a column {wanted!r}",
            way_out=f"name it with ?{role}=COLUMN; columns that fit: {', '.join(candidates) or 'none'}",
        )

    def _split(self, splits: Mapping[str, Any], split: str) -> Any:
        wanted = self.options.get(split, split)
        if wanted not in splits:
            raise DataError(
                f"The data set {self.name} has no split {wanted!r}.",
                expected=f"one of: {', '.join(splits) or 'none'}",
                way_out=f"name the split with ?{split}=SPLIT, or split it first with train_test_split(...)",
            )
        return splits[wanted]

    def _pictures(self, split: str) -> Iterator[tuple[str, bytes | Path]]:
        datasets, column, row = import_extra("datasets", "datasets"), self.columns.image, 0
        encoded = self.splits[split].select_columns([column]).with_format(None)
        for batch in encoded.cast_column(column, datasets.Image(decode=False)).iter(_BATCH):
            for picture in batch[column]:
                where = f"row {row} of the {split} split of {self.name}"
                if not picture or (picture.get("bytes") is None and not picture.get("path")):
                    raise DataError(
                        f"There is no picture in {where}.", expected="an image in every row", way_out="remove the row"
                    )
                yield where, Path(picture["path"]) if picture.get("bytes") is None else picture["bytes"]
                row += 1

    def _labels(self, split: str) -> np.ndarray:
        names, column = self.columns.class_names, self.columns.label
        found = self.splits[split].select_columns([column]).with_format("numpy")[:][column]
        where = f"column {column!r} of the {split} split of {self.name}"
        return checked_labels(np.asarray(found), len(self.splits[split]), where, None if names is None else len(names))


def open_dataset_dict(given: object) -> HuggingFaceSet:
    """Open a ``DatasetDict``.

    Args:
        given: What the user gave; any mapping of ``train`` and ``test`` to a ``Dataset`` each will do.

    Returns:
        The source.

    Raises:
        DataError: When it is anything else, or a split is missing.
    """
    if not isinstance(given, Mapping) or not all(hasattr(part, "_fingerprint") for part in given.values()):
        raise DataError(
            f"Got a data set of type {type(given).__name__}.",
            expected="the name of a source, or a DatasetDict with the splits train and test",
            way_out="for example dataset.train_test_split(0.1, seed=0), or {'train': ..., 'test': ...}",
        )
    return HuggingFaceSet("datasets.DatasetDict", given, {})


def open_huggingface(request: Request) -> HuggingFaceSet:
    """Open ``hf:PATH`` or ``hf:NAME``."""
    request.check(OPTIONS, takes_path=True)
    if not request.argument:
        raise DataError("The source 'hf' has no name.", expected="hf:PATH or hf:NAME", way_out="add the path or name")
    path = Path(os.path.expanduser(request.argument)).absolute()
    if not path.is_dir():
        return HuggingFaceSet(request.argument, _from_hub(request), request.options)
    stamps = stamp_files(sorted(path.rglob("*.arrow")))
    return HuggingFaceSet(str(path), _from_disk(path), request.options, stamps)


def _from_disk(path: Path) -> Mapping[str, Any]:
    datasets = import_extra("datasets", "datasets")
    try:
        found = datasets.load_from_disk(str(path))
    except Exception as error:  # of pyarrow, json and the library itself
        raise DataError(
            f"The folder {path} cannot be read: {type(error).__name__}: {error}.",
            expected="a folder that save_to_disk of a DatasetDict wrote",
            way_out="write it again; Parquet files and folders of images are read by parquet:PATH and folder:PATH",
        ) from error
    return found if isinstance(found, Mapping) else {"train": found}


def _from_hub(request: Request) -> Mapping[str, Any]:
    datasets = import_extra("datasets", "datasets")
    offline = None if request.download else datasets.DownloadConfig(local_files_only=True)
    try:
        found = datasets.load_dataset(request.argument, request.options.get("config"), download_config=offline)
    except Exception as error:  # of the network, of files and of the library itself
        raise DataError(
            f"The data set {request.argument!r} is no folder here and cannot be loaded by name: "
            f"{type(error).__name__}: {first_line(error)}.",
            expected="a folder that save_to_disk wrote, or a data set of the Hub in Parquet or as images",
            way_out="check path or name and the network; ?config=NAME chooses among several configurations",
        ) from error
    assert isinstance(found, Mapping)
    return found


def _is_integer(datasets: Any, feature: object) -> bool:
    return isinstance(feature, datasets.Value) and str(feature.dtype).startswith(("int", "uint"))
