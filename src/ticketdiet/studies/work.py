"""Works a stage of any kind: read inputs by address, call the science, keep the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from ticketdiet.store.provenance import describe_run
from ticketdiet.studies.bench import Bench, Made
from ticketdiet.studies.stages import VERSIONS, Stage
from ticketdiet.studies.work_barriers import barrier
from ticketdiet.studies.work_scores import score, score_model, subset
from ticketdiet.studies.work_training import child, control, level, pretrain

WORKERS: Mapping[str, Callable[[Bench, Stage], Made]] = {
    "score_model": score_model,
    "score": score,
    "subset": subset,
    "pretrain": pretrain,
    "level": level,
    "control": control,
    "child": child,
    "barrier": barrier,
}


def perform(bench: Bench, stage: Stage) -> tuple[str, ...]:
    """Work ``stage`` and keep its result; returns warnings for the user. A kept result is not made again."""
    if bench.store.has(stage.address):
        return ()
    started = datetime.now(UTC)
    made = WORKERS[stage.kind](bench, stage)
    bench.store.write(
        stage.address,
        kind=stage.kind,
        version=VERSIONS[stage.kind],
        spec=stage.spec,
        inputs=stage.inputs,
        tensors=made.tensors,
        documents={"rows": [dict(row) for row in made.rows], "facts": dict(made.facts)},
        provenance=describe_run(started, device=str(bench.device)),
    )
    return made.warnings
