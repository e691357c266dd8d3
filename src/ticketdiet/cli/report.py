"""``ticketdiet report``: one HTML page about one study or several, from their store alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ticketdiet.cli.options import DEFAULT_STORE, LimitArms, Settings, StoreUrl, Strict, open_study
from ticketdiet.cli.output import say_what_is_left_out, warn_of_mixed_machines


def report(
    studies: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDY...",
            help="YAML files, names of built-in studies, or names of studies that were run on the store.",
            show_default=False,
        ),
    ],
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    limit_arms: LimitArms = None,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="ARM", help="Arm that the others are compared with. The default is the first."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the page, which is DIR/index.html.")] = Path(
        "report"
    ),
    strict: Strict = False,
) -> None:
    """Write one HTML page about a study, which works offline: verdicts, figures, cost, caveats, and all numbers."""
    from ticketdiet.page.report import write_report

    opened = [open_study(study, store, settings, limit_arms) for study in studies]
    path = write_report(opened, out, baseline=baseline)
    states = {study: study.results().state for study in opened}
    for study, state in states.items():
        say_what_is_left_out(study.name, state)
        warn_of_mixed_machines(study, study.plan)
    typer.echo(f"page:    {path} ({path.stat().st_size / 1e6:.1f} MB)")
    if strict and not all(state.is_complete for state in states.values()):
        raise typer.Exit(1)
