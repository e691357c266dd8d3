"""The stages of subsets: what pre-training sees, checked against data and batch before anything runs."""

from __future__ import annotations

from ticketdiet.core.errors import DataError, StudyError
from ticketdiet.core.seeds import derive_seed
from ticketdiet.data.cache import ImageFacts
from ticketdiet.data.subset_rules import SUBSETS
from ticketdiet.studies.desk import Desk, fingerprints
from ticketdiet.studies.parts import SubsetSpec
from ticketdiet.studies.plan_scores import ScorePlanner
from ticketdiet.studies.stages import Stage, Use


class SubsetPlanner:
    """Plans the subsets of arms."""

    def __init__(self, desk: Desk, scores: ScorePlanner) -> None:
        self._desk, self._scores = desk, scores

    def size(self, arm: str) -> int:
        """Number of examples that the pre-training of ``arm`` sees, checked.

        Raises:
            DataError: When it is larger than the data, smaller than a batch, or a window that ends past the data.
        """
        subset, batch_size = self._subset(arm), self._desk.study.pretraining(arm).batch_size
        if subset.like is not None:
            return self.size(subset.like)
        path, count = f"arms.{arm}.pretrain.subset", self._candidates(arm, subset)
        size = subset.resolved_size(count)
        if size > count:
            raise DataError(
                f"{path} asks for {size} of {count} training examples.",
                expected="a subset no larger than the data",
                way_out=f"{path}.size={count} at most, or more data (dataset.limit, subset.classes)",
            )
        if subset.kind == "window" and subset.offset + size > count:
            raise DataError(
                f"{path} is a window from rank {subset.offset} to {subset.offset + size} of {count} candidates.",
                expected=f"offset and size together at most {count}",
                way_out=f"{path}.offset={count - size} at most, or a smaller size",
            )
        if size < batch_size:
            larger = f"{path}.size={batch_size} or more, or " if batch_size <= count else ""
            raise DataError(
                f"{path} has {size} examples, but a batch has {batch_size}.",
                expected="at least one whole batch (the last incomplete one is dropped)",
                way_out=f"{larger}a smaller training.batch_size",
            )
        return size

    def _candidates(self, arm: str, subset: SubsetSpec) -> int:
        """How many examples there are to choose from; classes and indices that do not exist are refused."""
        path, train = f"arms.{arm}.pretrain.subset", self._facts(arm).splits["train"]
        known = len(train.class_counts)
        for label in subset.classes or ():
            if not 0 <= label < known:
                raise DataError(
                    f"{path}.classes names class {label}.",
                    expected=f"classes from 0 to {known - 1}",
                    way_out="see `ticketdiet data show SOURCE` for the classes",
                )
        if subset.indices is not None and max(subset.indices) >= train.count:
            raise DataError(
                f"{path}.indices names example {max(subset.indices)}.",
                expected=f"indices from 0 to {train.count - 1}",
                way_out="indices count the training examples from 0",
            )
        if subset.classes is None:
            return train.count
        return sum(train.class_counts[label] for label in set(subset.classes))

    def subset(self, arm: str, replicate: int) -> Stage | None:
        """Plan the subset of an arm; None for the whole training set."""
        subset, desk = self._subset(arm), self._desk
        rule = SUBSETS.get(subset.kind)
        size = self.size(arm)
        if subset.is_everything:
            return None
        inputs = {}
        if rule.needs_scores:
            inputs["score"] = self._scores.score(self._score_name(arm, subset), replicate).address
        if subset.like is not None:
            other = self.subset(subset.like, replicate)
            if other is None:
                raise StudyError(
                    f"arms.{arm}.pretrain.subset.like is {subset.like!r}, which pre-trains on everything.",
                    expected="an arm with a subset",
                    way_out="name another arm, or kind: all",
                )
            inputs["like"] = other.address
        pretrain = desk.study.arms[arm].pretrain
        data = desk.data if pretrain.dataset is None else fingerprints(desk.facts_of(pretrain.dataset, arm))
        spec = subset.model_dump(exclude={"score", "share", "per_replicate", "like"}) | {
            "size": size,
            "data": data["train"],
            "seed": derive_seed(desk.study.seed, "subset", replicate if subset.per_replicate else 0),
        }
        noise = desk.study.arm_noise(arm)
        seen = desk.noise(noise, "pretraining", replicate) if subset.counts_seen_labels else None
        if seen is not None:
            spec["label_noise"] = seen
        path = noise.path if seen is not None else None
        return desk.keep("subset", spec, inputs, Use(arm, replicate), path=path, dataset=pretrain.dataset)

    def _subset(self, arm: str) -> SubsetSpec:
        return self._desk.study.arms[arm].pretrain.subset

    def _facts(self, arm: str) -> ImageFacts:
        dataset = self._desk.study.arms[arm].pretrain.dataset
        if dataset is None:
            return self._desk.facts
        return self._desk.facts_of(dataset, f"arms.{arm}.pretrain.dataset")

    def _score_name(self, arm: str, subset: SubsetSpec) -> str:
        scores, path = self._desk.study.scores, f"arms.{arm}.pretrain.subset"
        if self._desk.study.arms[arm].pretrain.dataset is not None:
            raise StudyError(
                f"{path} of kind {subset.kind!r} would choose from pretrain.dataset by scores of other images.",
                expected="kind all, random or indices where pre-training has a data set of its own",
                way_out="score that data set in a study of its own and list the indices",
            )
        if subset.score is not None:
            return subset.score
        if len(scores) == 1:
            return next(iter(scores))
        raise StudyError(
            f"{path} of kind {subset.kind!r} names no score.",
            expected=f"score: one of {', '.join(scores) or '(scores: is empty)'}",
            way_out="declare a score under scores: and name it in the subset",
        )
