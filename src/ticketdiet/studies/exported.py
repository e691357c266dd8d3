"""Tickets out of a store: a stored network with all that the store knows about it, to be taken elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from ticketdiet.core.values import Mask
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.record import study_records
from ticketdiet.studies.stored_networks import StoredNetwork, load_network
from ticketdiet.tickets.compact import compact
from ticketdiet.tickets.masks import apply_mask, count_kept, dense_mask, density
from ticketdiet.tickets.portable import DataFacts, NetworkFacts, PortableTicket, TicketFacts


def stored_ticket(store: ResultStore, address: str, *, compacted: bool = False) -> PortableTicket:
    """Read a trained network with its mask and facts from a store.

    Args:
        store: Where it is kept.
        address: Address of the result, or its first digits.
        compacted: Whether to remove its dead channels; see ``compact``.

    Returns:
        The network on the CPU in eval mode. What the data are called, their classes and how they are normalised is
        known when a study that was run on the store has this result.

    Raises:
        UserError: When no result or several begin so, the one that does holds no weights, its network is an own module
            whose file is no longer what it was, or ``compacted`` does not know its channels.
        DamagedResult: When it does not match its checksums.
    """
    network = load_network(store, address)
    module = network.build().eval()
    mask: Mask = network.mask if network.mask is not None else dense_mask(module)
    module.load_state_dict(apply_mask(network.weights, mask))
    facts = _facts_of(store, network, mask)
    if not compacted:
        return PortableTicket(module, mask, facts)
    smaller = compact(module)
    return PortableTicket(smaller.module, smaller.mask, facts.model_copy(update={"compacted": True}))


def _facts_of(store: ResultStore, network: StoredNetwork, mask: Mask) -> TicketFacts:
    manifest = store.manifest(network.address)
    own = network.stage.network
    data, study = _known_of_data(store, network)
    origin = {"address": manifest.address, "kind": manifest.kind, "version": manifest.version, **study}
    return TicketFacts(
        network=NetworkFacts(
            name=own.name,
            width=own.width,
            num_classes=own.num_classes,
            in_channels=own.in_channels,
            image_size=own.image_size,
        ),
        density=density(mask),
        kept=count_kept(mask),
        data=data,
        metrics=_last_metrics(store.document(network.address, "rows")),
        training={key: value for key, value in manifest.spec.items() if key not in ("network", "data")},
        origin={**origin, "inputs": dict(manifest.inputs), **manifest.provenance},
    )


def _known_of_data(store: ResultStore, network: StoredNetwork) -> tuple[DataFacts, dict[str, str]]:
    """Return what the studies of the store say of the images, and the study and arm that use the network."""
    fingerprints = dict(network.stage.data)
    for record in study_records(store):
        stage = record.plan.stages.get(network.address)
        facts = None if stage is None else record.plan.facts.get(stage.dataset)
        if stage is None or facts is None:
            continue
        data = DataFacts(
            name=_public_name(stage.dataset.name),
            class_names=facts.class_names,
            mean=facts.mean,
            std=facts.std,
            fingerprints=fingerprints,
        )
        return data, {"study": record.plan.study.study, **({"arm": stage.uses[0].arm} if stage.uses else {})}
    return DataFacts(fingerprints=fingerprints), {}


def _public_name(name: str) -> str:
    """Return the name of a data set without the folders it lies in, which are nobody else's business."""
    source, colon, place = name.partition(":")
    return f"{source}:{PurePath(place).name}" if colon else source


def _last_metrics(rows: list[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return split -> metric -> value at the last step that was measured."""
    last = max((row["step"] for row in rows), default=0)
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["step"] == last and not {"tolerance", "pair"} & row.keys() and row["value"] is not None:
            found.setdefault(row["split"], {})[row["metric"]] = float(row["value"])
    return found
