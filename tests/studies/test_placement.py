"""Where images live changes no number; what does not fit is streamed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ticketdiet.core.errors import UnknownName
from ticketdiet.core.pixels import PixelView
from ticketdiet.core.values import ImageSplits
from ticketdiet.data.images import load_images
from ticketdiet.store.results import ResultStore
from ticketdiet.studies import placement
from ticketdiet.studies.placement import place


@pytest.fixture(scope="module")
def digits() -> ImageSplits:
    return load_images("digits", validation=100)


def streams(splits: ImageSplits, **options: Any) -> set[bool]:
    placed = place(splits, torch.device("cpu"), **options)
    assert {name: images.fingerprint for name, images in placed.named().items()} == {
        name: images.fingerprint for name, images in splits.named().items()
    }
    return {isinstance(images.pixels, PixelView) for images in placed.named().values()}


def test_by_itself_only_what_is_large_is_streamed(digits: ImageSplits, monkeypatch: pytest.MonkeyPatch) -> None:
    assert streams(digits) == {False}
    size = (1297 + 500) * 64  # bytes of all splits
    monkeypatch.setattr(placement, "room_for_images", lambda _: size)
    assert streams(digits) == {False}
    assert streams(digits, processes=2) == {True}


def test_room_on_a_cpu_is_a_quarter_of_the_memory_for_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "memory_bytes", lambda: 4096)
    assert placement.room_for_images(torch.device("cpu")) == 1024
    monkeypatch.setattr(placement, "memory_bytes", lambda: None)
    assert placement.room_for_images(torch.device("cpu")) == placement.UNKNOWN_ROOM


def test_the_variable_chooses(digits: ImageSplits, monkeypatch: pytest.MonkeyPatch) -> None:
    for value, expected in (("stream", True), (" Device ", False), ("", False), ("auto", False)):
        monkeypatch.setenv("TICKETDIET_IMAGES", value)
        assert streams(digits) == {expected}
    monkeypatch.setenv("TICKETDIET_IMAGES", "disk")
    with pytest.raises(UnknownName, match="TICKETDIET_IMAGES"):
        streams(digits)


def test_a_study_has_the_same_bits_with_streamed_images(
    plan_tiny: Any, run_tiny: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_tiny(
        "arms.all@4.pretrain.objective=rotation",
        "arms.all@4.pretrain.evaluate_every=2",
        "arms.easiest32@4.pretrain.evaluate_every=2",
        "children=2",
        "pruning.levels=1",
        "measure={batch_norm: batch, gradient_agreement: true}",
    )
    stores = {}
    for where in ("device", "stream"):
        monkeypatch.setenv("TICKETDIET_IMAGES", where)
        stores[where] = ResultStore.open(tmp_path / where)
        run_tiny(plan, stores[where])
    one, other = stores.values()
    assert one.addresses() == other.addresses()
    for address in one.addresses():
        assert one.document(address, "rows") == other.document(address, "rows")
        files = one.manifest(address).files, other.manifest(address).files
        assert {n: f.sha256 for n, f in files[0].items()} == {n: f.sha256 for n, f in files[1].items()}
