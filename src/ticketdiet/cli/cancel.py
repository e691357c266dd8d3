"""``ticketdiet cancel``: end the runs of a study on this machine, and the jobs that they have handed in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from ticketdiet.cli.options import DEFAULT_STORE, LimitArms, Settings, StoreUrl, StudyName, open_study
from ticketdiet.cli.output import warn

if TYPE_CHECKING:
    from ticketdiet.studies.cancelling import Cancelled


def cancel(
    study: StudyName, store: StoreUrl = DEFAULT_STORE, settings: Settings = None, limit_arms: LimitArms = None
) -> None:
    """End the runs of a study on this machine. They save their state first, and cancel the jobs that they handed in.

    The same run goes on later where they left off.
    """
    from ticketdiet.studies.cancelling import cancel_runs
    from ticketdiet.studies.executors.slurm import cancel_left_behind

    found = open_study(study, store, settings, limit_arms)
    done = cancel_runs(found.store, found.plan)
    for label in done.ended:
        typer.echo(f"Ended {label}.")
    left_behind = cancel_left_behind(found.store)
    if left_behind:
        typer.echo(f"Cancelled the jobs of {left_behind} run(s) that had been killed.")
    if not (done.any or left_behind):
        typer.echo(f"No run of {found.name} goes on in {found.store.url}.")
    _say_what_goes_on(done)


def _say_what_goes_on(done: Cancelled) -> None:
    for label in done.running:
        warn(f"{label} was told to end and still runs; it may be writing a large result.")
    for label in done.elsewhere:
        warn(f"{label} runs on another machine: run `ticketdiet cancel` there.")
    for label in done.programs:
        warn(f"{label} runs in a program or a notebook, or belongs to another user: end it there.")
    if done.running or done.elsewhere or done.programs:
        raise typer.Exit(1)
