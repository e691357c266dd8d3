"""Pixels that are read when they are asked for, so that images need not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

Change = Callable[[Tensor, Tensor], Tensor]
HASH_CHUNK_BYTES = 1 << 24


class PixelView:
    """A choice of images from a tensor that stays where it is, which stands for the tensor of these images.

    Indexing by a slice or by indices reads these images and returns an ordinary tensor. Every other use (a function of
    torch, arithmetic, ``numpy()``) reads all of them, so that it is right and takes the memory of all.

    Args:
        source: (m, ...) on the CPU, usually mapped from a file.
        rows: int64 (n,): positions in ``source``, in any order; None for all.
        change: Called with the pixels that were read and their positions in this view, int64; returns what to show.
    """

    def __init__(self, source: Tensor, rows: Tensor | None = None, change: Change | None = None) -> None:
        self._source = source
        self._rows = rows
        self._change = change
        self.shape = torch.Size((len(source) if rows is None else len(rows), *source.shape[1:]))
        self.dtype = source.dtype
        self.device = source.device

    @classmethod
    def over(cls, pixels: Tensor) -> PixelView:
        """Return ``pixels`` itself if it is a view, and a view of all of it otherwise."""
        return pixels if isinstance(pixels, cls) else cls(pixels)

    def as_tensor(self) -> Tensor:
        """Return the view, typed as the tensor that it stands for; nothing is read."""
        return cast(Tensor, self)

    def take(self, where: Tensor) -> PixelView:
        """Return a view of the images at ``where`` (int64, any order and device); nothing is read."""
        places = where.to(self.device)
        change = self._change
        rows = places if self._rows is None else self._rows[places]
        moved = None if change is None else lambda pixels, positions: change(pixels, places[positions])
        return PixelView(self._source, rows, moved)

    def changed(self, change: Change) -> PixelView:
        """Return a view that shows ``change(pixels, positions)`` of what this one shows; nothing is read."""
        before = self._change
        both = change if before is None else lambda pixels, positions: change(before(pixels, positions), positions)
        return PixelView(self._source, self._rows, both)

    def read(self, where: Tensor | slice) -> Tensor:
        """Return the images at ``where`` as a tensor of its own, in that order.

        The source is read in ascending order, as files are read best.

        Args:
            where: int64 (k,) on any device, or a slice.
        """
        positions = torch.arange(*where.indices(len(self))) if isinstance(where, slice) else where.to(self.device)
        rows = positions if self._rows is None else self._rows[positions]
        ascending, order = rows.sort()
        pixels = torch.empty(len(rows), *self.shape[1:], dtype=self.dtype)
        pixels[order] = self._source.index_select(0, ascending)
        return pixels if self._change is None else self._change(pixels, positions)

    def chunks(self) -> Iterable[Tensor]:
        """Return the images in order, a few at a time."""
        size = max(1, HASH_CHUNK_BYTES // max(1, self[:1].nbytes))
        return (self.read(slice(start, start + size)) for start in range(0, len(self), size))

    def whole(self) -> Tensor:
        """Read all images into memory."""
        return self.read(slice(None))

    def dim(self) -> int:
        """Return the number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, where: Any) -> Tensor:
        first, *others = where if isinstance(where, tuple) else (where,)
        if isinstance(first, np.ndarray):
            first = torch.from_numpy(first)
        if isinstance(first, slice) or (isinstance(first, Tensor) and first.dtype == torch.int64 and first.dim() == 1):
            pixels = self.read(first)
            return pixels[(slice(None), *others)] if others else pixels
        return self.whole()[where]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.whole(), name)

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Apply a function of torch to the tensor that a view stands for."""
        del types
        return func(*map(_real, args), **{key: _real(value) for key, value in (kwargs or {}).items()})


def _real(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_real(inner) for inner in value]
    return value.whole() if isinstance(value, PixelView) else value


def _operator(name: str) -> Callable[..., Any]:
    def apply(view: PixelView, *others: Any) -> Any:
        return getattr(view.whole(), name)(*map(_real, others))

    return apply


# Python looks for operators on the class alone, and not in ``__getattr__``.
for _sort in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
    for _name in (f"__{_sort}__", f"__r{_sort}__"):
        setattr(PixelView, _name, _operator(_name))
for _sort in ("eq", "ne", "lt", "le", "gt", "ge", "neg"):
    setattr(PixelView, f"__{_sort}__", _operator(f"__{_sort}__"))
