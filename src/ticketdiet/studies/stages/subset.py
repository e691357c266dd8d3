"""The subset of the training examples that a phase sees, chosen by a registered rule."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from ticketdiet.core.errors import DataError, StudyError
from ticketdiet.core.seeds import derive_seed
from ticketdiet.core.values import Scores
from ticketdiet.data.cache import ImageFacts
from ticketdiet.data.subset_rules import SUBSETS
from ticketdiet.data.subsets import choose_subset, random_like
from ticketdiet.studies.context import Context
from ticketdiet.studies.label_noise import SeenNoise
from ticketdiet.studies.planning import Planning, train_only
from ticketdiet.studies.schema import DatasetSpec
from ticketdiet.studies.spec import Arm
from ticketdiet.studies.stage import INPUT, ComputedStage, Result, Use
from ticketdiet.studies.stages.score import Score
from ticketdiet.studies.subset_spec import SubsetSpec


@dataclass(frozen=True, eq=False, kw_only=True)
class Subset(ComputedStage):
    """The examples of one phase of one replicate.

    Attributes:
        rule: Registered name of the rule that chooses.
        size: Number of examples.
        balanced: Whether every class has as many.
        offset: Rank of the first example, for a window.
        strata: Number of score quantiles, for a stratified choice.
        mix: Fraction of easiest examples, for a mixture.
        classes: Classes to choose from, or None for all.
        indices: The examples themselves, or None.
        seed: Seed of the draw.
        label_noise: Label noise, where the choice depends on the labels that the phase sees.
        score: Address of the score that orders the examples.
        like: Address of the subset whose class counts are copied.
    """

    kind = "subset"
    version = 2

    rule: str
    size: int
    balanced: bool
    offset: int
    strata: int
    mix: float
    classes: tuple[int, ...] | None
    indices: tuple[int, ...] | None
    seed: int
    label_noise: SeenNoise | None
    score: str | None = field(metadata=INPUT)
    like: str | None = field(metadata=INPUT)

    def compute(self, context: Context) -> Result:
        """Choose the examples."""
        images = context.train_images(self, self.label_noise)  # with label noise where class counts depend on it
        labels = images.labels.cpu().numpy()
        if self.like is not None:
            indices = random_like(context.indices(self.like), labels, self.seed)
        else:
            names = ("size", "balanced", "seed", "offset", "strata", "mix", "classes", "indices")
            options: dict[str, Any] = {name: getattr(self, name) for name in names}
            indices = choose_subset(self._scores(context, len(labels)), kind=self.rule, labels=labels, **options)
        return Result({"subset": {"indices": torch.from_numpy(indices)}}, facts={"size": len(indices)})

    def _scores(self, context: Context, count: int) -> Scores | int:
        if self.score is None:
            return count
        matrix = context.store.tensors(self.score, "scores")["matrix"].numpy()
        scores = Scores(matrix, "stored", self.data["train"])
        scores.check_belongs_to(context.images(self).train)
        return scores


@dataclass(frozen=True)
class SubsetRequest:
    """A subset that a key of an arm asks for.

    Attributes:
        arm: The arm.
        key: The key below the arm that holds it: ``"pretrain"`` or ``"search"``.
        spec: What is asked for.
        dataset: Other images than the study's, or None.
        batch_size: Examples per step of the phase.
        noise_phase: Phase whose labels the phase sees, or None for clean labels.
    """

    arm: Arm
    key: str
    spec: SubsetSpec
    dataset: DatasetSpec | None
    batch_size: int
    noise_phase: str | None

    @classmethod
    def of_pretraining(cls, arm: Arm) -> SubsetRequest:
        """What the pre-training of ``arm`` sees."""
        pretrain, batch_size = arm.pretrain, arm.pretraining.batch_size
        return cls(arm, "pretrain", pretrain.subset, pretrain.dataset, batch_size, "pretraining")

    @property
    def path(self) -> str:
        """Path of the key in the study file."""
        return f"arms.{self.arm.name}.{self.key}.subset"

    def facts(self, planning: Planning) -> ImageFacts:
        """Facts of the images to choose from."""
        return planning.facts_of(self.dataset, f"arms.{self.arm.name}.{self.key}.dataset")

    def size(self, planning: Planning) -> int:
        """Return the number of examples that the phase sees, checked.

        Raises:
            DataError: When it is larger than the data, smaller than a batch, or a window that ends past the data.
        """
        if self.spec.like is not None:
            return SubsetRequest.of_pretraining(planning.arms[self.spec.like]).size(planning)
        count = self._candidates(planning)
        size = self.spec.resolved_size(count)
        self._check_size(size, count)
        return size

    def plan(self, planning: Planning, replicate: int) -> Subset | None:
        """Return the planned subset of a replicate; None for the whole training set.

        Raises:
            UserError: When it does not fit the data, or names no score where it needs one.
        """
        spec, rule, size = self.spec, SUBSETS.get(self.spec.kind), self.size(planning)
        if spec.is_everything:
            return None
        score = Score.plan(planning, self._score_name(planning), replicate).address if rule.needs_scores else None
        seen = self._seen_labels(planning, replicate)
        return planning.keep(
            Subset(
                rule=spec.kind,
                size=size,
                balanced=spec.balanced,
                offset=spec.offset,
                strata=spec.strata,
                mix=spec.mix,
                classes=spec.classes,
                indices=spec.indices,
                seed=derive_seed(planning.study.seed, "subset", replicate if spec.per_replicate else 0),
                label_noise=seen,
                score=score,
                like=self._like(planning, replicate),
                data=train_only(self.facts(planning)),
                dataset=self.dataset or planning.study.dataset,
                uses=(Use(self.arm.name, replicate),),
                path=None if seen is None else self.arm.label_noise.path,
            )
        )

    def _like(self, planning: Planning, replicate: int) -> str | None:
        if self.spec.like is None:
            return None
        other = SubsetRequest.of_pretraining(planning.arms[self.spec.like]).plan(planning, replicate)
        if other is None:
            raise StudyError(
                f"{self.path}.like is {self.spec.like!r}, which pre-trains on everything.",
                expected="an arm with a subset",
                way_out="name another arm, or give kind: all",
            )
        address: str = other.address
        return address

    def _seen_labels(self, planning: Planning, replicate: int) -> SeenNoise | None:
        if not self.spec.counts_seen_labels or self.noise_phase is None:
            return None
        return planning.noise(self.arm.label_noise, self.noise_phase, replicate)

    def _candidates(self, planning: Planning) -> int:
        """How many examples there are to choose from; classes and indices that do not exist are refused."""
        spec, train = self.spec, self.facts(planning).splits["train"]
        known = len(train.class_counts)
        for label in spec.classes or ():
            if not 0 <= label < known:
                raise DataError(
                    f"{self.path}.classes contains class {label}.",
                    expected=f"classes from 0 to {known - 1}",
                    way_out="see `ticketdiet data show SOURCE` for the classes",
                )
        if spec.indices is not None and max(spec.indices) >= train.count:
            raise DataError(
                f"{self.path}.indices contains example {max(spec.indices)}.",
                expected=f"indices from 0 to {train.count - 1}",
                way_out="correct the indices, which count the training examples from 0",
            )
        if spec.classes is None:
            return train.count
        return sum(train.class_counts[label] for label in set(spec.classes))

    def _check_size(self, size: int, count: int) -> None:
        path, offset = self.path, self.spec.offset
        if size > count:
            raise DataError(
                f"{path} asks for {size} of {count} training examples.",
                expected="a subset no larger than the data",
                way_out=f"give {path}.size={count} at most, or more data (dataset.limit, subset.classes)",
            )
        if self.spec.kind == "window" and offset + size > count:
            raise DataError(
                f"{path} is a window from rank {offset} to {offset + size} of {count} candidates.",
                expected=f"offset and size together at most {count}",
                way_out=f"give {path}.offset={count - size} at most, or a smaller size",
            )
        if size < self.batch_size:
            larger = f"{path}.size={self.batch_size} or more, or " if self.batch_size <= count else ""
            raise DataError(
                f"{path} has {size} examples, but a batch has {self.batch_size}.",
                expected="at least one whole batch (the last incomplete one is dropped)",
                way_out=f"give {larger}a smaller training.batch_size",
            )

    def _score_name(self, planning: Planning) -> str:
        scores = planning.study.scores
        if self.dataset is not None:
            raise StudyError(
                f"{self.path} of kind {self.spec.kind!r} would choose from {self.key}.dataset by scores of other "
                "images.",
                expected=f"kind all, random or indices where {self.key} has a data set of its own",
                way_out="score that data set in a study of its own and list the indices",
            )
        if self.spec.score is not None:
            return self.spec.score
        if len(scores) == 1:
            return next(iter(scores))
        raise StudyError(
            f"{self.path} of kind {self.spec.kind!r} names no score.",
            expected=f"score: one of {', '.join(scores) or '(scores: is empty)'}",
            way_out="declare a score under scores: and name it in the subset",
        )
