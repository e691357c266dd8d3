"""A score of every training example: the matrix of what its models say, (models, n)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ticketdiet.core.errors import StudyError
from ticketdiet.core.values import Scores
from ticketdiet.scores.extremes import class_extremes
from ticketdiet.scores.given import permute_scores
from ticketdiet.scores.noise import judge_noise_detection
from ticketdiet.studies.context import Context
from ticketdiet.studies.datasets import can_be_shown
from ticketdiet.studies.label_noise import SeenNoise
from ticketdiet.studies.planning import Planning, train_only
from ticketdiet.studies.schema import ScoreSpec
from ticketdiet.studies.stage import INPUT, ComputedStage, Result, Row, Stage, Use
from ticketdiet.studies.stages.score_model import ScoreModel, plan_models

MOST_PIXELS_SHOWN = 64  # of the height and the width of a small picture


@dataclass(frozen=True, eq=False, kw_only=True)
class Score(ComputedStage):
    """A score, the mean over its rows once they are stacked.

    Attributes:
        score: Registered name of the score.
        permuted: Seed by which the scores are permuted as a control, or None.
        label_noise: Label noise that its models saw, which the score is judged by as a detector; or None.
        model: Addresses of its rows: score models, or the barriers of families.
    """

    kind = "score"
    version = 2

    score: str
    permuted: int | None
    label_noise: SeenNoise | None
    model: tuple[str, ...] = field(metadata=INPUT)

    def compute(self, context: Context) -> Result:
        """Stack the rows."""
        stem, name = ("barrier", "train/family") if self.score == "barrier" else ("scores", "scores")
        rows = [context.store.tensors(address, stem, [name])[name].float() for address in self.model]
        scores = Scores(torch.stack(rows).numpy(), self.score, self.data["train"])
        if self.permuted is not None:
            scores = permute_scores(scores, self.permuted)
        made_by = dict(context.store.manifest(self.model[0]).spec)
        matrix = torch.from_numpy(np.ascontiguousarray(scores.matrix))
        tensors = {"scores": {"matrix": matrix}, **self._shown(context, scores)}
        return Result(tensors, self._noise_rows(context, scores), {"made_by": made_by})

    def _shown(self, context: Context, scores: Scores) -> dict[str, dict[str, Tensor]]:
        """Keep small pictures of the easiest and the hardest examples, which figures show without the data set."""
        images = context.images(self).train
        if not can_be_shown(images):
            return {}
        indices = torch.from_numpy(class_extremes(images.labels.cpu().numpy(), scores.mean))
        stride = max(1, -(-max(images.pixels.shape[2:]) // MOST_PIXELS_SHOWN))
        pixels = images.pixels[indices.to(images.pixels.device), :, ::stride, ::stride].cpu()
        return {"shown": {"indices": indices, "pixels": pixels.contiguous()}}

    def _noise_rows(self, context: Context, scores: Scores) -> tuple[Row, ...]:
        """Judge the scores as detectors of the wrong labels, where there are any."""
        if self.label_noise is None:
            return ()
        noisy, clean = context.train_images(self, self.label_noise), context.images(self).train
        changed = (noisy.labels != clean.labels).cpu().numpy()
        if not changed.any() or changed.all():
            return ()
        found = judge_noise_detection(scores, changed)
        step = context.store.manifest(self.model[0]).spec.get("steps")
        metrics = {"noise_auroc": found.auroc, "noise_precision": found.precision}
        return tuple({"step": step, "metric": metric, "split": "train", "value": v} for metric, v in metrics.items())

    @classmethod
    def plan(cls, planning: Planning, name: str, replicate: int) -> Score:
        """Return the planned score called ``name`` that ``replicate`` uses.

        Raises:
            StudyError: When it is made from an arm whose subset it chooses, or does not fit the study.
        """
        spec = planning.study.scores[name]
        if name in planning.underway:
            raise StudyError(
                f"scores.{name} is made from arm {spec.arm!r}, whose subset is chosen by scores.{name}.",
                expected="a barrier score of an arm that does not depend on it",
                way_out="name another arm",
            )
        planning.underway.append(name)
        own = replicate if spec.per_replicate else None
        rows = _barriers(planning, name, spec, own) if spec.kind == "barrier" else plan_models(planning, name, own)
        planning.underway.pop()
        first = rows[0]
        return planning.keep(
            cls(
                score=spec.kind,
                permuted=planning.seed("permuted", own or 0) if spec.permuted else None,
                label_noise=first.label_noise if isinstance(first, ScoreModel) else None,
                model=tuple(stage.address for stage in rows),
                data=train_only(planning.facts),
                dataset=planning.study.dataset,
                uses=(Use(name, -1 if own is None else own),),
                path=first.path,
            )
        )


def _barriers(planning: Planning, name: str, spec: ScoreSpec, replicate: int | None) -> list[Stage]:
    study = planning.study
    if spec.arm not in study.arms or not study.children:
        raise StudyError(
            f"scores.{name} of kind 'barrier' names arm {spec.arm!r} in a study with children: {study.children}.",
            expected=f"arm: one of {', '.join(study.arms)}, and children: 2 or more",
            way_out="name an arm and give children: the children of the arm's dense run make the barrier",
        )
    families = planning.families(planning.arms[spec.arm])
    return families if replicate is None else [families[replicate]]
