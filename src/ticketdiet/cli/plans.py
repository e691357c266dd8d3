"""How a plan is printed."""

from __future__ import annotations

import json
from typing import Any

import typer
from rich.table import Table

from ticketdiet.cli.options import open_store
from ticketdiet.core.errors import UserError
from ticketdiet.reports.table import whole_lines
from ticketdiet.studies.executors import choose_device
from ticketdiet.studies.planner import Plan
from ticketdiet.studies.precision_advice import precision_advice
from ticketdiet.studies.run import stages_left
from ticketdiet.studies.stages import Cost, Stage


def print_plan(plan: Plan, store_url: str, *, as_json: bool) -> None:
    """Print every stage and the work left, as a table or as JSON."""
    left = _left(plan, store_url)
    remaining = sum((plan.stages[address].cost for address in left), Cost())
    if as_json:
        stages = [_as_json(stage, left) for stage in plan.stages.values()]
        summary = {
            "stages": len(left),
            "steps": remaining.steps,
            "examples": remaining.examples,
            "flops": remaining.flops,
        }
        document = {"study": plan.study.study, "store": store_url, "stages": stages, "left": summary}
        typer.echo(json.dumps(document, indent=2))
        return
    _print_table(plan, left)
    typer.echo(
        f"{len(plan.stages)} stages, {len(plan.stages) - len(left)} done, {len(left)} left: {remaining.steps:,} steps, "
        f"{remaining.examples:,} examples, {remaining.flops:.3g} floating-point operations."
    )
    advice = precision_advice(plan, left, device=choose_device("auto"))
    if advice:
        typer.echo(advice, err=True)


def _left(plan: Plan, store_url: str) -> dict[str, str]:
    try:
        store = open_store(store_url)
    except UserError as error:
        if "there is no store" not in error.came:
            raise
        return dict.fromkeys(plan.stages, "")
    return stages_left(plan, store)


def _state(stage: Stage, left: dict[str, str]) -> str:
    if stage.address not in left:
        return "done"
    return "damaged" if left[stage.address] else "left"


def _as_json(stage: Stage, left: dict[str, str]) -> dict[str, Any]:
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


def _print_table(plan: Plan, left: dict[str, str]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("kind", "arm", "replicate", "level", "address", "state", "steps"):
        is_number = heading in ("replicate", "level", "steps")
        table.add_column(heading, no_wrap=True, justify="right" if is_number else "left")
    for stage in plan.stages.values():
        use = stage.uses[0]
        others = len({use.arm for use in stage.uses}) - 1
        arm = f"{use.arm} model {use.model}" if use.model >= 0 else use.arm
        arms = f"{arm} +{others}" if others else arm
        numbers = [str(number) if number >= 0 else "" for number in (use.replicate, use.level)]
        table.add_row(stage.kind, arms, *numbers, stage.address, _state(stage, left), f"{stage.cost.steps:,}")
    typer.echo(whole_lines(table), nl=False)
