"""Random resized crops, against torchvision and against interpolation of the cut part."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from ticketdiet.core.seeds import RunSeeds, numpy_generator
from ticketdiet.core.values import Images
from ticketdiet.training.batches import ImageBatches, prepare
from ticketdiet.training.recipe import Recipe
from ticketdiet.training.resized_crop import draw_boxes, resized_crop

AREA = (0.08, 1.0)


def pictures(count: int, height: int, width: int) -> torch.Tensor:
    drawn = np.random.default_rng(0).integers(0, 256, (count, 3, height, width), dtype=np.uint8)
    return torch.from_numpy(drawn)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (9, 14)])
def test_the_part_is_interpolated_as_if_it_were_cut_out_first(height: int, width: int) -> None:
    pixels = pictures(40, height, width)
    boxes = draw_boxes(np.random.default_rng(1), 40, height, width, AREA)
    found = resized_crop(pixels, torch.from_numpy(boxes))
    for image, (top, left, h, w), shown in zip(pixels, boxes.tolist(), found, strict=True):
        part = image[None, :, top : top + h, left : left + w].float()
        expected = F.interpolate(part, (height, width), mode="bilinear", align_corners=False)[0]
        assert (shown.float() - expected).abs().max() <= 0.5 + 1e-3


def test_the_whole_image_is_shown_as_it_is() -> None:
    pixels = pictures(3, 8, 10)
    assert torch.equal(resized_crop(pixels, torch.tensor([[0, 0, 8, 10]] * 3)), pixels)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (20, 50)])
def test_parts_are_distributed_as_those_of_torchvision(height: int, width: int) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    count, image = 4000, torch.zeros(3, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [transforms.RandomResizedCrop.get_params(image, AREA, (3 / 4, 4 / 3)) for _ in range(count)]
    theirs, ours = np.array(drawn), draw_boxes(np.random.default_rng(2), count, height, width, AREA)
    for column in range(4):
        spread = theirs[:, column].std() * (2 / count) ** 0.5
        assert abs(theirs[:, column].mean() - ours[:, column].mean()) < 4 * spread
    area = [(boxes[:, 2] * boxes[:, 3] / (height * width)) for boxes in (theirs, ours)]
    assert np.allclose(np.quantile(area[0], [0.1, 0.5, 0.9]), np.quantile(area[1], [0.1, 0.5, 0.9]), atol=0.03)


def test_every_part_lies_inside_the_image_and_a_strip_shows_its_middle() -> None:
    top, left, h, w = draw_boxes(np.random.default_rng(0), 2000, 11, 7, AREA).T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (h >= 1).all()
    assert (w >= 1).all()
    assert (top + h <= 11).all()
    assert (left + w <= 7).all()
    assert (draw_boxes(np.random.default_rng(0), 5, 4, 400, (1.0, 1.0)) == [0, 197, 4, 5]).all()


def test_batches_show_the_part_drawn_for_the_example_in_the_epoch_streamed_or_not() -> None:
    pixels = pictures(20, 8, 8)
    images = Images(pixels, torch.zeros(20, dtype=torch.int64), ("a",), (0.5,) * 3, (0.25,) * 3)
    recipe, seeds = Recipe(steps=9, batch_size=8, resized_crop=AREA, flip=False), RunSeeds.of(0, 0)
    batches, streamed = ImageBatches(images, recipe, seeds), ImageBatches(images.streamed(), recipe, seeds)
    for step in (0, 5):
        found = batches.batch(step)
        boxes = draw_boxes(numpy_generator(seeds.augmentation, "resized_crop", step // 2), 20, 8, 8, AREA)
        expected = resized_crop(pixels[found.indices], torch.from_numpy(boxes)[found.indices])
        assert torch.equal(found.inputs, prepare(expected, images))
        assert torch.equal(found.inputs, streamed.batch(step).inputs)


def test_a_recipe_without_it_is_identified_as_ever_and_one_with_it_has_no_padding() -> None:
    assert "resized_crop" not in Recipe().identity()
    found = Recipe(resized_crop=(0.25, 1)).identity()
    assert found["resized_crop"] == [0.25, 1.0]
    assert "crop_padding" not in found


@pytest.mark.parametrize(
    "keys", [{"resized_crop": (0.5, 0.1)}, {"resized_crop": (0, 1)}, {"resized_crop": (0.1, 1), "crop_padding": 2}]
)
def test_crops_that_contradict_themselves_are_refused(keys: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Recipe.model_validate(keys)
