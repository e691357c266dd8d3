"""``ticketdiet compare``: the paired difference of two arms, of one study or of two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ticketdiet.cli.options import (
    DEFAULT_STORE,
    RowsFile,
    RowsFormat,
    Settings,
    StoreUrl,
    Strict,
    StudyName,
    open_study,
)
from ticketdiet.cli.output import end_with, print_or_write_rows, say_what_is_left_out, warn, warn_of_mixed_machines

if TYPE_CHECKING:
    from ticketdiet.reports.reading import StudyResults
    from ticketdiet.reports.study import Study


def compare(
    study: StudyName,
    arm: Annotated[str, typer.Argument(metavar="ARM", help="The arm to judge.", show_default=False)],
    baseline: Annotated[
        str, typer.Argument(metavar="BASELINE", help="The arm that is subtracted from it.", show_default=False)
    ],
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    other: Annotated[
        str | None,
        typer.Option(
            "--with", metavar="STUDY", help="Another study on the same store that has BASELINE; --set is not for it."
        ),
    ] = None,
    metric: Annotated[str, typer.Option(help="What to compare, by its name in `ticketdiet results`.")] = "accuracy",
    split: Annotated[str, typer.Option(help="The split on which it was measured.")] = "test",
    at: Annotated[
        float | None, typer.Option(metavar="DENSITY", help="Compare only at this density, within 2 %.")
    ] = None,
    level: Annotated[int | None, typer.Option(min=0, help="Compare only this level. The default is all.")] = None,
    margin: Annotated[
        float, typer.Option(min=0, help="How much worse than dense a matching density may be, in units of the metric.")
    ] = 0.005,
    format: RowsFormat = None,
    out: RowsFile = None,
    strict: Strict = False,
) -> None:
    """Compare two arms, paired by replicate: difference, interval, exact p-value and outcome at every density."""
    from rich.console import Console

    from ticketdiet.reports.comparison import comparison_table, curve_sentences
    from ticketdiet.reports.pairing import pairing_note
    from ticketdiet.reports.statistics import compare as compare_arms
    from ticketdiet.reports.writing import choose_format

    kind = choose_format(format, out)
    opened = open_study(study, store, settings)
    second = opened if other is None else open_study(other, store)
    _check_arm(opened, arm)
    _check_arm(second, baseline)
    results = [_read(one) for one in ([opened] if other is None else [opened, second])]
    warn(pairing_note(opened.spec, second.spec))
    rows, others = results[0].rows, None if other is None else results[1].rows
    compared = compare_arms(
        rows, arm=arm, baseline=baseline, metric=metric, split=split, level=level, at=at, others=others
    )
    if kind == "table" and out is None:
        whose = "" if other is None else second.name
        chosen = {"arm": arm, "baseline": baseline, "metric": metric, "split": split, "other": whose}
        said = curve_sentences(rows, others=others, margin=margin, **chosen) if len(compared) > 1 else ()
        title = f"{opened.name}: {arm} minus {baseline}" + f" of {whose}" * bool(whose)
        table = comparison_table(compared, metric=metric, split=split, title=title, sentences=said, other=whose)
        Console().print(table)
    else:
        print_or_write_rows(compared, kind, out)
    for found in results:
        end_with(found.state, strict)


def _check_arm(study: Study, arm: str) -> None:
    from ticketdiet.core.errors import check_known

    check_known("arm", arm, study.spec.arms)


def _read(study: Study) -> StudyResults:
    """Read what there is of a study, and say on standard error what there is not."""
    found = study.results()
    say_what_is_left_out(study.name, found.state)
    warn_of_mixed_machines(study, found.plan)
    return found
