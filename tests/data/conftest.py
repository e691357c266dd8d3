"""A private cache for every test, and small data sets on disk."""

from __future__ import annotations

import gzip
import io
import json
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ticketdiet.data.idx import STEMS


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("TICKETDIET_CACHE", str(folder))
    return folder


@pytest.fixture
def draw() -> Callable[..., np.ndarray]:
    """Random uint8 arrays."""

    def draw(*shape: int, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)

    return draw


@pytest.fixture
def as_png() -> Callable[[np.ndarray], bytes]:
    """uint8 of shape (h, w) or (h, w, 3) -> the bytes of a PNG."""
    image = pytest.importorskip("PIL.Image")

    def encode(pixels: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        image.fromarray(pixels).save(buffer, format="PNG")
        return buffer.getvalue()

    return encode


@pytest.fixture
def write_parquet() -> Callable[..., None]:
    """Write one shard in the layout of Hugging Face."""
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")

    def write(
        path: Path,
        encoded: Sequence[bytes | None],
        labels: Any,
        names: Sequence[str] | None = None,
        image: str = "img",
        label: str = "label",
        struct: bool = True,
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())]) if struct else pa.binary()
        rows = [{"bytes": raw, "path": None} for raw in encoded] if struct else list(encoded)
        table = pa.table({"id": ["x"] * len(rows), image: pa.array(rows, kind), label: pa.array(labels)})
        if names is not None:
            features = {image: {"_type": "Image"}, label: {"_type": "ClassLabel", "names": list(names)}}
            table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        pq.write_table(table, path)

    return write


@pytest.fixture
def write_folder(as_png: Callable[[np.ndarray], bytes]) -> Callable[..., None]:
    """Write ``{"split/class/file.png": pixels}`` under a path."""

    def write(path: Path, pictures: dict[str, np.ndarray]) -> None:
        for name, pixels in pictures.items():
            file = path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(as_png(pixels))

    return write


@pytest.fixture
def npz_path(tmp_path: Path, draw: Callable[..., np.ndarray]) -> Path:
    """A small RGB data set: 60 training and 20 test images of 8 x 8, 3 unequal classes."""
    path = tmp_path / "small.npz"
    labels = np.random.default_rng(1).choice(3, 60, p=[0.5, 0.3, 0.2])
    np.savez(
        path, x_train=draw(60, 8, 8, 3), y_train=labels, x_test=draw(20, 8, 8, 3, seed=2), y_test=np.arange(20) % 3
    )
    return path


@pytest.fixture
def idx_bytes() -> Callable[[np.ndarray], bytes]:
    """A uint8 array -> an IDX file."""

    def encode(array: np.ndarray) -> bytes:
        return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()

    return encode


@pytest.fixture
def write_idx(draw: Callable[..., np.ndarray], idx_bytes: Callable[[np.ndarray], bytes]) -> Callable[..., None]:
    """Write the four files of MNIST with 12 training and 5 test images."""

    def write(folder: Path, *, packed: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        arrays = (draw(12, 28, 28), draw(12) % 10, draw(5, 28, 28, seed=1), draw(5, seed=1) % 10)
        for stem, array in zip(STEMS, arrays, strict=True):
            raw = idx_bytes(array)
            (folder / f"{stem}{'.gz' if packed else ''}").write_bytes(gzip.compress(raw) if packed else raw)

    return write
