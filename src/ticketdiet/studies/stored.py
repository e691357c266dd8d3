"""Networks out of the store: from the address of any result that holds weights to weights, mask, module and images.

A manifest holds the identity of the network and the fingerprint of its images, not where these lie; they are named
again by whoever asks, and refused when they are others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from ticketdiet.core.errors import DataError, UserError
from ticketdiet.core.seeds import RunSeeds
from ticketdiet.core.values import Images, ImageSplits, Mask, Weights
from ticketdiet.data.images import load_images
from ticketdiet.models.build import build_model
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.networks import source_digest
from ticketdiet.studies.parts import DatasetSpec


@dataclass(frozen=True, eq=False)
class StoredNetwork:
    """A network as a result keeps it.

    Attributes:
        address: Of the result, 24 hexadecimal digits.
        kind: ``"pretrain"``, ``"level"``, ``"child"`` or whatever other stage keeps weights.
        spec: What the result's address was made of.
        weights: ``state_dict`` names to tensors, buffers included.
        mask: Mask it was trained under, or None when it is dense.
    """

    address: str
    kind: str
    spec: Mapping[str, Any]
    weights: Weights
    mask: Mask | None

    @property
    def label(self) -> str:
        """The network in words, for messages and figures."""
        number = next((f" {self.spec[key]}" for key in ("level", "child") if key in self.spec), "")
        return f"{self.kind}{number} {self.address[:8]}"

    def build(self) -> nn.Module:
        """Make the module at its initialisation, on the CPU.

        Raises:
            UserError: When it is an own module whose file is no longer what it was.
        """
        return build_stored(self.spec)


def load_network(store: ResultStore, prefix: str) -> StoredNetwork:
    """Read the network at the one address that begins with ``prefix``.

    Args:
        store: Where it is kept.
        prefix: An address, or its first digits.

    Raises:
        UserError: When no result or several begin so, or the one that does holds no weights.
        DamagedResult: When it does not match its checksums.
    """
    address = store.resolve(prefix)
    manifest = store.manifest(address)
    if "weights.safetensors" not in manifest.files:
        raise UserError(
            f"result {address} is of kind {manifest.kind!r} and holds no weights.",
            expected="the address of a trained network: pretrain, level, child or control",
            way_out="`ticketdiet plan STUDY` lists addresses with their kinds",
        )
    masked = address if "mask.safetensors" in manifest.files else manifest.inputs.get("level")
    mask = store.tensors(masked, "mask") if masked else None
    return StoredNetwork(address, manifest.kind, manifest.spec, store.tensors(address, "weights"), mask)


def build_stored(spec: Mapping[str, Any]) -> nn.Module:
    """Make the module that a stage's ``spec`` describes, at its initialisation, on the CPU.

    Raises:
        UserError: When it is an own module whose file is no longer what it was.
    """
    identity = dict(spec["model"])
    source = identity.pop("source")
    if source and source_digest(identity["name"]) != source:
        raise UserError(
            f"the file of model {identity['name']} is not the one these weights were trained with.",
            expected="the file as it was",
            way_out="restore it, or run the study again with the new one",
        )
    seeds = RunSeeds.of(spec["seed"], spec.get("replicate", 0))
    return build_model(**identity, seed=seeds.initialisation)


def load_images_of(networks: Sequence[StoredNetwork], dataset: DatasetSpec) -> ImageSplits:
    """Load the images that at least one of ``networks`` was trained on, from where ``dataset`` says they lie.

    Raises:
        DataError: When those are other images; the first split that differs is named.
    """
    splits = load_images(dataset.name, **dataset.model_dump(exclude={"name"}))
    found = {name: images.fingerprint for name, images in named_splits(splits).items()}
    expected = [network.spec["data"] for network in networks]
    if found not in expected:
        first = next(name for name in ("train", *expected[0]) if found.get(name) != expected[0].get(name))
        raise DataError(
            f"the {first} images of {dataset.name} are {found.get(first, 'missing')[:12]}, those of "
            f"{networks[0].label} are {expected[0].get(first, 'missing')[:12]}.",
            expected="the images that the weights were trained on, with the same resolution, limit and validation",
            way_out="name the study they come from: --study STUDY, with the --set that it was run with",
        )
    return splits


def named_splits(splits: ImageSplits) -> dict[str, Images]:
    """The splits that are there, by name."""
    named = {"train": splits.train, "test": splits.test, "validation": splits.validation}
    return {name: images for name, images in named.items() if images is not None}
