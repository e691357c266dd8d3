"""Image data sets in Parquet as Hugging Face writes them; the only place that uses pyarrow (extra ``parquet``).

A folder (or its ``data`` folder) contains ``train*.parquet`` and ``test*.parquet``, one or several shards per split.
The image column is a struct with ``bytes`` or plain binary; the label column contains integers. Class names come from
the schema metadata under ``huggingface``. Where the defaults do not fit:
``parquet:PATH?train=train,extra&test=validation&image=img&label=y``. Pictures of several sizes are brought to one by
``?size=64``, or ``?resize=256&size=224``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ticketdiet.core.errors import DataError
from ticketdiet.core.extras import import_extra
from ticketdiet.data.decoded import Decoded, Progress, checked_labels, stamp_files
from ticketdiet.data.pictures import Columns, PictureReader, TargetSize
from ticketdiet.data.pixel_files import Allocate, in_memory
from ticketdiet.data.request import Request

_IMAGE_NAMES = ("image", "img", "picture", "png", "jpg")
_LABEL_NAMES = ("label", "labels", "fine_label", "target", "class", "y")
_BATCH = 256


class ParquetFolder:
    """One folder of Parquet shards."""

    def __init__(self, path: Path, options: Mapping[str, str]) -> None:
        self.path = path
        self.options = dict(options)

    @cached_property
    def shards(self) -> dict[str, list[Path]]:
        """Paths of the shards of ``train`` and ``test``, in order; raises DataError when a split has none."""
        return {
            split: [shard for part in self.options.get(split, split).split(",") for shard in self._shards_of(part)]
            for split in ("train", "test")
        }

    def identity(self) -> Mapping[str, object]:
        """Path, size and time of every shard."""
        stamps = {split: stamp_files(shards) for split, shards in self.shards.items()}
        return {"parquet": stamps, "options": self.options}

    def decode(self, progress: Progress | None = None) -> Decoded:
        """Read every shard; rows keep their order."""
        return self.decode_into(in_memory, progress)

    def decode_into(self, allocate: Allocate, progress: Progress | None = None) -> Decoded:
        """Read every shard, with one batch of encoded pictures at a time in memory."""
        files = {split: [_open_shard(shard) for shard in shards] for split, shards in self.shards.items()}
        columns = self._find_columns(files["train"][0].schema_arrow)
        counts = {split: sum(file.metadata.num_rows for file in opened) for split, opened in files.items()}
        size = TargetSize.of(self.options)
        reader = PictureReader(sum(counts.values()), progress, allocate=allocate, size=size)
        found = {split: self._read_split(split, files[split], counts[split], columns, reader) for split in files}
        (train_pixels, train_labels), (test_pixels, test_labels) = found["train"], found["test"]
        num_classes = 1 + max(int(train_labels.max()), int(test_labels.max()))
        names = columns.class_names or tuple(str(number) for number in range(num_classes))
        return Decoded(reader.settle(train_pixels), train_labels, reader.settle(test_pixels), test_labels, names)

    def _shards_of(self, part: str) -> list[Path]:
        folders = [self.path, self.path / "data"]
        for folder in folders:
            if found := sorted(folder.glob(f"{part}*.parquet")):
                return found
        there = sorted(file.name for folder in folders for file in folder.glob("*.parquet"))
        raise DataError(
            f"The folder {self.path} has no {part}*.parquet.",
            expected=f"Parquet files whose names begin with {part!r}; it contains: {', '.join(there) or 'none'}",
            way_out="correct the path, or name the splits with ?train=...&test=...",
        )

    def _read_split(
        self, split: str, files: list[Any], count: int, columns: Columns, reader: PictureReader
    ) -> tuple[np.ndarray, np.ndarray]:
        labels: list[np.ndarray] = []
        pixels = reader.read(self._rows(split, files, columns, labels), count)
        num_classes = None if columns.class_names is None else len(columns.class_names)
        where = f"column {columns.label!r} of the {split} split of {self.path}"
        joined = np.concatenate(labels) if labels else np.empty(0, dtype=np.int64)
        return pixels, checked_labels(joined, len(pixels), where, num_classes)

    def _rows(
        self, split: str, files: list[Any], columns: Columns, labels: list[np.ndarray]
    ) -> Iterator[tuple[str, bytes]]:
        # Labels are collected in a list, so that only one batch of encoded images is in memory at a time.
        for path, file in zip(self.shards[split], files, strict=True):
            row = 0
            for batch in _batches(path, file, columns):
                labels.append(_integers(path, columns.label, batch.column(columns.label)))
                for encoded in _encoded(batch.column(columns.image)):
                    if encoded is None:
                        raise DataError(
                            f"Row {row} of {path} has no bytes in column {columns.image!r}.",
                            expected="the encoded image in every row",
                            way_out="store the images inside the Parquet file (datasets: embed_external_files=True)",
                        )
                    yield f"row {row} of {path}", encoded
                    row += 1

    def _find_columns(self, schema: Any) -> Columns:
        features = _features(schema)
        pictures = [field.name for field in schema if _holds_bytes(field.type)]
        numbers = [field.name for field in schema if _is_integer(field.type)]
        image = self._choose("image", pictures, _IMAGE_NAMES, schema.names)
        label = self._choose("label", numbers, _LABEL_NAMES, schema.names)
        feature = features.get(label)
        names = feature.get("names") if isinstance(feature, dict) else None
        return Columns(image, label, tuple(map(str, names)) if names else None)

    def _choose(self, role: str, candidates: list[str], usual: tuple[str, ...], present: list[str]) -> str:
        wanted = self.options.get(role)
        named = [wanted] if wanted is not None else [name for name in usual if name in candidates]
        for name in named or (candidates if len(candidates) == 1 else []):
            if name in candidates:
                return name
        kind = "encoded images (binary, or struct with bytes)" if role == "image" else "integers"
        which = (
            f"{role} column {wanted!r}"
            if wanted is not None
            else f"{role} column that can be distinguished from the others"
        )
        raise DataError(
            f"The data set {self.path} has no {which}; its columns are: {', '.join(present)}.",
            expected=f"a column of {kind}; columns of that type are: {', '.join(candidates) or 'none'}",
            way_out=f"name the column: ?{role}=COLUMN",
        )


def open_parquet(request: Request) -> ParquetFolder:
    """Open ``parquet:PATH``; options ``train``, ``test`` (beginnings of file names), image, label, size and resize."""
    request.check(("train", "test", "image", "label", "size", "resize"), takes_path=True)
    TargetSize.of(request.options)
    path = request.path
    if not path.is_dir():
        raise DataError(
            f"The path {path} is a file.", expected="a folder of Parquet files", way_out=f"parquet:{path.parent}"
        )
    return ParquetFolder(path, request.options)


def _open_shard(path: Path) -> Any:
    pyarrow = import_extra("pyarrow.parquet", "parquet")
    try:
        return pyarrow.ParquetFile(path)
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise _damaged(path, error) from error


def _batches(path: Path, file: Any, columns: Columns) -> Iterator[Any]:
    for name in (columns.image, columns.label):
        if name not in file.schema_arrow.names:
            raise DataError(
                f"The file {path} has no column {name!r}.",
                expected=f"the columns {columns.image!r} and {columns.label!r} in every shard",
                way_out="write all shards with the same schema",
            )
    try:
        yield from file.iter_batches(batch_size=_BATCH, columns=[columns.image, columns.label])
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        f"The file {path} cannot be read as Parquet ({error}).",
        expected="a whole Parquet file",
        way_out="download or write the file again; it may be truncated",
    )


def _integers(path: Path, name: str, column: Any) -> np.ndarray:
    if column.null_count or not _is_integer(column.type):
        raise DataError(
            f"Column {name!r} of {path} has {column.null_count} empty rows and type {column.type}.",
            expected="an integer in every row",
            way_out="remove the rows, or number the classes from 0",
        )
    values: np.ndarray = column.to_numpy(zero_copy_only=False)
    return values


def _encoded(column: Any) -> list[bytes | None]:
    values: list[bytes | None] = (column.field("bytes") if hasattr(column, "field") else column).to_pylist()
    return values


def _holds_bytes(kind: Any) -> bool:
    types = import_extra("pyarrow", "parquet").types
    if types.is_struct(kind):
        return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _is_integer(kind: Any) -> bool:
    return bool(import_extra("pyarrow", "parquet").types.is_integer(kind))


def _features(schema: Any) -> dict[str, Any]:
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}
