"""``ticketdiet geometry``: distances, angles and mask overlaps of the networks of a study."""

from __future__ import annotations

from typing import Annotated

import typer

from ticketdiet.cli.options import (
    DEFAULT_STORE,
    LimitArms,
    RowsFile,
    RowsFormat,
    Settings,
    StoreUrl,
    Strict,
    StudyName,
    open_study,
)
from ticketdiet.cli.output import end_with, print_or_write_rows, sound_results

NETWORKS = ("pretrain", "level", "sparse_training", "child", "barrier")


def geometry(
    study: StudyName,
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    limit_arms: LimitArms = None,
    by_tensor: Annotated[
        bool, typer.Option("--by-tensor", help="Also give sign changes and overlaps of each tensor.")
    ] = False,
    format: RowsFormat = None,
    out: RowsFile = None,
    strict: Strict = False,
) -> None:
    """Print how far the networks of a study went, the angles between children, and the overlap of masks."""
    from ticketdiet.reports.geometry_report import geometry_rows
    from ticketdiet.reports.writing import choose_format

    kind = choose_format(format, out)
    plan, results, state = sound_results(open_study(study, store, settings, limit_arms), NETWORKS)
    print_or_write_rows(geometry_rows(plan, results, by_tensor=by_tensor), kind, out)
    end_with(state, strict)
