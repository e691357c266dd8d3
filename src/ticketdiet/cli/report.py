"""``ticketdiet report``: one HTML page about one study or several, from their store alone."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ticketdiet.cli.options import DEFAULT_STORE, LimitArms, Settings, StoreUrl, Strict, open_study
from ticketdiet.cli.output import say_what_is_left_out, warn_of_mixed_machines

if TYPE_CHECKING:
    from ticketdiet.reports.study import Study


def report(
    studies: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDY",
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
    plane: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ARM",
            help="Also measure the loss on the plane through the dense parent and two children of this arm. This needs "
            "the data set. Repeatable.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the page, which is DIR/index.html.")] = Path(
        "report"
    ),
    live: Annotated[
        bool, typer.Option("--live", help="Write nothing, and serve the page to this machine while the study runs.")
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="With --live: where. The default, 0, takes any free port.")
    ] = 0,
    strict: Strict = False,
) -> None:
    """Write one HTML page about a study, which works offline: verdicts, figures, cost, caveats, and all numbers."""
    from ticketdiet.page.report import write_report
    from ticketdiet.paper.recognise import verdicts_on
    from ticketdiet.reports.completeness import DRAWN, study_state

    opened = [open_study(study, store, settings, limit_arms) for study in studies]
    if live:
        _serve(opened, baseline, port)
        return
    path = write_report(opened, out, baseline=baseline, judge=verdicts_on, planes=plane or ())
    states = {study: study_state(study.plan, study.store, whole=DRAWN) for study in opened}
    for study, state in states.items():
        say_what_is_left_out(study.name, state)
        warn_of_mixed_machines(study, study.plan)
    typer.echo(f"page:    {path} ({path.stat().st_size / 1e6:.1f} MB)")
    if strict and not all(state.is_complete for state in states.values()):
        raise typer.Exit(1)


def _serve(studies: list[Study], baseline: str | None, port: int) -> None:
    """Serve the page until Ctrl-C, which is how this ends when all is well."""
    from ticketdiet.page.live import LiveReport, make_server
    from ticketdiet.paper.recognise import verdicts_on

    report = LiveReport(studies, baseline=baseline, judge=verdicts_on)
    report.page()  # what is wrong with the studies shows before anybody waits for a page
    with make_server(report, port) as server:
        host, port = server.server_address[:2]
        typer.echo(f"page:    http://{host!s}:{port}/ (Ctrl-C ends it)")
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
