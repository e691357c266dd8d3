"""All kinds of stage by name."""

from __future__ import annotations

from collections.abc import Mapping

from ticketdiet.studies.stage import Stage
from ticketdiet.studies.stages.barrier import BarrierStage
from ticketdiet.studies.stages.child import Child
from ticketdiet.studies.stages.level import Level
from ticketdiet.studies.stages.metric import MetricStage
from ticketdiet.studies.stages.pretrain import Pretrain
from ticketdiet.studies.stages.score import Score
from ticketdiet.studies.stages.score_model import GivenScore, ScoreModel
from ticketdiet.studies.stages.sparse_training import SparseTraining
from ticketdiet.studies.stages.subset import Subset

KINDS: Mapping[str, type[Stage]] = {
    kind.kind: kind
    for kind in (
        ScoreModel,
        GivenScore,
        Score,
        Subset,
        Pretrain,
        Level,
        SparseTraining,
        Child,
        BarrierStage,
        MetricStage,
    )
}
VERSIONS: Mapping[str, int] = {name: kind.version for name, kind in KINDS.items()}
