"""Which layers of a network under a mask go through the sparse kernels, and its forward pass with them.

The module is never changed: a built-in ResNet is passed over by ``FusedResNet``, and in any other network the chosen
layers have another ``forward`` for as long as the pass lasts. Parameters, names, hooks, copies and evaluation are
those of the module as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ticketdiet.kernels.calls import Calls
from ticketdiet.kernels.compiled import kernels
from ticketdiet.kernels.fused import FusedResNet, why_not_fused
from ticketdiet.kernels.layers import SparseLayer, why_not_sparse
from ticketdiet.kernels.line import Line
from ticketdiet.models.resnet import ResNet

_log = logging.getLogger(__name__)
_said: set[str] = set()


def zeros_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the mask that the weights themselves show: 0 where a weight of a convolution or linear layer is 0."""
    return {
        f"{name}.weight" if name else "weight": layer.weight.detach() != 0
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and not is_lazy(layer.weight)
    }


class SparseNetwork:
    """The forward pass of ``model`` under ``mask``, by the sparse kernels where they apply.

    Args:
        model: In training or in eval mode; its parameters may move in memory.
        mask: Name of parameter -> tensor of 0 and 1; a parameter without one is dense.
        line: Densities up to which a built-in ResNet as a whole, or the single layers of any other network, take the
            sparse kernels.
        gradients: Name of parameter -> where its gradient is added, laid out like the parameter. A network that is
            done as a whole uses it; whatever is not done there goes through autograd.

    Attributes:
        used: What runs, in words: ``"sparse, AVX-512, fused: 22 layers"``, ``"stock: no C++ compiler ..."``.
    """

    def __init__(
        self,
        model: nn.Module,
        mask: Mapping[str, Tensor],
        line: Line,
        gradients: Mapping[str, Tensor] | None = None,
    ) -> None:
        self._model = model
        self._fused: FusedResNet | None = None
        self._layers: dict[nn.Module, SparseLayer] = {}
        chosen = _sparse_layers(model, mask, line.layer) if line.layer else {}
        whole = isinstance(model, ResNet) and not why_not_fused(model) and _below(model, mask, line)
        if not chosen and not whole:
            self.used = "stock: no layer is sparse enough" if mask else "stock: no mask"
            return
        loaded = kernels()
        if loaded.library is None:
            self.used = f"stock: {loaded.reason}"
            _say_once(f"The stock kernels train sparse networks here: {loaded.reason}.")
            return
        calls = Calls(loaded.library, torch.get_num_threads())
        if whole and isinstance(model, ResNet):
            self._fused = FusedResNet(model, mask, calls, gradients)
        for name, layer in chosen.items():
            reason = why_not_sparse(layer)
            if reason:
                _say_once(f"Layers like {name} train with the stock kernels: {type(layer).__name__} with {reason}.")
            elif isinstance(layer, nn.Conv2d | nn.Linear):
                self._layers[layer] = SparseLayer(layer, mask[f"{name}.weight" if name else "weight"], calls)
        count = len(self._fused.units) if self._fused else len(self._layers)
        how = "fused" if self._fused else "per layer"
        layers = f"{count} layer{'s' if count != 1 else ''}"
        self.used = f"sparse, {loaded.target}, {how}: {layers}" if count else "stock: no layer that the kernels can do"

    def __call__(self, inputs: Tensor) -> Tensor:
        """Map inputs to the model's output."""
        way = self._fused.way(inputs) if self._fused is not None else None
        if self._fused is not None and way is not None:
            return self._fused(inputs, way)
        with self._swapped():
            outputs: Tensor = self._model(inputs)
        return outputs

    @contextmanager
    def _swapped(self) -> Iterator[None]:
        """Let the chosen layers be done by the kernels inside the block."""
        swapped: list[tuple[nn.Module, object]] = []
        try:
            for layer, sparse in self._layers.items():
                swapped.append((layer, layer.__dict__.get("forward")))
                layer.__dict__["forward"] = _forward_of(layer, sparse)
            yield
        finally:
            for layer, before in swapped:
                del layer.__dict__["forward"]
                if before is not None:
                    layer.__dict__["forward"] = before


def _forward_of(layer: nn.Module, sparse: SparseLayer) -> Callable[[Tensor], Tensor]:
    stock = layer.forward

    def forward(inputs: Tensor) -> Tensor:
        outputs: Tensor = sparse(inputs) if sparse.takes(inputs) else stock(inputs)
        return outputs

    return forward


def _sparse_layers(model: nn.Module, mask: Mapping[str, Tensor], line: float) -> dict[str, nn.Module]:
    """Layers whose ``weight`` has a mask of at most the density ``line``, by name."""
    found = {}
    for name, layer in model.named_modules():
        kept = mask.get(f"{name}.weight" if name else "weight")
        if kept is not None and kept.dim() in (2, 4) and kept.numel() > 0 and _mean(kept) <= line:
            found[name] = layer
    return found


def _below(model: ResNet, mask: Mapping[str, Tensor], line: Line) -> bool:
    most = line.network(model.conv.out_channels)
    return most > 0 and _density(model, mask) <= most


def _density(model: nn.Module, mask: Mapping[str, Tensor]) -> float:
    """Kept weights of all convolutions, over all their weights."""
    kept = total = 0.0
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d):
            total += layer.weight.numel()
            key = f"{name}.weight"
            kept += float(mask[key].sum(dtype=torch.float64)) if key in mask else layer.weight.numel()
    return kept / total if total else 1.0


def _mean(mask: Tensor) -> float:
    return float(mask.sum(dtype=torch.float64)) / mask.numel()


def _say_once(sentence: str) -> None:
    if sentence not in _said:
        _said.add(sentence)
        _log.warning(sentence)
