"""Works a stage of any kind: prepare, train, finish, keep the result."""

from __future__ import annotations

from datetime import UTC, datetime

from ticketdiet.store.provenance import describe_run
from ticketdiet.studies.context import Context
from ticketdiet.studies.energy import EnergyMeter, counters_of, describe_energy
from ticketdiet.studies.stage import ComputedStage, Result, Stage, TrainingStage
from ticketdiet.training.arithmetic import reproducible


def perform(context: Context, stage: Stage) -> tuple[str, ...]:
    """Work ``stage`` and keep its result; a kept result is not made again.

    Returns:
        Warnings for the user.
    """
    if context.store.has(stage.address):
        return ()
    started = datetime.now(UTC)
    with EnergyMeter(counters_of(str(context.device))) as meter, reproducible(context.device):
        result = _worked(context, stage)
    context.store.write(
        stage.address,
        kind=stage.kind,
        version=stage.version,
        spec=stage.identity,
        inputs=stage.inputs,
        tensors=result.tensors,
        documents={"rows": [dict(row) for row in result.rows], "facts": dict(result.facts)},
        provenance=describe_run(
            started, device=str(context.device), energy=describe_energy(meter.joules(), context.sharing)
        ),
    )
    return result.warnings


def _worked(context: Context, stage: Stage) -> Result:
    if isinstance(stage, ComputedStage):
        return stage.compute(context)
    assert isinstance(stage, TrainingStage)
    training = stage.prepare(context)
    return stage.finish(context, training, context.train(stage, training))
