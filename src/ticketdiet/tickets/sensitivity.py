"""Which weights matter before any training: SNIP's connection sensitivity and SynFlow's synaptic flow.

Both look at a copy: the caller's network, its mode, its gradients and its buffers stay as they are.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from ticketdiet.core.errors import UserError
from ticketdiet.core.seeds import numpy_generator
from ticketdiet.core.values import Images
from ticketdiet.tickets.cutting import mask_from_scores
from ticketdiet.tickets.masks import prunable_names
from ticketdiet.training.batch_norm import even_batches
from ticketdiet.training.convolutions import safe_convolutions
from ticketdiet.training.evaluation import device_of, prepared_chunks

SYNFLOW_ROUNDS = 100
SNIP_IMAGES = 128  # one batch, as Lee et al. take for CIFAR


def snip_scores(
    model: nn.Module,
    images: Images,
    *,
    num_images: int | None = SNIP_IMAGES,
    seed: int = 0,
    batch_size: int = 128,
    ignore: Iterable[str] = (),
) -> dict[str, Tensor]:
    """Connection sensitivity ``|dL/dw * w|`` of every prunable weight (Lee et al. 2019, arXiv 1810.02340).

    L is the mean cross-entropy over the images taken, un-augmented. BatchNorm normalises by each batch, as in training:
    at initialisation its running statistics mean nothing. Dropout is off. The paper divides by the sum over all
    weights, which ranks nothing differently and is left out.

    Args:
        model: The network, usually at its initialisation.
        images: Labelled images to draw from.
        num_images: How many are drawn, all of them when there are fewer; None for all. The paper takes one batch of 128
            for CIFAR and of 100 for MNIST.
        seed: Seed of the draw and of the order, in which also all images are taken: what BatchNorm sees in a batch must
            not depend on the order of the data set.
        batch_size: About so many images per forward pass, in batches of nearly equal size; gradients are averaged over
            all images before the magnitude is taken.
        ignore: Names of prunable tensors to leave out.

    Returns:
        Name -> float32 tensor of the shape of its weight, on the CPU.

    Raises:
        UserError: When there are no images or none is to be taken, when a network with BatchNorm gets a single one,
            which has no variance, or when a name to ignore matches nothing.
    """
    names = prunable_names(model, ignore)
    network = _frozen_copy(model)
    for module in network.modules():
        module.training = isinstance(module, _BatchNorm)
    count = len(images) if num_images is None else min(num_images, len(images))
    if count < (2 if any(module.training for module in network.modules()) else 1):
        raise UserError(
            f"Got {count} images to find sensitivities on.",
            expected="at least one image, and two for a network with BatchNorm",
            way_out=f"give one batch of {SNIP_IMAGES} images",
        )
    taken = images.take(numpy_generator(seed, "snip_images").permutation(len(images))[:count])
    weights = _leaves(network, names)
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for inputs, labels in prepared_chunks(taken, even_batches(count, batch_size), device_of(network)):
        with safe_convolutions(network):
            loss = F.cross_entropy(network(inputs).float(), labels, reduction="sum") / count
            gradients = _gradients(loss, weights)
        for name, gradient in gradients.items():
            total[name] += gradient
    return {name: (total[name] * weights[name].detach()).abs().cpu() for name in names}


def snip_mask(
    model: nn.Module,
    density: float,
    images: Images,
    *,
    num_images: int | None = SNIP_IMAGES,
    seed: int = 0,
    batch_size: int = 128,
    ignore: Iterable[str] = (),
) -> dict[str, Tensor]:
    """Keep the most sensitive weights in one cut (Lee et al. 2019, arXiv 1810.02340); see ``snip_scores``."""
    scores = snip_scores(model, images, num_images=num_images, seed=seed, batch_size=batch_size, ignore=ignore)
    return mask_from_scores(scores, density)


class SynapticFlow:
    """The linear network of absolute values whose flow SynFlow measures (Tanaka et al. 2020, arXiv 2006.05467).

    R is the sum of the outputs for an input of ones, where every parameter is replaced by its absolute value, and the
    score of a weight is ``dR/d|w| * |w|``. Behind ReLU everything is positive, so the network is linear, and what flows
    through each layer is R: the scores of every layer of a plain network without biases have the same sum (their
    theorems 1 and 2). That conservation is what keeps layers from being emptied.

    BatchNorm is in eval mode with running mean 0 and variance 1, whatever the network has seen, as the published runs
    have it at initialisation; its scale and shift enter by their absolute values like every other parameter. Other
    normalisation layers and activations than ReLU are left as they are; for those there is no law. All is in float64:
    R is a product over depth and leaves the range of float32 near 30 layers.

    Args:
        model: The network.
        shape: Shape of one input, without the batch.
        ignore: Names of prunable tensors that no mask touches.
    """

    def __init__(self, model: nn.Module, shape: Sequence[int], ignore: Iterable[str] = ()) -> None:
        names = prunable_names(model, ignore)
        network = _frozen_copy(model).double().eval()
        for parameter in network.parameters():
            parameter.data.abs_()
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                module.running_mean = torch.zeros(module.num_features).to(device_of(network), torch.float64)
                module.running_var = torch.ones_like(module.running_mean)
        self._network = network
        self._weights = _leaves(network, names)
        self._input = torch.ones(1, *shape, dtype=torch.float64, device=device_of(network))

    def keep_only(self, mask: dict[str, Tensor]) -> None:
        """Set the removed weights to 0 permanently."""
        for name, kept in mask.items():
            self._weights[name].data.mul_(kept.to(self._weights[name].device))

    def scores(self) -> dict[str, Tensor]:
        """Return the score of every prunable weight: name -> float64 tensor, at least 0, on the CPU.

        Raises:
            UserError: When the flow leaves the range of float64, in networks of several hundred layers.
        """
        flow = self._network(self._input).sum()
        if not bool(torch.isfinite(flow)):
            raise UserError(
                "The synaptic flow is not finite.",
                expected="a product of absolute weights over depth within float64",
                way_out="use another criterion, or smaller initial weights",
            )
        gradients = _gradients(flow, self._weights)
        return {name: (gradients[name] * weight.detach()).cpu() for name, weight in self._weights.items()}


def synflow_mask(
    model: nn.Module,
    density: float,
    shape: Sequence[int],
    *,
    rounds: int = SYNFLOW_ROUNDS,
    ignore: Iterable[str] = (),
) -> dict[str, Tensor]:
    """Prune by synaptic flow, without data: ``rounds`` cuts on an exponential schedule.

    Tanaka et al. 2020 (arXiv 2006.05467), algorithm 1: after round r of n the density is ``density ** (r / n)``, and
    scores are computed again under the mask so far. One cut instead of many can empty a layer.

    Args:
        model: The network, at its initialisation; see :class:`SynapticFlow` for what becomes of BatchNorm.
        density: Fraction of prunable weights to keep, in (0, 1].
        shape: Shape of one input, without the batch.
        rounds: Cuts; the paper takes 100.
        ignore: Names of prunable tensors to leave dense.

    Returns:
        Name -> uint8 mask of exactly ``round(density * weights)`` ones.

    Raises:
        UserError: For a density outside (0, 1], no round, a name to ignore that matches nothing, or a flow that is not
            finite.
    """
    if rounds < 1:
        raise UserError(f"Got rounds={rounds}.", expected="at least 1", way_out=f"the paper takes {SYNFLOW_ROUNDS}")
    flow = SynapticFlow(model, shape, ignore)
    scores = flow.scores()
    for done in range(1, rounds + 1):
        mask = mask_from_scores(scores, density ** (done / rounds))
        if done < rounds:
            flow.keep_only(mask)
            # Scores are at least 0; what is gone ranks below what stays with a flow of 0, so that masks nest.
            scores = {name: found.masked_fill(mask[name] == 0, -1.0) for name, found in flow.scores().items()}
    return mask


def _frozen_copy(model: nn.Module) -> nn.Module:
    network = copy.deepcopy(model)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
        parameter.grad = None
    return network


def _leaves(network: nn.Module, names: Iterable[str]) -> dict[str, nn.Parameter]:
    parameters = dict(network.named_parameters())
    chosen = {name: parameters[name] for name in names}
    for parameter in chosen.values():
        parameter.requires_grad_(True)
    return chosen


def _gradients(value: Tensor, weights: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    found = torch.autograd.grad(value, list(weights.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(weights, found, strict=True))
