import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ticketdiet.core.errors import UserError
from ticketdiet.core.values import Images
from ticketdiet.training.batch_norm import even_batches, recalibrate, recalibrated


def column(values):
    """Images of one number each, for a BatchNorm1d alone."""
    values = torch.as_tensor(values, dtype=torch.float32)
    return Images(values[:, None], torch.zeros(len(values), dtype=torch.int64), ("a",))


@pytest.fixture
def pictures():
    """48 prepared random images, 3 x 8 x 8."""
    generator = torch.Generator().manual_seed(0)
    return Images(torch.randn(48, 3, 8, 8, generator=generator), torch.arange(48) % 4, tuple("abcd"))


@given(st.integers(2, 3000), st.integers(1, 400))
def test_even_batches_leave_no_batch_of_one_image(count, batch_size):
    size = even_batches(count, batch_size)
    sizes = [min(size, count - start) for start in range(0, count, size)]
    assert sum(sizes) == count
    assert min(sizes) >= 2
    assert size <= batch_size + 12


def test_recalibration_does_not_depend_on_the_order_of_a_small_data_set():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(200, generator=generator)
    sorted_, mixed = nn.BatchNorm1d(1).eval(), nn.BatchNorm1d(1).eval()
    recalibrate(sorted_, column(values.sort().values), batch_size=50)
    recalibrate(mixed, column(values), batch_size=50)
    # Batches of sorted values would each have a tenth of the variance.
    assert float(sorted_.get_buffer("running_var")) == pytest.approx(float(mixed.get_buffer("running_var")), rel=0.1)
    assert float(sorted_.get_buffer("running_var")) == pytest.approx(float(values.var()), rel=0.1)


def test_recalibration_on_one_image_more_than_whole_batches_has_a_variance_everywhere():
    model = nn.BatchNorm1d(1).eval()
    recalibrate(model, column(range(751)), batches=10, batch_size=250)
    assert int(model.get_buffer("num_batches_tracked")) == 4
    assert float(model.get_buffer("running_mean")) == pytest.approx(375, rel=0.01)


def test_recalibration_on_a_single_image_is_refused():
    with pytest.raises(UserError, match=r"1 image\(s\)"):
        recalibrate(nn.BatchNorm1d(1), column([1.0]))


def test_recalibrating_on_all_images_in_one_batch_centres_the_first_layer(small_network, pictures):
    model = small_network(width=2)
    convolution, norm = model[0], model[1]
    recalibrate(model, pictures, batches=5, batch_size=48)
    with torch.no_grad():
        entering = convolution(pictures.pixels)
    torch.testing.assert_close(norm.running_mean, entering.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, entering.var((0, 2, 3)))
    assert norm.momentum == 0.1
    assert model.training


def test_recalibrated_statistics_last_as_long_as_the_block_even_if_it_fails(small_network, pictures):
    model = small_network(width=2)
    other = copy.deepcopy(model)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    recalibrate(other, pictures, batches=1, batch_size=48)
    expected = dict(other.named_buffers())

    def fail_inside():
        with recalibrated(model, pictures, batches=1, batch_size=48):
            assert all(torch.equal(buffer, expected[name]) for name, buffer in model.named_buffers())
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


def test_recalibration_takes_as_many_batches_as_asked_from_everywhere_in_the_images():
    model = nn.BatchNorm1d(1).eval()
    images = column(range(40))
    recalibrate(model, images, batches=2, batch_size=10)
    assert int(model.get_buffer("num_batches_tracked")) == 2
    assert 13 < float(model.get_buffer("running_mean")) < 26
    recalibrate(model, images, batches=100, batch_size=10)
    assert int(model.get_buffer("num_batches_tracked")) == 4
    assert float(model.get_buffer("running_mean")) == pytest.approx(19.5)
