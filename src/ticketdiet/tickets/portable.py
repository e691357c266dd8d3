"""A ticket to take away: a trained sparse network, its mask, and what is known about it, apart from any store.

The facts are plain values that can be written into a file, and are checked when they are read back, because a file may
come from anybody.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn
from torch.func import functional_call

from ticketdiet.core.errors import DataError, UserError, shown
from ticketdiet.core.values import Images, Mask, Weights
from ticketdiet.models.build import build_model, is_own_module
from ticketdiet.models.own import call_factory
from ticketdiet.tickets.masks import apply_mask, check_mask, count_kept, density
from ticketdiet.tickets.resizing import put_tensors

MOST = 10**6


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NetworkFacts(_Part):
    """Which network: the arguments of ``build_model``.

    Attributes:
        name: Registered name, or ``package.module:function`` for a network of somebody's own.
        num_classes: Outputs.
        in_channels: Channels of an image.
        image_size: Height and width of an image.
        width: Channels of the first stage; None for the network's own.
    """

    name: str = Field(max_length=1000)
    num_classes: int = Field(ge=1, le=MOST)
    in_channels: int = Field(ge=1, le=MOST)
    image_size: int = Field(ge=1, le=MOST)
    width: int | None = Field(default=None, ge=1, le=MOST)

    def sizes(self) -> dict[str, Any]:
        """Keyword -> value, as a function that makes a network takes them."""
        return self.model_dump(exclude={"name"})


class DataFacts(_Part):
    """Which images, and how they have to be normalised.

    Attributes:
        name: Where they came from, for people; empty when unknown.
        class_names: One name per class; empty when unknown.
        mean: Per-channel mean that is subtracted from pixels on the scale 0..1; empty when unknown.
        std: Per-channel standard deviation that they are divided by then; empty when unknown.
        fingerprints: Split -> SHA-256 of its pixels, labels and order.
    """

    name: str = ""
    class_names: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    fingerprints: dict[str, str] = Field(default_factory=dict)


class TicketFacts(_Part):
    """What is known about a ticket.

    Attributes:
        format: Version of these facts.
        network: Which network.
        compacted: Whether channels were removed, so that the network is smaller than its name says.
        density: Fraction of the prunable weights that are kept, in [0, 1]; before channels were removed.
        kept: How many weights that is.
        data: Which images.
        metrics: Split -> metric -> value, at the end of training.
        training: How it was trained, for people.
        origin: Where it came from: addresses, versions, machine, for people.
    """

    format: Literal[1] = 1
    network: NetworkFacts
    compacted: bool = False
    density: float = Field(ge=0, le=1)
    kept: int = Field(ge=0)
    data: DataFacts = DataFacts()
    metrics: dict[str, dict[str, float]] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    origin: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class PortableTicket:
    """A trained network apart from any store.

    Attributes:
        module: The network in eval mode, removed weights at exactly 0.
        mask: Prunable name -> uint8 tensor of 0 and 1; all ones for a dense network.
        facts: What is known about it.
    """

    module: nn.Module
    mask: Mask
    facts: TicketFacts

    @property
    def weights(self) -> Weights:
        """The ``state_dict``, detached."""
        return {name: value.detach() for name, value in self.module.state_dict().items()}


def portable_ticket(
    module: nn.Module,
    mask: Mask,
    network: NetworkFacts,
    *,
    images: Images | None = None,
    metrics: Mapping[str, Mapping[str, float]] | None = None,
    training: Mapping[str, Any] | None = None,
) -> PortableTicket:
    """Make a ticket of a network that was trained without a store, for example by ``find_ticket``.

    Args:
        module: The trained network; it is copied.
        mask: Prunable name -> tensor of 0 and 1; removed weights are set to 0 in the copy.
        network: Which network it is, so that it can be built again.
        images: Training images, for classes and normalisation.
        metrics: Split -> metric -> value.
        training: How it was trained, JSON-able, for people.

    Returns:
        The ticket, which ``export_ticket`` writes.

    Raises:
        UserError: For a mask that does not fit.
    """
    check_mask(module.state_dict(), mask)
    own = copy.deepcopy(module).eval()
    own.load_state_dict(apply_mask(module.state_dict(), mask))
    data = DataFacts()
    if images is not None:
        found = {"train": images.fingerprint}
        data = DataFacts(class_names=images.class_names, mean=images.mean, std=images.std, fingerprints=found)
    facts = TicketFacts(
        network=network,
        density=density(mask),
        kept=count_kept(mask),
        data=data,
        metrics={split: dict(values) for split, values in (metrics or {}).items()},
        training=dict(training or {}),
    )
    return PortableTicket(own, dict(mask), facts)


def read_facts(values: object, source: str) -> TicketFacts:
    """Check facts that come from a file.

    Args:
        values: The mapping in it.
        source: Name of the file, for messages.

    Returns:
        The facts.

    Raises:
        DataError: When they are none, or of another format.
    """
    try:
        return TicketFacts.model_validate(values)
    except ValidationError as error:
        detail = error.errors()[0]
        where = ".".join(map(str, detail["loc"])) or "the whole"
        raise DataError(
            f"The facts in {source} are not those of a ticket: {where} is {shown(detail['input'], 60)}.",
            expected="facts of format 1, as `ticketdiet export` writes them",
            way_out="export the ticket again with this version of the package",
        ) from None


def assemble(
    facts: TicketFacts, weights: Weights, mask: Mask, source: str, make: Callable[..., nn.Module] | None = None
) -> PortableTicket:
    """Build the network that a file describes, and put its tensors in.

    Nothing is imported by a name in the file, except models that this package knows and that installed packages have
    registered.

    Args:
        facts: What the file says.
        weights: Every ``state_dict`` name -> tensor.
        mask: Prunable name -> tensor of 0 and 1.
        source: Name of the file, for messages.
        make: Function that makes the network when it is somebody's own.

    Returns:
        The ticket.

    Raises:
        DataError: When tensors and facts do not belong together.
        UserError: When the network is somebody's own and ``make`` is missing or fails.
    """
    check_mask(weights, mask)
    if not facts.compacted and count_kept(mask) != facts.kept:
        raise DataError(
            f"The mask in {source} keeps {count_kept(mask):,} weights, but its facts say {facts.kept:,}.",
            expected="a mask and facts that belong together",
            way_out="export the ticket again",
        )
    weights = apply_mask(weights, mask)
    if is_own_module(facts.network.name):
        module = _build_own(facts.network, make)
        _check_tensors(module, facts, weights, source)
        module.load_state_dict(weights)
        return PortableTicket(module.eval(), dict(mask), facts)
    if make is not None:
        raise UserError(
            f"Got make= for {source}, whose network is {facts.network.name!r} of this package.",
            expected="make= only for a network of your own",
            way_out="leave make out",
        )
    module = _build_empty(facts.network)
    _check_tensors(module, facts, weights, source)
    put_tensors(module, weights)
    if facts.compacted:
        _check_computes(module, facts, source)
    return PortableTicket(module, dict(mask), facts)


def _build_empty(network: NetworkFacts) -> nn.Module:
    """Build a network of this package without memory for its tensors: a file may ask for any size."""
    with torch.device("meta"):
        return build_model(network.name, initialisation="module", **network.sizes()).eval()


def _build_own(network: NetworkFacts, make: Callable[..., nn.Module] | None) -> nn.Module:
    if make is None:
        raise UserError(
            f"The network of this ticket is {network.name!r}, which a file must not import.",
            expected="the function that makes it",
            way_out="import it yourself, and give make=function",
        )
    return call_factory(make, network.sizes(), name=network.name)


def _check_tensors(module: nn.Module, facts: TicketFacts, weights: Weights, source: str) -> None:
    own = module.state_dict()
    wrong = [name for name in sorted({*own, *weights}) if not _fits(own.get(name), weights.get(name), facts.compacted)]
    if wrong:
        raise DataError(
            f"The tensor {wrong[0]!r} in {source} is not that of the network {facts.network.name!r}.",
            expected="tensors with the names, shapes and kinds of numbers of the network that the facts name",
            way_out="export the ticket again, or give the make= that it was trained with",
        )


def _fits(own: Tensor | None, came: Tensor | None, may_be_smaller: bool) -> bool:
    if own is None or came is None or own.dim() != came.dim() or own.is_floating_point() != came.is_floating_point():
        return False
    pairs = zip(came.shape, own.shape, strict=True)
    return all(0 < here <= there for here, there in pairs) if may_be_smaller else came.shape == own.shape


def _check_computes(module: nn.Module, facts: TicketFacts, source: str) -> None:
    """Refuse layers that do not fit each other, without computing anything."""
    channels, size = facts.network.in_channels, facts.network.image_size
    sizes = {name: value.to("meta") for name, value in module.state_dict().items()}
    try:
        shape = functional_call(module, sizes, torch.empty(1, channels, size, size, device="meta")).shape
    except RuntimeError:
        shape = None
    if shape != (1, facts.network.num_classes):
        raise DataError(
            f"The layers in {source} do not fit each other.",
            expected="a network without its dead channels, as `ticketdiet export --compact` writes it",
            way_out="export the ticket again",
        )
