"""What a command says, on standard error, about results that are missing or damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ticketdiet.reports.completeness import StudyState
    from ticketdiet.studies.planner import Plan

Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 when results of the study are missing or damaged.")]
MOST_NAMED = 5


def say_what_is_left_out(plan: Plan, state: StudyState) -> None:
    """Say how many results are missing, with the first few, and which are damaged; nothing when all are there."""
    if state.is_complete:
        return
    total, name = len(state.stages), plan.study.study
    if state.missing:
        typer.echo(f"{name}: {len(state.missing)} of {total} results are left out, not made yet:", err=True)
        for address in state.missing[:MOST_NAMED]:
            typer.echo(f"  {state.stages[address].label} ({address})", err=True)
        if len(state.missing) > MOST_NAMED:
            typer.echo(f"  and {len(state.missing) - MOST_NAMED} more", err=True)
    if state.damaged:
        typer.echo(f"{name}: {len(state.damaged)} of {total} results are left out, damaged:", err=True)
        for address, reason in state.damaged.items():
            typer.echo(f"  {state.stages[address].label} ({address}): {reason}", err=True)
    typer.echo("`ticketdiet run` on the same study and store makes them; results that are there stay.", err=True)


def end_with(state: StudyState, strict: bool) -> None:
    """End the command with exit code 1 when ``strict`` and something was left out."""
    if strict and not state.is_complete:
        raise typer.Exit(1)
