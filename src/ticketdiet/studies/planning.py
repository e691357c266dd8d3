"""What every kind of stage needs to be planned: the study, the facts about its data, and the stages planned so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np

from ticketdiet.core.errors import DataError
from ticketdiet.core.options import written_out
from ticketdiet.core.seeds import derive_seed
from ticketdiet.data.cache import ImageFacts
from ticketdiet.data.noise import NOISES, make_noisy
from ticketdiet.studies.datasets import dataset_facts
from ticketdiet.studies.label_noise import SeenNoise
from ticketdiet.studies.network import Network, file_digest
from ticketdiet.studies.schema import DatasetSpec, ModelSpec, NoiseSpec
from ticketdiet.studies.spec import Arm, StudySpec
from ticketdiet.studies.stage import Stage

S = TypeVar("S", bound=Stage)


class Planning:
    """A plan in the making.

    Args:
        study: A checked study.
        facts: Fingerprints, counts and shapes of data sets that are known already; others are asked.
        families: Plans the barriers of an arm's dense families, one per replicate, for scores of kind ``barrier``.

    Attributes:
        facts: Facts of the study's own data set.
        known: Facts of every data set that was asked.
        arms: Name -> arm, overrides applied.
        stages: Address -> stage, every stage after its inputs.
        warnings: What is legal and likely to mislead.
        underway: Names of the scores that are being planned, to find circles.
    """

    def __init__(
        self,
        study: StudySpec,
        facts: Mapping[DatasetSpec, ImageFacts],
        families: Callable[[Planning, Arm], list[Stage]],
    ) -> None:
        self.study, self.known = study, dict(facts)
        self.facts = self._facts_of(study.dataset)
        self.arms = {name: study.arm(name) for name in study.arms}
        self.stages: dict[str, Stage] = {}
        self.warnings: list[str] = []
        self.underway: list[str] = []
        self._families = families
        self._planned_families: dict[str, list[Stage]] = {}

    def keep(self, stage: S) -> S:
        """Take a stage into the plan; equal work that is in it already gains the uses of ``stage``."""
        known = self.stages.get(stage.address)
        if known is not None:
            assert isinstance(known, type(stage))
            stage = replace(known, uses=tuple(dict.fromkeys((*known.uses, *stage.uses))))
        self.stages[stage.address] = stage
        return stage

    def families(self, arm: Arm) -> list[Stage]:
        """Plan the barriers of the dense families of ``arm``, one per replicate; once, whoever asks."""
        if arm.name not in self._planned_families:
            self._planned_families[arm.name] = self._families(self, arm)
        return self._planned_families[arm.name]

    def network(self, model: ModelSpec) -> Network:
        """Resolve a network for the study's images."""
        return Network.of(model, self.facts)

    def seed(self, role: str, replicate: int) -> int:
        """Seed of something drawn for each replicate; that of replicate 0 is the one where all share a draw."""
        return derive_seed(self.study.seed, role, *([replicate] if replicate else []))

    def noise(self, noise: NoiseSpec, phase: str, replicate: int) -> SeenNoise | None:
        """Resolve the label noise that ``phase`` sees; None for the labels as they came."""
        if noise.is_none or noise.where not in (phase, "both"):
            return None
        options = written_out(NOISES, noise.kind, noise.kind_options)
        options.pop("path", None)
        drawn = NOISES.get(noise.kind).is_drawn
        return SeenNoise(
            kind=noise.kind,
            options=options,
            file=file_digest(noise.path) if noise.path else None,
            seed=self.seed("label_noise", replicate if noise.per_replicate else 0) if drawn else None,
        )

    def check_noise(self, noise: NoiseSpec, dataset: DatasetSpec | None = None) -> None:
        """Refuse given labels that do not fit the images of ``dataset``, by default the study's.

        Raises:
            DataError: When the file cannot be read, or does not hold one label of the data for every training example.
        """
        if noise.path is None:
            return
        facts = self.facts if dataset is None else self._facts_of(dataset)
        labels = np.zeros(facts.splits["train"].count, dtype=np.int64)
        make_noisy(labels, noise.kind, num_classes=facts.num_classes, options=noise.kind_options)

    def facts_of(self, dataset: DatasetSpec | None, path: str) -> ImageFacts:
        """Return the facts of another data set, the key ``path`` of the study; None is the study's own.

        Raises:
            DataError: When its images have another shape, or another number of classes.
        """
        if dataset is None:
            return self.facts
        facts = self._facts_of(dataset)
        if (facts.shape, facts.num_classes) != (self.facts.shape, self.facts.num_classes):
            raise DataError(
                f"{path} has {facts.num_classes} classes of {facts.shape} images.",
                expected=f"{self.facts.num_classes} classes of {self.facts.shape} images, as the study's data",
                way_out=f"give {path}.resolution, or another data set",
            )
        return facts

    def _facts_of(self, dataset: DatasetSpec) -> ImageFacts:
        if dataset not in self.known:
            self.known[dataset] = dataset_facts(dataset)
        return self.known[dataset]


def train_only(facts: ImageFacts) -> Mapping[str, str]:
    """Return the fingerprint of the training images, for a stage that reads no others."""
    return {"train": facts.fingerprints["train"]}
