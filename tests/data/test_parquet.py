"""Parquet in the layout of Hugging Face: shards, columns, names, damage."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ticketdiet.core.errors import DataError
from ticketdiet.data.images import image_facts, load_images

pytest.importorskip("pyarrow")
pytest.importorskip("PIL")

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "cifar10-jpeg"
Write = Callable[..., None]
Draw = Callable[..., np.ndarray]
Encode = Callable[[np.ndarray], bytes]


@pytest.fixture
def small(tmp_path: Path, write_parquet: Write, draw: Draw, as_png: Encode) -> Path:
    """5 + 1 training images in two shards, 2 test images, 4 x 6, RGB."""
    path = tmp_path / "set"
    pixels = draw(8, 4, 6, 3)
    encoded = [as_png(image) for image in pixels]
    write_parquet(path / "train-00000-of-00002.parquet", encoded[:5], [0, 1, 2, 1, 0], ["cat", "dog", "eel"])
    write_parquet(path / "train-00001-of-00002.parquet", encoded[5:6], [2], ["cat", "dog", "eel"])
    write_parquet(path / "test-00000-of-00001.parquet", encoded[6:], [1, 0], ["cat", "dog", "eel"])
    return path


def test_shards_are_joined_in_the_order_of_their_names(small: Path, draw: Draw) -> None:
    images = load_images(f"parquet:{small}")
    pixels = draw(8, 4, 6, 3).transpose(0, 3, 1, 2)
    assert np.array_equal(images.train.pixels.numpy(), pixels[:6])
    assert np.array_equal(images.test.pixels.numpy(), pixels[6:])
    assert images.train.labels.tolist() == [0, 1, 2, 1, 0, 2]
    assert images.train.class_names == ("cat", "dog", "eel")


def test_a_relative_path_and_the_data_folder_are_found(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = image_facts(f"parquet:{small}").fingerprint
    (small / "data").mkdir()
    for shard in small.glob("*.parquet"):
        shard.rename(small / "data" / shard.name)
    monkeypatch.chdir(small.parent)
    assert image_facts("parquet:set").fingerprint == expected


def test_splits_and_columns_can_be_named(tmp_path: Path, write_parquet: Write, draw: Draw, as_png: Encode) -> None:
    encoded = [as_png(image) for image in draw(3, 4, 4)]
    for index, name in enumerate(("train", "extra", "validation")):
        write_parquet(tmp_path / f"{name}.parquet", [encoded[index]], [index], image="scan", label="kind", struct=False)
    images = load_images(f"parquet:{tmp_path}?train=train,extra&test=validation&image=scan&label=kind")
    assert (images.train.labels.tolist(), images.test.labels.tolist()) == ([0, 1], [2])
    assert tuple(images.train.pixels.shape) == (2, 1, 4, 4)
    assert images.train.class_names == ("0", "1", "2")


def test_one_colour_image_makes_the_whole_set_colour(
    tmp_path: Path, write_parquet: Write, draw: Draw, as_png: Encode
) -> None:
    grey, colour = draw(4, 4), draw(4, 4, 3)
    write_parquet(tmp_path / "train.parquet", [as_png(grey)], [0])
    write_parquet(tmp_path / "test.parquet", [as_png(colour)], [0])
    images = load_images(f"parquet:{tmp_path}")
    assert np.array_equal(images.train.pixels[0].numpy(), np.stack([grey] * 3))
    assert np.array_equal(images.test.pixels[0].numpy(), colour.transpose(2, 0, 1))


@pytest.mark.parametrize("mode", ["1", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_mode_of_eight_bits_is_read_as_pillow_converts_it(
    mode: str, tmp_path: Path, write_parquet: Write, draw: Draw
) -> None:
    from PIL import Image

    target = "L" if mode in ("1", "LA") else "RGB"
    picture = Image.fromarray(draw(4, 4, 3)).convert("L" if mode in ("1", "LA", "I;16") else "RGB").convert(mode)
    buffer = io.BytesIO()
    picture.save(buffer, format="TIFF" if mode == "CMYK" else "PNG")
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}.parquet", [buffer.getvalue()], [0])
    if mode == "I;16":
        with pytest.raises(DataError, match=r"mode 'I;16'(?s:.)*8 bits"):
            load_images(f"parquet:{tmp_path}")
        return
    expected = np.asarray(Image.open(buffer).convert(target)).reshape(4, 4, -1).transpose(2, 0, 1)
    assert np.array_equal(load_images(f"parquet:{tmp_path}").train.pixels[0].numpy(), expected)


def test_images_of_mixed_size_name_both_sizes_and_the_row(
    small: Path, write_parquet: Write, draw: Draw, as_png: Encode
) -> None:
    write_parquet(small / "test-00000-of-00001.parquet", [as_png(draw(4, 6, 3)), as_png(draw(5, 7, 3))], [0, 1])
    with pytest.raises(DataError, match=r"row 1 of .*test-.*has size 7x5 .*, but that at row 0 of .*train-.* has 6x4"):
        load_images(f"parquet:{small}")


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ([0, 3], "labels from 0 to 3"),
        ([-1, 0], "labels from -1"),
        ([0, None], "1 empty rows"),
        (["a", "b"], "type string"),
    ],
)
def test_labels_that_are_no_class_are_refused(
    small: Path, write_parquet: Write, draw: Draw, as_png: Encode, labels: list[object], says: str
) -> None:
    write_parquet(small / "test-00000-of-00001.parquet", [as_png(draw(4, 6, 3))] * 2, labels, ["cat", "dog", "eel"])
    with pytest.raises(DataError, match=says):
        load_images(f"parquet:{small}")


def test_a_damaged_picture_is_named_by_its_row(small: Path, write_parquet: Write, draw: Draw, as_png: Encode) -> None:
    good = as_png(draw(4, 6, 3))
    for bad, says in ((good[:-30], "row 1 of .*test"), (b"no picture", "row 1 of .*test"), (None, "no bytes")):
        write_parquet(small / "test-00000-of-00001.parquet", [good, bad], [0, 1])
        with pytest.raises(DataError, match=says):
            load_images(f"parquet:{small}")


def test_a_program_in_postscript_is_never_started(small: Path, write_parquet: Write) -> None:
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 4\n%%EndComments\nshowpage\n%%EOF\n"
    write_parquet(small / "test-00000-of-00001.parquet", [eps], [0])
    with pytest.raises(DataError, match=r"picture at .* cannot be read"):
        load_images(f"parquet:{small}")


def test_a_truncated_file_is_refused_by_name(small: Path) -> None:
    shard = small / "train-00001-of-00002.parquet"
    whole = shard.read_bytes()
    for damaged in (whole[:-20], b"", b"PAR1 nothing PAR1"):
        shard.write_bytes(damaged)
        with pytest.raises(DataError, match=r"train-00001-of-00002\.parquet cannot be read as Parquet"):
            load_images(f"parquet:{small}")


def test_a_missing_split_lists_what_is_there(small: Path) -> None:
    (small / "test-00000-of-00001.parquet").rename(small / "validation.parquet")
    with pytest.raises(DataError, match=r"no test\*\.parquet(?s:.)*validation\.parquet(?s:.)*\?train="):
        load_images(f"parquet:{small}")


def test_an_empty_split_is_refused(small: Path, write_parquet: Write) -> None:
    import pyarrow as pa

    write_parquet(small / "test-00000-of-00001.parquet", [], pa.array([], pa.int64()))
    with pytest.raises(DataError, match="at least one image"):
        load_images(f"parquet:{small}")


def test_a_column_that_cannot_be_told_lists_the_candidates(
    tmp_path: Path, write_parquet: Write, as_png: Encode, draw: Draw
) -> None:
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}.parquet", [as_png(draw(2, 2))], ["a"])
    with pytest.raises(DataError, match=r"no label column(?s:.)*of that type are: none"):
        load_images(f"parquet:{tmp_path}")
    with pytest.raises(DataError, match=r"no image column 'photo'(?s:.)*of that type are: img"):
        load_images(f"parquet:{tmp_path}?image=photo")


def test_a_shard_with_other_columns_is_refused(small: Path, write_parquet: Write, as_png: Encode, draw: Draw) -> None:
    write_parquet(small / "train-00001-of-00002.parquet", [as_png(draw(4, 6, 3))], [0], image="photo")
    with pytest.raises(DataError, match=r"train-00001.* has no column 'img'"):
        load_images(f"parquet:{small}")


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data/cifar10-jpeg beside the repository")
def test_the_test_images_of_cifar10_are_decoded_as_pillow_does(tmp_path: Path) -> None:
    import pyarrow.parquet as pq
    from PIL import Image

    for split in ("train", "test"):  # the 10 000 test images are enough, and quick
        (tmp_path / f"{split}.parquet").symlink_to(REAL / "test.parquet")
    images = load_images(f"parquet:{tmp_path}", resolution=16).test
    table = pq.read_table(REAL / "test.parquet")
    assert images.labels.tolist() == table["label"].to_pylist()
    assert images.class_names[:2] == ("airplane", "automobile")
    for index in (0, 4321, 9999):
        picture = np.asarray(Image.open(io.BytesIO(table["img"][index].as_py()["bytes"])), dtype=np.float64)
        pooled = np.floor(picture.reshape(16, 2, 16, 2, 3).mean(axis=(1, 3)) + 0.5)
        assert np.array_equal(images.pixels[index].numpy(), pooled.transpose(2, 0, 1))


def test_shards_as_the_hub_names_them_are_read_in_order_and_brought_to_one_size(
    tmp_path: Path, write_parquet: Write, draw: Draw, as_png: Encode
) -> None:
    pixels = [draw(8 + i, 8, 3, seed=i) for i in range(12)]
    for shard in range(11, -1, -1):
        encoded = as_png(pixels[shard])
        write_parquet(tmp_path / f"data/train-{shard:05d}-of-00012.parquet", [encoded], [shard])
    write_parquet(tmp_path / "data/validation-00000-of-00001.parquet", [as_png(pixels[0])], [0])
    splits = load_images(f"parquet:{tmp_path}?test=validation&size=8")
    assert splits.train.labels.tolist() == list(range(12))
    assert splits.train.pixels.shape == (12, 3, 8, 8)
    for options in ("size=0", "resize=16"):
        with pytest.raises(DataError, match="whole numbers of pixels"):
            load_images(f"parquet:{tmp_path}?test=validation&{options}")
