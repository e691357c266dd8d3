"""Named tensors that lie one after another in one flat tensor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


class FlatTensors:
    """Named float32 tensors as views of one flat buffer; ``layout`` is that of the convolutions' weights."""

    def __init__(self, named: Sequence[tuple[str, Tensor]], layout: torch.memory_format = torch.channels_last) -> None:
        self._layout = layout
        self.names = tuple(name for name, _ in named)
        device = named[0][1].device if named else torch.device("cpu")
        self.flat = torch.empty(sum(tensor.numel() for _, tensor in named), device=device)
        self.views = dict(zip(self.names, self._views(self.flat, [t.shape for _, t in named]), strict=True))
        for name, tensor in named:
            self.views[name].copy_(tensor.detach())

    def like(self, fill: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Return a second flat tensor of the same layout, filled with ``fill``, and its views by name."""
        flat = torch.full_like(self.flat, fill)
        views = self._views(flat, [view.shape for view in self.views.values()])
        return flat, dict(zip(self.names, views, strict=True))

    def _views(self, flat: Tensor, shapes: Sequence[torch.Size]) -> Iterator[Tensor]:
        start = 0
        for shape in shapes:
            part = flat[start : start + shape.numel()]
            start += shape.numel()
            if len(shape) == 4 and self._layout == torch.channels_last:
                out, channels, height, width = shape
                yield part.view(out, height, width, channels).permute(0, 3, 1, 2)
            else:
                yield part.view(shape)
