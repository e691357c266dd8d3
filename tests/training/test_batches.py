import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ticketdiet.core.errors import DataError
from ticketdiet.core.seeds import RunSeeds
from ticketdiet.core.values import Images
from ticketdiet.training.batches import ImageBatches, crop, prepare
from ticketdiet.training.pretext import RotationBatches
from ticketdiet.training.recipe import Recipe

RECIPE = Recipe(steps=100, batch_size=8, crop_padding=2)
SEEDS = RunSeeds.of(3, 1)


def test_an_epoch_shows_every_example_at_most_once_and_drops_the_rest(images):
    batches = ImageBatches(images.take(np.arange(37)), RECIPE, SEEDS)
    assert batches.steps_per_epoch == 4
    seen = torch.cat([batches.batch(step).indices for step in range(4)])
    assert len(set(seen.tolist())) == 32


def test_any_batch_is_known_without_replaying_earlier_ones(images):
    in_order = ImageBatches(images, RECIPE, SEEDS)
    walked = [in_order.batch(step) for step in range(12)]
    for step in (11, 3, 7):
        jumped = ImageBatches(images, RECIPE, SEEDS).batch(step)
        assert torch.equal(jumped.inputs, walked[step].inputs)
        assert torch.equal(jumped.indices, walked[step].indices)


def test_labels_belong_to_their_images(images):
    batch = ImageBatches(images, RECIPE, SEEDS).batch(0)
    assert torch.equal(batch.labels, images.labels[batch.indices])


def test_only_examples_of_the_subset_appear(images):
    subset = np.array([1, 2, 3, 5, 8, 13, 21, 34, 35, 36])
    batches = ImageBatches(images, RECIPE, SEEDS, subset)
    assert batches.steps_per_epoch == 1
    seen = {int(i) for step in range(9) for i in batches.batch(step).indices}
    assert seen == set(subset.tolist())


@settings(deadline=None, max_examples=60)
@given(st.integers(8, 60), st.integers(0, 40), st.integers(0, 40), st.booleans())
def test_unique_examples_are_those_that_the_batches_show(count, start, more, on_subset):
    everything = Images(torch.zeros(70, 2), torch.zeros(70, dtype=torch.int64), ("a",))
    examples = np.random.default_rng(count).choice(70, count, replace=False) if on_subset else None
    images = everything if on_subset else everything.take(np.arange(count))
    batches = ImageBatches(images, RECIPE, SEEDS, examples)
    shown = {int(i) for step in range(start, start + more) for i in batches.batch(step).indices}
    assert ImageBatches(images, RECIPE, SEEDS, examples).unique_examples(start, start + more) == len(shown)


def test_rotated_batches_show_the_examples_of_upright_ones(images):
    recipe = RECIPE.model_copy(update={"batch_size": 24})
    rotated, upright = RotationBatches(images, recipe, SEEDS), ImageBatches(images, recipe, SEEDS)
    assert rotated.unique_examples(1, 3) == upright.unique_examples(1, 3) > 0


def test_children_may_share_augmentation_while_the_order_differs(images):
    parent = ImageBatches(images, RECIPE, SEEDS)
    child = ImageBatches(images, RECIPE, SEEDS.child(1, ("order",)))

    def by_example(batches):
        found = [batches.batch(step) for step in range(batches.steps_per_epoch)]
        return {int(i): x for b in found for i, x in zip(b.indices, b.inputs, strict=True)}, [b.indices for b in found]

    ours, our_order = by_example(parent)
    theirs, their_order = by_example(child)
    assert not torch.equal(our_order[0], their_order[0])
    assert all(torch.equal(ours[i], theirs[i]) for i in ours)


def test_children_may_share_the_order_while_augmentation_differs(images):
    ours = ImageBatches(images, RECIPE, SEEDS).batch(0)
    theirs = ImageBatches(images, RECIPE, SEEDS.child(1, ("augmentation",))).batch(0)
    assert torch.equal(ours.indices, theirs.indices)
    assert not torch.equal(ours.inputs, theirs.inputs)


@settings(deadline=None)
@given(st.integers(0, 4), st.integers(0, 4), st.booleans())
def test_crop_and_flip_agree_with_torchvision(top, left, flip):
    functional = pytest.importorskip("torchvision.transforms.functional")
    pixels = torch.arange(2 * 3 * 6 * 6, dtype=torch.uint8).view(2, 3, 6, 6)
    ours = crop(pixels, torch.tensor([[top, left]] * 2), 2)
    ours = ours.flip(-1) if flip else ours
    theirs = functional.crop(functional.pad(pixels, [2, 2, 2, 2]), top, left, 6, 6)
    theirs = functional.hflip(theirs) if flip else theirs
    assert torch.equal(ours, theirs)


def test_a_whole_batch_agrees_with_torchvision_example_by_example(images):
    functional = pytest.importorskip("torchvision.transforms.functional")
    batches = ImageBatches(images, RECIPE, SEEDS)
    batch = batches.batch(6)
    epoch = batches._epoch
    for index, ours in zip(batch.indices, batch.inputs, strict=True):
        top, left = epoch.shift[index].tolist()
        image = functional.crop(functional.pad(images.pixels[index], [2, 2, 2, 2]), top, left, 8, 8)
        image = functional.hflip(image) if epoch.flip[index] else image
        theirs = functional.normalize(functional.convert_image_dtype(image), images.mean, images.std)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_augmentation_can_be_off(images):
    plain = RECIPE.model_copy(update={"crop_padding": 0, "flip": False})
    batch = ImageBatches(images, plain, SEEDS).batch(0)
    expected = prepare(images.pixels[batch.indices], images)
    assert torch.equal(batch.inputs, expected)


def test_prepared_float_inputs_are_taken_as_they_are():
    inputs = torch.randn(16, 5)
    images = Images(inputs, torch.zeros(16, dtype=torch.int64), ("only",))
    batch = ImageBatches(images, RECIPE, SEEDS).batch(0)
    assert torch.equal(batch.inputs, inputs[batch.indices])


def test_fewer_examples_than_a_batch_is_an_error_with_the_way_out(images):
    with pytest.raises(DataError, match=r"5 examples to train on in batches of 8[\s\S]*smaller batch_size"):
        ImageBatches(images, RECIPE, SEEDS, np.arange(5))


def test_golden_the_first_three_batches_of_a_seed(images):
    batches = ImageBatches(images, RECIPE, RunSeeds.of(0, 0))
    assert [batches.batch(step).indices.tolist() for step in range(3)] == GOLDEN_INDICES
    assert batches._epoch.shift[:4].tolist() == GOLDEN_SHIFT
    assert batches._epoch.flip[:8].tolist() == GOLDEN_FLIP


GOLDEN_INDICES = [[27, 24, 6, 35, 30, 26, 13, 2], [32, 23, 10, 36, 33, 15, 25, 5], [4, 9, 28, 37, 8, 22, 18, 17]]
GOLDEN_SHIFT = [[3, 4], [3, 4], [0, 4], [3, 1]]
GOLDEN_FLIP = [False, False, False, True, True, True, False, False]


def test_streamed_images_give_the_same_bits_at_any_step():
    pixels = torch.from_numpy(np.random.default_rng(3).integers(0, 256, (50, 3, 8, 8), dtype=np.uint8))
    images = Images(pixels, torch.arange(50) % 5, tuple("abcde"), (0.4, 0.5, 0.6), (0.2, 0.3, 0.2))
    recipe = Recipe(steps=30, batch_size=8, crop_padding=2)
    examples = np.arange(0, 50, 2)
    whole, streamed = (
        ImageBatches(one, recipe, RunSeeds.of(0, replicate=1), examples) for one in (images, images.streamed())
    )
    for step in (0, 1, 2, 3, 4, 17, 18, 5, 29):  # across epochs, ahead and back
        one, other = whole.batch(step), streamed.batch(step)
        assert torch.equal(one.inputs, other.inputs)
        assert one.inputs.stride() == other.inputs.stride()
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.indices, other.indices)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_images_streamed_to_a_gpu_give_the_same_bits_as_images_on_it(images):
    recipe = Recipe(steps=100, batch_size=8, resized_crop=(0.2, 1.0))
    there, streamed = (ImageBatches(one.to("cuda"), recipe, SEEDS) for one in (images, images.streamed()))
    for step in (0, 1, 2, 9, 3):
        one, other = there.batch(step), streamed.batch(step)
        assert other.inputs.device.type == "cuda"
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.labels, other.labels)
