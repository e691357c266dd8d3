"""Networks out of the store: from the address of any result that holds weights to weights, mask, module and images.

A manifest holds the identity of the network and the fingerprint of its images, not where these lie; they are named
again by whoever asks, and refused when they are others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from ticketdiet.core.errors import DataError, UserError
from ticketdiet.core.seeds import RunSeeds
from ticketdiet.core.values import ImageSplits, Mask, Weights
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.datasets import first_difference, load_dataset
from ticketdiet.studies.schema import DatasetSpec
from ticketdiet.studies.stages.catalog import KINDS
from ticketdiet.studies.stages.child import Child
from ticketdiet.studies.stages.level import Level
from ticketdiet.studies.stages.masked import MaskedTraining
from ticketdiet.studies.stages.pretrain import Pretrain

StoredStage = Pretrain | MaskedTraining | Child
_ELSEWHERE = DatasetSpec(name="unknown")  # a manifest does not say where its images lie


@dataclass(frozen=True, eq=False)
class StoredNetwork:
    """A network as a result keeps it.

    Attributes:
        stage: The stage that trained it; where its images lie is not known.
        weights: ``state_dict`` names to tensors, buffers included.
        mask: Mask it was trained under, or None when it is dense.
    """

    stage: StoredStage
    weights: Weights
    mask: Mask | None

    @property
    def address(self) -> str:
        """Address of the result, 24 hexadecimal digits."""
        return self.stage.address

    @property
    def label(self) -> str:
        """The network in words, for messages and figures."""
        number = ""
        if isinstance(self.stage, Level):
            number = f" {self.stage.level}"
        elif isinstance(self.stage, Child):
            number = f" {self.stage.child}"
        return f"{self.stage.kind.replace('_', ' ')}{number} {self.address[:8]}"

    def build(self) -> nn.Module:
        """Return the module at its initialisation, on the CPU.

        Raises:
            UserError: When it is an own module whose file is no longer what it was.
        """
        return build_initial(self.stage)


def load_network(store: ResultStore, prefix: str) -> StoredNetwork:
    """Read the network at the one address that begins with ``prefix``.

    Args:
        store: Where it is kept.
        prefix: An address, or its first digits.

    Returns:
        The network, with its mask if it has one.

    Raises:
        UserError: When no result or several begin so, or the one that does holds no weights.
        DamagedResult: When it does not match its checksums.
    """
    address = store.resolve(prefix)
    manifest = store.manifest(address)
    if "weights.safetensors" not in manifest.files or manifest.kind not in KINDS:
        raise UserError(
            f"The result {address} is of kind {manifest.kind!r} and holds no weights.",
            expected="the address of a trained network: pretrain, level, sparse_training or child",
            way_out="see `ticketdiet plan STUDY` for the addresses with their kinds",
        )
    try:
        stage = KINDS[manifest.kind].of_manifest(manifest, _ELSEWHERE)
    except ValueError:
        raise UserError(
            f"The result {address} was written by another version of this package.",
            expected=f"version {KINDS[manifest.kind].version} of a stage of kind {manifest.kind!r}",
            way_out="run its study again",
        ) from None
    assert isinstance(stage, StoredStage)
    masked = stage.parent if isinstance(stage, Child) else address
    mask = store.tensors(masked, "mask") if not isinstance(stage, Pretrain) else None
    return StoredNetwork(stage, store.tensors(address, "weights"), mask)


def build_initial(stage: StoredStage) -> nn.Module:
    """Return the module that ``stage`` trains, at its initialisation, on the CPU.

    Raises:
        UserError: When it is an own module whose file is no longer what it was.
    """
    stage.network.check_source()
    return stage.network.build(RunSeeds.of(stage.seed, stage.replicate).initialisation)


def load_images_of(networks: Sequence[StoredNetwork], dataset: DatasetSpec) -> ImageSplits:
    """Return the images that at least one of ``networks`` was trained on, read from ``dataset``.

    Raises:
        DataError: When those are other images; the first split that differs is named.
    """
    splits = load_dataset(dataset)
    found = {name: images.fingerprint for name, images in splits.named().items()}
    expected = [network.stage.data for network in networks]
    name = first_difference(found, expected)
    if name is not None:
        raise DataError(
            f"The {name} images of {dataset.name} are {found.get(name, 'missing')[:12]}. Those of "
            f"{networks[0].label} are {expected[0][name][:12]}.",
            expected="the images that the weights were trained on, with the same resolution, limit and validation",
            way_out="name the study they come from: --study STUDY, with the --set that it was run with",
        )
    return splits
