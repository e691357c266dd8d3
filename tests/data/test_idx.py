"""IDX files, plain and gzipped."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ticketdiet.core.errors import DataError
from ticketdiet.data.idx import STEMS, find_idx_files, read_idx
from ticketdiet.data.images import load_images


def test_an_array_comes_back_plain_and_packed(tmp_path: Path, idx_bytes: Callable[[np.ndarray], bytes]) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "plain").write_bytes(idx_bytes(array))
    (tmp_path / "packed.gz").write_bytes(gzip.compress(idx_bytes(array)))
    for name in ("plain", "packed.gz"):
        assert read_idx(tmp_path / name).tolist() == array.tolist()


def test_four_files_are_found_or_none(tmp_path: Path, write_idx: Callable[..., None]) -> None:
    write_idx(tmp_path, packed=True)
    assert [path.name for path in find_idx_files(tmp_path)] == [f"{stem}.gz" for stem in STEMS]
    (tmp_path / f"{STEMS[2]}.gz").unlink()
    assert find_idx_files(tmp_path) == []


def test_a_damaged_idx_file_is_named(
    tmp_path: Path, write_idx: Callable[..., None], idx_bytes: Callable[[np.ndarray], bytes]
) -> None:
    write_idx(tmp_path, packed=True)
    packed = tmp_path / f"{STEMS[0]}.gz"
    whole = packed.read_bytes()
    for damaged in (whole[:-20], b"", b"plain text", gzip.compress(b"\0\0\x0d\3"), gzip.compress(b"\0\0\x08\3\0")):
        packed.write_bytes(damaged)
        with pytest.raises(DataError, match=rf"{STEMS[0]}\.gz is damaged"):
            load_images("mnist", root=tmp_path)
    packed.write_bytes(gzip.compress(idx_bytes(np.zeros((12, 28, 28), np.uint8))[:-1]))
    with pytest.raises(DataError, match=r"9407 values, but its header \(12, 28, 28\)"):
        load_images("mnist", root=tmp_path)
    packed.write_bytes(gzip.compress(idx_bytes(np.zeros((12, 9, 9), np.uint8))))
    with pytest.raises(DataError, match=r"\(1, 9, 9\).*\(1, 28, 28\)"):
        load_images("mnist", root=tmp_path)
    packed.write_bytes(gzip.compress(idx_bytes(np.zeros((11, 28, 28), np.uint8))))
    with pytest.raises(DataError, match="12 labels for 11 images"):
        load_images("mnist", root=tmp_path)
