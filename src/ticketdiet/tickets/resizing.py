"""A module with other tensors than it was made with: fewer channels, the same layers."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def put_tensors(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put tensors into a module in place of its own, and let its layers know their new sizes.

    Args:
        model: The module, changed in place; its own tensors are not looked at and may be on the meta device.
        tensors: Every ``state_dict`` name -> tensor, of the old size or with fewer channels.
    """
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        for name in [name for name, own in module._parameters.items() if own is not None]:
            module._parameters[name] = nn.Parameter(tensors[prefix + name])
        for name in [name for name, own in module._buffers.items() if own is not None]:
            module._buffers[name] = tensors[prefix + name]
        _update_sizes(module)


def _update_sizes(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        module.out_channels, module.in_channels = module.weight.shape[:2]
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, _BatchNorm):
        module.num_features = len(module.weight)
