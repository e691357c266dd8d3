"""Products against an explicit Hessian and Gauss-Newton matrix, and against finite differences."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ticketdiet.core.errors import UnknownName, UserError
from ticketdiet.core.seeds import numpy_generator
from ticketdiet.core.values import Images
from ticketdiet.landscape.curvature import CurvatureOperator, curvature_operator
from ticketdiet.landscape.modes import CurvatureBatchNorm, CurvatureMatrix
from ticketdiet.training.batch_norm import batch_statistics, recalibrate

from .conftest import MakeNetwork, Tiny


def dense(operator: CurvatureOperator) -> np.ndarray:
    return np.stack([operator.multiply(column) for column in np.eye(operator.dimension)], axis=1)


def flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def explicit(model: nn.Module, images: Images, matrix: str, batches: int) -> np.ndarray:
    """The matrix by autograd, row by row, in float64."""
    model = model.double()
    size = sum(parameter.numel() for parameter in model.parameters())
    total = np.zeros((size, size))
    for pixels, labels in zip(images.pixels.double().chunk(batches), images.labels.chunk(batches), strict=True):
        parameters = list(model.parameters())
        logits = model(pixels)
        if matrix == "hessian":
            loss = F.cross_entropy(logits, labels, reduction="sum")
            slope = flat(torch.autograd.grad(loss, parameters, create_graph=True))
            rows = [flat(torch.autograd.grad(entry, parameters, retain_graph=True)) for entry in slope]
            total += torch.stack(rows).numpy()
            continue
        entries = logits.reshape(-1)
        slopes = torch.stack([flat(torch.autograd.grad(e, parameters, retain_graph=True)) for e in entries])
        jacobian = slopes.numpy().reshape(len(labels), 5, -1)
        p = logits.detach().softmax(1).numpy()
        inner = np.einsum("nc,cd->ncd", p, np.eye(5)) - np.einsum("nc,nd->ncd", p, p)
        total += np.einsum("nci,ncd,ndj->ij", jacobian, inner, jacobian)
    return total / len(images)


@pytest.mark.parametrize("matrix", ["hessian", "ggn"])
@pytest.mark.parametrize("mode", ["eval", "batch", "recalibrate"])
def test_products_are_those_of_the_explicit_matrix(
    tiny: Tiny, images: Images, matrix: CurvatureMatrix, mode: CurvatureBatchNorm
) -> None:
    operator = curvature_operator(
        tiny, tiny.state_dict(), images, matrix=matrix, batch_norm=mode, batch_size=30, precision="float64"
    )
    if mode == "batch":
        mixed = images.take(numpy_generator(0, "batch_statistics").permutation(48))
        with batch_statistics(tiny):
            expected = explicit(tiny, mixed, matrix, batches=2)
    else:
        if mode == "recalibrate":
            recalibrate(tiny, images)
        expected = explicit(tiny, images, matrix, batches=1)
    np.testing.assert_allclose(dense(operator), expected, atol=1e-12)
    assert operator.setting.num_examples == 48
    assert operator.setting.batch_norm == mode
    assert operator.setting.batch_size == (24 if mode == "batch" else 30)


def test_the_hessian_is_the_slope_of_the_gradient_by_finite_differences(tiny: Tiny, images: Images) -> None:
    operator = curvature_operator(tiny, tiny.state_dict(), images, batch_norm="eval", precision="float64")
    direction = np.random.default_rng(0).normal(size=operator.dimension)
    model = tiny.double()
    parameters = list(model.parameters())
    start = flat([p.detach() for p in parameters]).clone()

    def gradient(step: float) -> Tensor:
        nn.utils.vector_to_parameters(start + step * torch.from_numpy(direction), parameters)
        return flat(torch.autograd.grad(F.cross_entropy(model(images.pixels.double()), images.labels), parameters))

    difference = (gradient(1e-5) - gradient(-1e-5)) / 2e-5
    np.testing.assert_allclose(operator.multiply(direction), difference.numpy(), rtol=1e-6, atol=1e-8)


def test_running_statistics_that_lag_change_nothing_unless_they_are_asked_for(tiny: Tiny, images: Images) -> None:
    fresh = tiny.state_dict()
    lagging = {**fresh, "bn.running_mean": torch.full((2,), 3.0), "bn.running_var": torch.full((2,), 0.01)}
    direction = np.random.default_rng(0).normal(size=sum(p.numel() for p in tiny.parameters()))

    def products(**options: Any) -> tuple[np.ndarray, np.ndarray]:
        first, second = (curvature_operator(tiny, w, images, **options).multiply(direction) for w in (fresh, lagging))
        return first, second

    assert np.array_equal(*products())
    before, after = products(batch_norm="eval")
    assert np.linalg.norm(after - before) > 0.5 * np.linalg.norm(before)


def test_statistics_come_from_the_calibration_images(tiny: Tiny, images: Images) -> None:
    few, rest = images.take(np.arange(6)), images.take(np.arange(6, 48))
    operator = curvature_operator(tiny, tiny.state_dict(), few, calibration=rest, precision="float64")
    recalibrate(tiny, rest)
    np.testing.assert_allclose(dense(operator), explicit(tiny, few, "hessian", batches=1), atol=1e-12)


def test_batch_statistics_do_not_follow_the_order_of_the_images(tiny: Tiny) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 2
    scale = (1 + 5 * labels)[:, None, None, None]
    mixed = Images(torch.randn(400, 3, 8, 8, generator=generator) * scale, labels, tuple("abcde"))
    by_class = mixed.take(labels.argsort(stable=True))
    whole, one, other = (
        np.linalg.eigvalsh(dense(curvature_operator(tiny, tiny.state_dict(), i, batch_norm="batch", batch_size=size)))[
            -1
        ]
        for i, size in ((mixed, 400), (mixed, 100), (by_class, 100))
    )
    assert one == pytest.approx(whole, rel=0.02)
    assert other == pytest.approx(whole, rel=0.02)


def test_the_kept_space_is_the_block_of_the_kept_weights(tiny: Tiny, images: Images) -> None:
    kept = torch.rand(tiny.conv.weight.shape, generator=torch.Generator().manual_seed(1)) < 0.4
    whole = dense(curvature_operator(tiny, tiny.state_dict(), images, precision="float64"))
    operator = curvature_operator(
        tiny, tiny.state_dict(), images, mask={"conv.weight": kept.to(torch.uint8)}, precision="float64"
    )
    where = np.concatenate([kept.flatten().numpy(), np.ones(2 + 2 + 10 + 5, dtype=bool)])
    np.testing.assert_allclose(dense(operator), whole[np.ix_(where, where)], atol=1e-14)
    assert operator.setting.kept_only
    assert operator.dimension == where.sum()


@pytest.mark.parametrize("matrix", ["hessian", "ggn"])
def test_a_resnet_in_float32_has_symmetric_products_that_repeat_to_the_bit(
    images: Images, network: MakeNetwork, matrix: CurvatureMatrix
) -> None:
    model = network(1)
    u, v = np.random.default_rng(0).normal(size=(2, sum(p.numel() for p in model.parameters())))
    first, again = (curvature_operator(model, model.state_dict(), images, matrix=matrix) for _ in range(2))
    product = first.multiply(u)
    assert np.array_equal(product, again.multiply(u))
    assert v @ product == pytest.approx(u @ first.multiply(v), rel=1e-3, abs=1e-3)


def test_the_callers_network_stays_as_it_was(images: Images, network: MakeNetwork) -> None:
    model = network(1).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    other = {name: tensor * 2 for name, tensor in before.items()}
    operator = curvature_operator(model, other, images, batch_norm="batch")
    operator.multiply(np.ones(operator.dimension))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_mistakes_are_refused(tiny: Tiny, images: Images) -> None:
    weights = tiny.state_dict()
    with pytest.raises(UnknownName, match=r"hessain.*hessian|ggn"):
        curvature_operator(tiny, weights, images, matrix="hessain")  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match="train"):
        curvature_operator(tiny, weights, images, batch_norm="train")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="0 images"):
        curvature_operator(tiny, weights, images.take(np.array([], dtype=np.int64)))
    with pytest.raises(UserError, match=r"mask of 'conv\.weight'"):
        curvature_operator(tiny, weights, images, mask={"conv.weight": torch.ones(1)})
    with pytest.raises(UserError, match=r"5 of the 5 values of the tensor 'fc\.bias' of the weights"):
        curvature_operator(tiny, {**weights, "fc.bias": torch.full((5,), torch.nan)}, images)
    with pytest.raises(UserError, match=r"'fc\.bias' is \(5,\) in the network and \(4,\)"):
        curvature_operator(tiny, {**weights, "fc.bias": torch.ones(4)}, images)


def test_without_the_extra_the_way_to_install_it_is_said(
    tiny: Tiny, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "curvlinops", None)
    with pytest.raises(UserError, match=r"ticketdiet\[curvature\]"):
        curvature_operator(tiny, tiny.state_dict(), images, matrix="ggn")
