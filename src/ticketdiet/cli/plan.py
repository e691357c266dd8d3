"""``ticketdiet plan``: every stage of a study, and the work that is left."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ticketdiet.cli.options import DEFAULT_STORE, LimitArms, Settings, StoreUrl, StudyName, open_study
from ticketdiet.cli.output import new_table, warn
from ticketdiet.core.errors import NoStore

if TYPE_CHECKING:
    from ticketdiet.reports.study import Study
    from ticketdiet.studies.network import Cost
    from ticketdiet.studies.plan import Plan
    from ticketdiet.studies.stage import Stage


def plan(
    study: StudyName,
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    limit_arms: LimitArms = None,
    format: Annotated[Literal["table", "json"], typer.Option(help="How to print the plan.")] = "table",
) -> None:
    """List every stage of a study, whether it is done, and the work that is left."""
    from ticketdiet.studies.network import Cost

    found = open_study(study, store, settings, limit_arms)
    planned = found.plan_on_data()
    for warning in planned.warnings:
        warn(warning)
    left = _left(found, planned)
    remaining = sum((planned.stages[address].cost for address in left), Cost())
    if format == "json":
        typer.echo(json.dumps(_as_json(found, planned, left, remaining), indent=2))
    else:
        _print(planned, left, remaining)


def _left(study: Study, planned: Plan) -> dict[str, str]:
    from ticketdiet.studies.run import stages_left

    try:
        return stages_left(planned, study.store)
    except NoStore:
        return dict.fromkeys(planned.stages, "")


def _state(stage: Stage, left: dict[str, str]) -> str:
    if stage.address not in left:
        return "done"
    return "damaged" if left[stage.address] else "left"


def _as_json(study: Study, planned: Plan, left: dict[str, str], remaining: Cost) -> dict[str, Any]:
    summary = {"stages": len(left), "steps": remaining.steps, "examples": remaining.examples, "flops": remaining.flops}
    stages = [_stage_as_json(stage, left) for stage in planned.stages.values()]
    return {"study": study.name, "store": study.url, "stages": stages, "left": summary}


def _stage_as_json(stage: Stage, left: dict[str, str]) -> dict[str, Any]:
    use = stage.uses[0]
    return {
        "kind": stage.kind,
        "arm": use.arm,
        "arms": list(dict.fromkeys(use.arm for use in stage.uses)),
        "replicate": use.replicate if use.replicate >= 0 else None,
        "level": use.level if use.level >= 0 else None,
        "model": use.model if use.model >= 0 else None,
        "address": stage.address,
        "state": _state(stage, left),
        "steps": stage.cost.steps,
        "examples": stage.cost.examples,
        "flops": stage.cost.flops,
        "inputs": dict(stage.inputs),
    }


def _print(planned: Plan, left: dict[str, str], remaining: Cost) -> None:
    from ticketdiet.reports.table import whole_lines
    from ticketdiet.studies.devices import choose_device
    from ticketdiet.studies.precision_advice import precision_advice
    from ticketdiet.studies.time_left import time_left

    table = new_table("kind", "arm", ">replicate", ">level", "address", "state", ">steps")
    for stage in planned.stages.values():
        use = stage.uses[0]
        others = len({use.arm for use in stage.uses}) - 1
        arm = f"{use.arm} model {use.model}" if use.model >= 0 else use.arm
        arms = f"{arm} +{others}" if others else arm
        numbers = [str(number) if number >= 0 else "" for number in (use.replicate, use.level)]
        table.add_row(stage.kind, arms, *numbers, stage.address, _state(stage, left), f"{stage.cost.steps:,}")
    typer.echo(whole_lines(table), nl=False)
    typer.echo(
        f"{len(planned.stages)} stages, {len(planned.stages) - len(left)} done, {len(left)} left: "
        f"{remaining.steps:,} steps, {remaining.examples:,} examples, {remaining.flops:.3g} floating-point operations."
    )
    device = choose_device("auto")
    rest = time_left(planned, left, device=device)
    for line in ("" if rest is None else rest.in_words(), precision_advice(planned, left, device=device)):
        if line:
            typer.echo(line, err=True)
