"""The digits of scikit-learn, with the split that never changes."""

from __future__ import annotations

import numpy as np

from ticketdiet.data.images import image_facts, load_images


def test_digits_are_the_scans_of_scikit_learn_split_1297_to_500() -> None:
    from sklearn.datasets import load_digits

    images = load_images("digits")
    bunch = load_digits()
    scaled = np.floor(bunch.images * 255 / 16 + 0.5)
    both = np.concatenate([images.train.pixels.numpy(), images.test.pixels.numpy()])[:, 0]
    assert (len(images.train), len(images.test)) == (1297, 500)
    assert images.train.class_names == tuple("0123456789")
    rows = sorted(map(bytes, both)), sorted(map(bytes, scaled.astype(np.uint8)))
    assert rows[0] == rows[1]
    assert (images.train.labels.bincount() + images.test.labels.bincount()).tolist() == np.bincount(
        bunch.target
    ).tolist()


def test_the_digits_never_change() -> None:
    fingerprint = "b3b0702b21e52766146bbf923057cd9bcc26723b5e1db484c267c393a926aedd"
    assert image_facts("digits").fingerprint == fingerprint
    assert load_images("digits", cache=False).fingerprint == fingerprint
    assert image_facts("digits", seed=7).fingerprint == fingerprint
