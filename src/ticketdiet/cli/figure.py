"""``ticketdiet figure``: the figures of a study, all or some."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ticketdiet.cli.options import (
    DEFAULT_STORE,
    FiguresFolder,
    LimitArms,
    Settings,
    StoreUrl,
    Strict,
    StudyName,
    open_study,
)
from ticketdiet.cli.output import end_with, save_figures, say_what_is_left_out, warn_of_mixed_machines


def figure(
    study: StudyName,
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    limit_arms: LimitArms = None,
    name: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Draw only this figure, as --list calls it. Repeatable.")
    ] = None,
    list_names: Annotated[
        bool, typer.Option("--list", help="Print the names of the figures that the results allow, and draw none.")
    ] = False,
    out: FiguresFolder = None,
    strict: Strict = False,
) -> None:
    """Draw the figures of a study, as PNG and SVG."""
    from ticketdiet.reports.completeness import DRAWN
    from ticketdiet.reports.drawing import draw_figure, draw_figures

    opened = open_study(study, store, settings, limit_arms)
    found = opened.results(whole=DRAWN)
    say_what_is_left_out(opened.name, found.state)
    if list_names:
        for stem, _ in draw_figures(found):
            typer.echo(stem)
        return
    warn_of_mixed_machines(opened, found.plan)
    chosen = ((stem, draw_figure(found, stem)) for stem in name) if name else draw_figures(found)
    save_figures(chosen, out or Path("figures") / opened.name)
    end_with(found.state, strict)
