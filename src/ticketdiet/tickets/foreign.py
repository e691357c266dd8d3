"""Networks and masks that other programs saved: open_lth, and lth_diet, the code of Paul et al. 2022.

Both keep plain ``state_dict`` files of PyTorch, and masks of 0 and 1 beside them. Which network it is can be told from
names and shapes. Files are loaded with ``weights_only=True``: objects other than tensors and plain values are refused.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ticketdiet.core.errors import DataError, check_known
from ticketdiet.core.reading import open_regular
from ticketdiet.tickets.foreign_names import foreign_layout
from ticketdiet.tickets.masks import check_mask, count_kept, density
from ticketdiet.tickets.portable import PortableTicket, TicketFacts, assemble
from ticketdiet.tickets.torch_files import load_plain

Origin = Literal["open_lth", "lth_diet"]
REPOSITORIES = {"open_lth": "facebookresearch/open_lth", "lth_diet": "mansheej/lth_diet"}
MASKS = {"open_lth": "mask.pth", "lth_diet": "mask.pt"}
_STEP = re.compile(r"model_ep(\d+)_it(\d+)\.pth")
_WRAPPERS = ("module.", "model.")  # what parallel, pruned and Composer's models put before names
_MASK_BUFFER, _DOT = "mask_", "___"


def import_checkpoint(
    path: str | os.PathLike[str],
    *,
    origin: Origin = "open_lth",
    mask: str | os.PathLike[str] | None = None,
    image_size: int = 32,
) -> PortableTicket:
    """Read a network that open_lth or lth_diet trained, with its mask.

    CIFAR ResNets, VGG-16 and LeNets of both are known, and the low-resolution ResNet-18 and -50 of lth_diet. Biases
    of VGG's convolutions become part of the means of BatchNorm behind them, which is exact in eval mode.

    Args:
        path: A file of weights (``model_ep160_it0.pth``, ``model_final.pt``, ``checkpoint.pth``), or the folder of a
            level: its last weights are taken.
        origin: Which program wrote it: ``"open_lth"`` or ``"lth_diet"``.
        mask: The file of the mask; by default ``mask.pth`` or ``mask.pt`` beside the weights, or the mask inside them.
            Where there is none, the network counts as dense.
        image_size: Height and width of the images, which weights do not tell. It is fixed for VGG (32) and LeNet.

    Returns:
        The network in eval mode, removed weights at exactly 0; ``export_ticket`` writes it for ``load_ticket``.

    Raises:
        UnknownName: For another origin.
        DataError: When a file is missing or holds something else, or no network of this package fits.
        UserError: When the mask has other shapes than the weights, or other values than 0 and 1.
    """
    check_known("origin", origin, get_args(Origin))
    file = _find_weights(Path(path), origin)
    weights, inner = _split(load_plain(file), str(file))
    layout = foreign_layout(weights, image_size, str(file))
    found = {layout.names[name]: value for name, value in weights.items() if name in layout.names}
    for name, target in layout.shifts.items():
        if target in found:
            found[target] = found[target] - weights[name]
    mask_file = Path(mask) if mask is not None else file.parent / MASKS[origin]
    if mask is not None or mask_file.exists():
        inner = {_unwrapped(name): value for name, value in _tensors(load_plain(mask_file), str(mask_file)).items()}
    kept = {target: torch.ones(found[target].shape, dtype=torch.uint8) for target in layout.prunable}
    for name, value in inner.items():
        target = _named(name, layout.names, kept, str(mask_file if mask_file.exists() else file))
        check_mask(found, {target: value})
        kept[target] = value.to(torch.uint8)
    facts = TicketFacts(
        network=layout.network,
        density=density(kept),
        kept=count_kept(kept),
        origin={
            "imported_from": REPOSITORIES[origin],
            "file": file.name,
            "sha256": _digest(file),
            "mask": mask_file.name if mask_file.exists() else "inside the file" if inner else "none",
        },
    )
    return assemble(facts, found, kept, str(file))


def _digest(file: Path) -> str:
    with open_regular(file) as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _find_weights(path: Path, origin: str) -> Path:
    if not path.is_dir():
        return path
    steps = {
        (int(found[1]), int(found[2])): entry for entry in path.iterdir() if (found := _STEP.fullmatch(entry.name))
    }
    if origin == "open_lth" and steps:
        return steps[max(steps)]
    if origin == "lth_diet" and (path / "model_final.pt").exists():
        return path / "model_final.pt"
    wanted = "model_epE_itI.pth" if origin == "open_lth" else "model_final.pt"
    raise DataError(
        f"The folder {path} holds no weights of {origin}.",
        expected=f"a file {wanted} in it",
        way_out="name the folder of one level, as in level_3/main, or the file itself",
    )


def _split(loaded: object, source: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return weights and masks by plain names, out of whatever wraps them."""
    for keys in (("model_state_dict",), ("state", "model")):
        inner: Any = loaded
        for key in keys:
            inner = inner.get(key) if isinstance(inner, Mapping) else None
        loaded = loaded if inner is None else inner
    tensors = {_unwrapped(name): value for name, value in _tensors(loaded, source).items()}
    masks = {name: value for name, value in tensors.items() if name.startswith(_MASK_BUFFER)}
    weights = {name: value for name, value in tensors.items() if name not in masks}
    return weights, {
        _unwrapped(name.removeprefix(_MASK_BUFFER).replace(_DOT, ".")): value for name, value in masks.items()
    }


def _tensors(loaded: object, source: str) -> dict[str, Tensor]:
    if isinstance(loaded, Mapping) and loaded and all(isinstance(value, Tensor) for value in loaded.values()):
        return {str(name): value for name, value in loaded.items()}
    raise DataError(
        f"{source} holds a {type(loaded).__name__} that is no dictionary of tensors.",
        expected="a state_dict, or a mask: name -> tensor",
        way_out="name the file of the weights, for example model_ep160_it0.pth",
    )


def _unwrapped(name: str) -> str:
    while name.startswith(_WRAPPERS):
        name = name.partition(".")[2]
    return name


def _named(name: str, names: Mapping[str, str], known: Mapping[str, Tensor], source: str) -> str:
    target = names.get(name)
    if target not in known:
        raise DataError(
            f"The mask {name!r} in {source} belongs to no prunable layer of the network.",
            expected=f"names among: {', '.join(their for their, our in names.items() if our in known)}",
            way_out="name the mask of the same network and level",
        )
    assert target is not None
    return target
