import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ticketdiet.core.errors import UserError
from ticketdiet.core.values import Images
from ticketdiet.training.batch_norm import even_batches, recalibrate


def column(values):
    """Images of one number each, for a BatchNorm1d alone."""
    values = torch.as_tensor(values, dtype=torch.float32)
    return Images(values[:, None], torch.zeros(len(values), dtype=torch.int64), ("a",))


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
    assert float(sorted_.running_var) == pytest.approx(float(mixed.running_var), rel=0.1)
    assert float(sorted_.running_var) == pytest.approx(float(values.var()), rel=0.1)


def test_recalibration_on_one_image_more_than_whole_batches_has_a_variance_everywhere():
    model = nn.BatchNorm1d(1).eval()
    recalibrate(model, column(range(751)), batches=10, batch_size=250)
    assert int(model.num_batches_tracked) == 4
    assert float(model.running_mean) == pytest.approx(375, rel=0.01)


def test_recalibration_on_a_single_image_is_refused():
    with pytest.raises(UserError, match=r"1 image\(s\)"):
        recalibrate(nn.BatchNorm1d(1), column([1.0]))
