"""Where a plan is drawn up: the study, what is known of its data and networks, and the stages so far."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from ticketdiet.core.errors import DataError
from ticketdiet.core.seeds import derive_seed
from ticketdiet.data.cache import ImageFacts
from ticketdiet.data.images import image_facts
from ticketdiet.data.noise import use_given_labels
from ticketdiet.studies.networks import Networks, file_digest
from ticketdiet.studies.parts import DatasetSpec, ModelSpec, NoiseSpec
from ticketdiet.studies.spec import StudySpec
from ticketdiet.studies.stages import Cost, Stage, Use


class Desk:
    """What every part of planning needs."""

    def __init__(self, study: StudySpec, facts: ImageFacts) -> None:
        self.study, self.facts, self.networks = study, facts, Networks(facts)
        self.data = fingerprints(facts)
        self.stages: dict[str, Stage] = {}
        self.warnings: list[str] = []

    def keep(
        self,
        kind: str,
        spec: dict[str, Any],
        inputs: dict[str, str],
        use: Use,
        cost: Cost = Cost(),
        *,
        path: str | None = None,
        dataset: DatasetSpec | None = None,
    ) -> Stage:
        """Take a stage into the plan; equal work that is in it already gains a user."""
        stage = Stage(kind, spec, inputs, dataset or self.study.dataset, (use,), cost, path)
        known = self.stages.get(stage.address)
        if known is not None:
            stage = replace(known, uses=tuple(dict.fromkeys((*known.uses, use))))
        self.stages[stage.address] = stage
        return stage

    def network(self, model: ModelSpec, replicate: int) -> dict[str, Any]:
        """Fields that determine data, network and all randomness of a replicate."""
        identity = self.networks.identity(model)
        return {"data": self.data, "model": identity, "seed": self.study.seed, "replicate": replicate}

    def seed(self, role: str, replicate: int) -> int:
        """Seed of something drawn for each replicate; that of replicate 0 is the one where all share a draw."""
        return derive_seed(self.study.seed, role, *([replicate] if replicate else []))

    def noise(self, noise: NoiseSpec, phase: str, replicate: int) -> dict[str, Any] | None:
        """Fields that determine the labels that ``phase`` sees; None for the labels as they came."""
        if noise.is_none or noise.where not in (phase, "both"):
            return None
        return {
            "kind": noise.kind,
            "fraction": noise.fraction,
            "file": file_digest(noise.path) if noise.path else None,
            "seed": self.seed("label_noise", replicate if noise.per_replicate else 0),
        }

    def check_noise(self, noise: NoiseSpec, dataset: DatasetSpec | None = None) -> None:
        """Refuse given labels that do not fit the images of ``dataset``, by default the study's.

        Raises:
            DataError: When the file cannot be read, or does not hold one label of the data for every training example.
        """
        if noise.path is None:
            return
        facts = self.facts if dataset is None else facts_of(dataset)
        labels = np.zeros(facts.splits["train"].count, dtype=np.int64)
        use_given_labels(labels, noise.path, num_classes=facts.num_classes)

    def facts_of(self, dataset: DatasetSpec, path: str) -> ImageFacts:
        """Ask the facts of another data set; refuse one of another shape or number of classes."""
        facts = facts_of(dataset)
        if (facts.shape, facts.num_classes) != (self.facts.shape, self.facts.num_classes):
            raise DataError(
                f"{path} has {facts.num_classes} classes of {facts.shape} images.",
                expected=f"{self.facts.num_classes} classes of {self.facts.shape} images, as the study's data",
                way_out=f"{path}.resolution, or another data set",
            )
        return facts


def fingerprints(facts: ImageFacts) -> dict[str, str]:
    """Fingerprint of every split."""
    return {name: split.fingerprint for name, split in facts.splits.items()}


@lru_cache(maxsize=4)
def facts_of(dataset: DatasetSpec) -> ImageFacts:
    """Ask the facts of a data set."""
    return image_facts(dataset.name, **dataset.model_dump(exclude={"name"}))
