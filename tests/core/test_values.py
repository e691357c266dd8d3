import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from ticketdiet.core.errors import DataError
from ticketdiet.core.values import Images, ImageSplits, Scores

PIXELS = torch.arange(3 * 1 * 2 * 2, dtype=torch.uint8).reshape(3, 1, 2, 2)
LABELS = torch.tensor([1, 0, 2])
NAMES = ("a", "b", "c")


def make(pixels=PIXELS, labels=LABELS, names=NAMES):
    return Images(pixels, labels, names, (0.5,), (0.25,))


def test_a_fingerprint_is_the_sha_256_of_pixels_and_labels():
    by_hand = b"uint8(3, 1, 2, 2)" + bytes(range(12)) + b"int64(3,)" + np.array([1, 0, 2], "<i8").tobytes()
    assert make().fingerprint == hashlib.sha256(by_hand).hexdigest()


def test_a_fingerprint_sees_every_pixel_label_and_the_order():
    brighter = PIXELS.clone()
    brighter[2, 0, 1, 1] += 1
    others = [
        make(pixels=brighter),
        make(labels=torch.tensor([1, 0, 1])),
        make().take(np.array([0, 2, 1])),
        make().take(np.array([0, 1])),
        make(pixels=PIXELS.reshape(3, 2, 1, 2)),
        make(pixels=PIXELS.float()),
    ]
    assert len({images.fingerprint for images in [make(), *others]}) == 7


def test_a_fingerprint_does_not_see_memory_layout_names_or_normalisation():
    strided = torch.stack([PIXELS, PIXELS], dim=-1)[..., 0]
    other = Images(strided, LABELS, ("x", "y", "z"), (0.1,), (0.9,))
    assert not strided.is_contiguous()
    assert other.fingerprint == make().fingerprint


def test_no_examples_have_a_fingerprint_too():
    assert len(make().take(np.array([], dtype=np.int64)).fingerprint) == 64


def test_taking_keeps_order_names_and_normalisation():
    taken = make().take(np.array([2, 0, 2]))
    assert taken.labels.tolist() == [2, 1, 2]
    assert torch.equal(taken.pixels, PIXELS[[2, 0, 2]])
    assert (taken.class_names, taken.mean, taken.std, len(taken)) == (NAMES, (0.5,), (0.25,), 3)


def test_moving_keeps_the_fingerprint():
    images = make()
    assert images.to("cpu").fingerprint == images.fingerprint == images.to("cpu").to("cpu").fingerprint


def test_a_known_fingerprint_is_believed_but_never_kept_for_changed_images():
    known = Images(PIXELS, LABELS, NAMES, known_fingerprint="known")
    assert known.fingerprint == known.to("cpu").fingerprint == "known"
    assert replace(known, labels=LABELS.flip(0)).fingerprint == make(labels=LABELS.flip(0)).fingerprint
    assert known.take(np.arange(3)).fingerprint == make().fingerprint


def test_a_class_may_have_no_examples():
    assert make(labels=torch.tensor([0, 0, 0])).num_classes == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixels": PIXELS[:, 0]}, "add a channel axis"),
        ({"pixels": PIXELS.double()}, "dtype torch.float64"),
        ({"pixels": PIXELS[:2]}, "2 images with labels of shape"),
        ({"labels": LABELS.to(torch.int32)}, "one int64 label per image"),
        ({"labels": LABELS[:, None]}, "one int64 label per image"),
        ({"labels": torch.tensor([0, 1, 3])}, "labels from 0 to 3 with 3 classes"),
        ({"labels": torch.tensor([0, 1, -1])}, "labels from -1 to 1"),
    ],
)
def test_images_that_cannot_be_right_are_refused(changes, message):
    with pytest.raises(DataError, match=message):
        make(**changes)


def test_splits_are_named_in_order_without_the_missing_one():
    train, test, validation = make(), make(), make()
    assert list(ImageSplits(train, test).named().items()) == [("train", train), ("test", test)]
    assert ImageSplits(train, test, validation).named()["validation"] is validation


def test_splits_are_identified_by_all_their_images():
    train, test = make(), make().take(np.array([1]))
    without, with_validation = ImageSplits(train, test), ImageSplits(train, test, make().take(np.array([2])))
    by_hand = hashlib.sha256(f"{train.fingerprint}/{test.fingerprint}".encode()).hexdigest()
    assert without.fingerprint == by_hand == ImageSplits(train, test, name="elsewhere").fingerprint
    assert len({without.fingerprint, with_validation.fingerprint, ImageSplits(test, train).fingerprint}) == 3


def test_scores_are_averaged_over_models_in_double_precision():
    matrix = np.array([[1e8, 1.0], [1.0, 2.0]], dtype=np.float32)
    assert Scores(matrix, "el2n").mean.tolist() == [(1e8 + 1) / 2, 1.5]


def test_scores_belong_to_their_images_in_their_order_only():
    images = make()
    scores = Scores(np.zeros((2, 3), np.float32), "el2n", images.fingerprint)
    scores.check_belongs_to(images)
    with pytest.raises(DataError, match="an order cannot be repaired"):
        scores.check_belongs_to(images.take(np.array([1, 0, 2])))
    with pytest.raises(DataError, match="3 scores for 2 images"):
        scores.check_belongs_to(images.take(np.array([0, 1])))


def test_scores_of_unknown_origin_need_only_fit_in_number():
    Scores(np.zeros((1, 3), np.float32), "file").check_belongs_to(make())
