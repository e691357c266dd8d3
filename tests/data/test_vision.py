"""MNIST and its kin, without a network: files in the layout of torchvision, read beside torchvision itself."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ticketdiet.core.errors import DataError
from ticketdiet.data import vision
from ticketdiet.data.images import load_images
from ticketdiet.data.sources import describe_sources

Draw = Callable[..., np.ndarray]


@pytest.mark.parametrize(("name", "loader"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_idx_files_are_read_as_torchvision_reads_them(
    name: str, loader: str, tmp_path: Path, write_idx: Callable[..., None]
) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    write_idx(tmp_path / loader / "raw")
    images = load_images(name, root=tmp_path)
    for split, train in ((images.train, True), (images.test, False)):
        theirs = getattr(datasets, loader)(str(tmp_path), train=train)
        assert np.array_equal(split.pixels[:, 0], theirs.data)
        assert np.array_equal(split.labels, theirs.targets)
    if name == "fashion-mnist":
        assert list(images.train.class_names) == datasets.FashionMNIST.classes


def test_fashion_mnist_is_found_where_the_system_keeps_it(
    tmp_path: Path, write_idx: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_idx(tmp_path / "system", packed=True)
    kind = vision.VISION_SETS["fashion-mnist"]
    placed = vision.VisionSet(kind.loader, kind.files, kind.class_names, idx=True, system=tmp_path / "system")
    monkeypatch.setattr(vision, "VISION_SETS", {**vision.VISION_SETS, "fashion-mnist": placed})
    assert load_images("fashion-mnist", download=False).train.pixels.shape == (12, 1, 28, 28)
    assert {info.name: info.location for info in describe_sources()}["fashion-mnist"] == str(tmp_path / "system")


@pytest.mark.skipif(not vision.DEBIAN_FASHION.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_the_real_fashion_mnist_has_6000_training_images_a_class() -> None:
    images = load_images("fashion-mnist", download=False)
    assert images.train.labels.bincount().tolist() == [6000] * 10
    assert images.train.mean == pytest.approx((0.2860,), abs=1e-4)
    assert images.train.std == pytest.approx((0.3530,), abs=1e-4)


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100", "svhn"])
def test_absent_files_under_a_root_are_never_downloaded(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"{name} is not in (?s:.)*as dataset\.root"):
        load_images(name, root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_download_without_a_network_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("torchvision.datasets")

    def fail(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(datasets, "CIFAR10", fail)
    with pytest.raises(DataError, match=r"is there a network\?(?s:.)*Name or service not known"):
        load_images("cifar10")


def test_cifar10_comes_through_torchvision_after_its_check(
    tmp_path: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    names = [*(f"data_batch_{index}" for index in range(1, 6)), "test_batch"]
    flat = draw(12, 3 * 32 * 32)
    content = {
        name: {"data": flat[2 * index : 2 * index + 2], "labels": [index, 9]} for index, name in enumerate(names)
    }
    content["batches.meta"] = {"label_names": [f"class {number}" for number in range(10)]}
    for name, value in content.items():
        (folder / name).write_bytes(pickle.dumps(value))
    sums = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in content}
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [[name, sums[name]] for name in names[:5]])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [[names[5], sums[names[5]]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    images = load_images("cifar10", root=tmp_path)
    assert np.array_equal(images.train.pixels.numpy(), flat[:10].reshape(10, 3, 32, 32))
    assert images.test.labels.tolist() == [5, 9]
    assert images.train.class_names[3] == "class 3"
    (folder / "test_batch").write_bytes(b"changed")
    with pytest.raises(DataError, match="cifar10 is damaged"):
        load_images("cifar10", root=tmp_path)


def test_svhn_comes_through_torchvision(tmp_path: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    from scipy.io import savemat

    pixels = draw(32, 32, 3, 4)
    splits = dict(datasets.SVHN.split_list)
    for split in ("train", "test"):
        file = tmp_path / f"{split}_32x32.mat"
        savemat(file, {"X": pixels, "y": np.array([[10], [1], [2], [9]], dtype=np.uint8)})
        splits[split] = ["", file.name, hashlib.md5(file.read_bytes()).hexdigest()]
    monkeypatch.setattr(datasets.SVHN, "split_list", splits)
    images = load_images("svhn", root=tmp_path)
    assert np.array_equal(images.train.pixels.numpy(), pixels.transpose(3, 2, 0, 1))
    assert images.train.labels.tolist() == [0, 1, 2, 9]
