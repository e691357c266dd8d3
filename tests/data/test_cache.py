"""The cache of decoded images: believed only when whole, never in the way."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ticketdiet.data.images import image_facts, load_images
from ticketdiet.data.npz import NpzFile


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The paths that were decoded, as it happens."""
    seen: list[Path] = []
    original = NpzFile.decode

    def decode(self: NpzFile, progress: Callable[[int, int], None] | None = None) -> object:
        seen.append(self.path)
        return original(self, progress)

    monkeypatch.setattr(NpzFile, "decode", decode)
    return seen


def entries(cache: Path) -> list[Path]:
    return sorted((cache / "images").iterdir())


def test_a_second_opening_neither_decodes_nor_hashes(npz_path: Path, decodings: list[Path]) -> None:
    name = f"npz:{npz_path}"
    first, second = (load_images(name, resolution=4, validation=12) for _ in range(2))
    assert len(decodings) == 1
    for split in ("train", "test", "validation"):
        one, other = getattr(first, split), getattr(second, split)
        assert other._fingerprint == replace(other).fingerprint == one.fingerprint  # stored, recomputed, first
        assert np.array_equal(one.pixels, other.pixels)
        assert (one.mean, one.std, one.class_names) == (other.mean, other.std, other.class_names)


def test_other_options_do_not_decode_again(npz_path: Path, decodings: list[Path]) -> None:
    choices: tuple[dict[str, Any], ...] = (
        {},
        {"resolution": 4},
        {"limit": 9},
        {"validation": 9},
        {"limit": 9, "seed": 1},
    )
    for options in choices:
        cached = load_images(f"npz:{npz_path}", **options)
        assert cached.fingerprint == load_images(f"npz:{npz_path}", **options, cache=False).fingerprint
    assert len(decodings) == 1 + 5


def test_facts_of_a_cached_data_set_open_no_array(npz_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = load_images(f"npz:{npz_path}")
    monkeypatch.delattr(np, "load")
    assert image_facts(f"npz:{npz_path}").fingerprint == images.fingerprint


def test_a_changed_source_is_decoded_again(npz_path: Path, decodings: list[Path]) -> None:
    before = load_images(f"npz:{npz_path}")
    arrays = dict(np.load(npz_path))
    arrays["x_train"][0] ^= 255
    np.savez(npz_path, **arrays)
    os.utime(npz_path, ns=(0, 1))
    after = load_images(f"npz:{npz_path}")
    assert len(decodings) == 2
    assert before.train.fingerprint != after.train.fingerprint


@pytest.mark.parametrize("name", ["train_pixels.npy", "train_labels.npy", "test_pixels.npy", "meta.json"])
@pytest.mark.parametrize("harm", ["truncated", "removed", "rewritten", "empty"])
def test_a_harmed_entry_is_built_anew(
    npz_path: Path, private_cache: Path, decodings: list[Path], name: str, harm: str
) -> None:
    expected = load_images(f"npz:{npz_path}").fingerprint
    file = entries(private_cache)[0] / name
    whole = file.read_bytes()
    if harm == "removed":
        file.unlink()
    else:
        file.write_bytes({"truncated": whole[:-9], "rewritten": whole[:-9] + b"123456789", "empty": b""}[harm])
        os.utime(file, ns=(0, 1))  # as any later writing would
    assert load_images(f"npz:{npz_path}").fingerprint == expected
    assert len(decodings) == 2
    assert load_images(f"npz:{npz_path}").fingerprint == expected
    assert len(decodings) == 2


@pytest.mark.parametrize("content", ["[]", "{}", '{"meta": 3, "checksum": "x"}', '{"meta": {"files": []}}'])
def test_a_meta_file_of_another_kind_is_not_believed(
    npz_path: Path, private_cache: Path, decodings: list[Path], content: str
) -> None:
    load_images(f"npz:{npz_path}")
    (entries(private_cache)[0] / "meta.json").write_text(content)
    load_images(f"npz:{npz_path}")
    assert len(decodings) == 2


def test_a_forged_fingerprint_is_not_believed(npz_path: Path, private_cache: Path) -> None:
    expected = image_facts(f"npz:{npz_path}").fingerprint
    meta_file = entries(private_cache)[0] / "meta.json"
    stored = json.loads(meta_file.read_text())
    stored["meta"]["fingerprint"] = "0" * 64
    meta_file.write_text(json.dumps(stored))
    assert image_facts(f"npz:{npz_path}").fingerprint == expected


def test_writing_to_loaded_pixels_leaves_the_cache_as_it_was(npz_path: Path) -> None:
    load_images(f"npz:{npz_path}")
    images = load_images(f"npz:{npz_path}")
    expected = images.train.fingerprint
    images.train.pixels.zero_()
    assert load_images(f"npz:{npz_path}", cache=False).train.fingerprint == expected
    again = load_images(f"npz:{npz_path}").train
    assert int(again.pixels.sum()) > 0


def test_a_cache_that_cannot_be_written_warns_once_and_goes_on(npz_path: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="TICKETDIET_CACHE") as caught:
        images = load_images(f"npz:{npz_path}", resolution=4, cache=blocked)
    assert len(caught) == 1
    assert image_facts(f"npz:{npz_path}", resolution=4, cache=blocked).fingerprint == images.fingerprint


def test_a_full_disk_leaves_nothing_half_written(
    npz_path: Path, private_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(UserWarning, match="No space left"):
        images = load_images(f"npz:{npz_path}")
    assert len(images.train) == 60
    assert entries(private_cache) == []


def test_no_cache_keeps_nothing(npz_path: Path, private_cache: Path) -> None:
    load_images(f"npz:{npz_path}", resolution=4, cache=False)
    assert not private_cache.exists()


def test_writers_at_the_same_time_leave_one_whole_entry(npz_path: Path, private_cache: Path) -> None:
    expected = load_images(f"npz:{npz_path}", cache=False).fingerprint
    found: list[str] = []
    start = threading.Barrier(6)

    def open_it() -> None:
        start.wait()
        found.append(load_images(f"npz:{npz_path}").fingerprint)

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 6
    assert len(entries(private_cache)) == 1
    assert load_images(f"npz:{npz_path}").fingerprint == expected


def test_what_a_killed_writer_left_is_swept_after_a_day(npz_path: Path, private_cache: Path) -> None:
    old, new = (private_cache / "images" / f".{name}-x" for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    load_images(f"npz:{npz_path}")
    assert not old.exists()
    assert new.exists()
