"""The stages of subsets: what pre-training sees, checked against data and batch before anything runs."""

from __future__ import annotations

from ticketdiet.core.errors import DataError, StudyError
from ticketdiet.core.seeds import derive_seed
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
            DataError: When it is larger than the data or smaller than a batch.
        """
        subset, batch_size = self._subset(arm), self._desk.study.pretraining(arm).batch_size
        if subset.like is not None:
            return self.size(subset.like)
        path, count = f"arms.{arm}.pretrain.subset", self._count(arm)
        size = subset.resolved_size(count)
        if size > count:
            raise DataError(
                f"{path} asks for {size} of {count} training examples.",
                expected="a subset no larger than the data",
                way_out=f"{path}.size={count} at most, or more data (dataset.limit)",
            )
        if size < batch_size:
            raise DataError(
                f"{path} has {size} examples, but a batch has {batch_size}.",
                expected="at least one whole batch (the last incomplete one is dropped)",
                way_out=f"{path}.size={batch_size} or more, or a smaller training.batch_size",
            )
        return size

    def subset(self, arm: str, replicate: int) -> Stage | None:
        """Plan the subset of an arm; None for the whole training set."""
        subset, desk = self._subset(arm), self._desk
        rule = SUBSETS.get(subset.kind)
        size = self.size(arm)
        if subset.is_everything:
            return None
        inputs = {}
        if rule.needs_scores:
            inputs["score"] = self._scores.score(self._score_name(arm, subset)).address
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
        return desk.keep("subset", spec, inputs, Use(arm, replicate), dataset=pretrain.dataset)

    def _subset(self, arm: str) -> SubsetSpec:
        return self._desk.study.arms[arm].pretrain.subset

    def _count(self, arm: str) -> int:
        dataset = self._desk.study.arms[arm].pretrain.dataset
        if dataset is None:
            return self._desk.num_train
        return self._desk.facts_of(dataset, f"arms.{arm}.pretrain.dataset").splits["train"].count

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
