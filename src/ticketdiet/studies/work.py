"""Works a stage of any kind: prepare, train, finish, keep the result."""

from __future__ import annotations

from datetime import UTC, datetime

from ticketdiet.store.provenance import describe_run
from ticketdiet.studies.context import Context
from ticketdiet.studies.energy import EnergyMeter, counters_of, describe_energy
from ticketdiet.studies.stage import ComputedStage, Result, Stage, TrainingStage
from ticketdiet.training.arithmetic import reproducible
from ticketdiet.training.distributed import present_ranks


def perform(context: Context, stage: Stage) -> tuple[str, ...]:
    """Work ``stage`` and keep its result; a kept result is not made again.

    Of several ranks that work it together, the first keeps it.

    Returns:
        Warnings for the user.
    """
    ranks = present_ranks()
    if ranks.first_says(context.store.has(stage.address)):
        return ()
    started = datetime.now(UTC)
    counters = counters_of(str(context.device), *context.partners) if ranks.is_first else ()
    with EnergyMeter(counters) as meter, reproducible(context.device):
        result = _worked(context, stage)
    if ranks.is_first:
        _keep(context, stage, result, started, meter)
    ranks.wait()
    return result.warnings


def _keep(context: Context, stage: Stage, result: Result, started: datetime, meter: EnergyMeter) -> None:
    context.store.write(
        stage.address,
        kind=stage.kind,
        version=stage.version,
        spec=stage.identity,
        inputs=stage.inputs,
        tensors=result.tensors,
        documents={"rows": [dict(row) for row in result.rows], "facts": dict(result.facts)},
        provenance=describe_run(
            started,
            device=str(context.device),
            devices=1 + len(context.partners),
            energy=describe_energy(meter.joules(), context.sharing),
        ),
    )


def _worked(context: Context, stage: Stage) -> Result:
    if isinstance(stage, ComputedStage):
        return stage.compute(context)
    assert isinstance(stage, TrainingStage)
    training = stage.prepare(context)
    return stage.finish(context, training, context.train(stage, training))
