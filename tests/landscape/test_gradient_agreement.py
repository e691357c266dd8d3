"""The agreement of gradients, against plain backward passes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ticketdiet.core.errors import DataError, UnknownName
from ticketdiet.core.seeds import numpy_generator
from ticketdiet.core.values import Images
from ticketdiet.landscape.gradient_agreement import AgreementBatchNorm, gradient_agreement

from .conftest import Tiny


@pytest.mark.parametrize("batch_norm", ["recalibrate", "eval"])
def test_agreement_matches_cosines_of_plain_gradients(
    tiny: Tiny, images: Images, batch_norm: AgreementBatchNorm
) -> None:
    everything = np.arange(len(images))
    (found,) = gradient_agreement(
        tiny, images, {"all": everything[:12]}, batches=3, batch_size=4, seed=2, batch_norm=batch_norm
    )
    if batch_norm == "recalibrate":  # by hand: all 48 images are one batch
        with torch.no_grad():
            entering = tiny.conv(images.pixels)
        tiny.bn.running_mean, tiny.bn.running_var = entering.mean((0, 2, 3)), entering.var((0, 2, 3), unbiased=True)
    # The oracle: the three disjoint batches that the seed draws, one plain backward pass each, in float64:
    # in float32 its strided convolution of few channels could corrupt memory (see training/convolutions.py).
    drawn, gradients = numpy_generator(2, "agreement").permutation(everything[:12]), []
    exact = tiny.double().eval()
    for where in np.split(drawn, 3):
        exact.zero_grad()
        batch = images.take(where)
        nn.functional.cross_entropy(exact(batch.pixels.double()), batch.labels).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in exact.parameters() if p.grad is not None]))
    assert (found.batches, found.rounds, found.batch_norm) == (3, 1, batch_norm)
    stacked = torch.nn.functional.normalize(torch.stack(gradients), dim=1)
    cosines = stacked @ stacked.T
    assert found.mean_cosine == pytest.approx(float((cosines.sum() - 3) / 6), abs=1e-5)
    assert found.mean_norm == pytest.approx(float(torch.stack(gradients).norm(dim=1).mean()), rel=1e-4)


def test_equal_examples_agree_fully_and_the_network_is_left_alone(tiny: Tiny, images: Images) -> None:
    tiny.train()
    before = {name: value.clone() for name, value in tiny.state_dict().items()}
    same = images.take(np.zeros(32, dtype=np.int64))
    (found,) = gradient_agreement(tiny, same, {"same": np.arange(32)}, batches=4, batch_size=16)
    assert found.mean_cosine == pytest.approx(1, abs=1e-6)
    assert (found.batches, found.rounds) == (2, 2)
    assert tiny.training
    assert all(torch.equal(before[name], value) for name, value in tiny.state_dict().items())


def test_the_size_of_a_subset_does_not_make_its_batches_agree() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (1024,), generator=generator)
    images = Images(torch.randn(1024, 200, generator=generator), labels, ("a", "b"))
    chance = nn.Linear(200, 2, bias=False)
    # At even odds the gradients of noise are noise, and disjoint batches have nothing in common.
    nn.init.zeros_(chance.weight)
    few, every = gradient_agreement(chance, images, {"few": np.arange(64), "all": np.arange(1024)}, batch_size=16)
    assert (few.batches, few.rounds) == (every.batches, every.rounds) == (4, 5)
    assert abs(few.mean_cosine) < 0.05  # with a quarter of the examples in common it would be a quarter
    assert abs(every.mean_cosine) < 0.05


def test_an_unknown_mode_of_agreement_is_refused(tiny: Tiny, images: Images) -> None:
    with pytest.raises(UnknownName, match="recalibrate"):
        gradient_agreement(tiny, images, {"all": np.arange(48)}, batch_size=16, batch_norm="batch")  # type: ignore[arg-type]


def test_a_subset_smaller_than_a_batch_is_refused(tiny: Tiny, images: Images) -> None:
    with pytest.raises(DataError, match="smallest subset"):
        gradient_agreement(tiny, images, {"few": np.arange(20)}, batch_size=16)
