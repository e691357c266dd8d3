"""``ticketdiet find-rewind``: the smallest rewinding point whose dense children are connected."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticketdiet.cli.options import (
    DEFAULT_STORE,
    Devices,
    ExecutorName,
    ExecutorsFile,
    FiguresFolder,
    Json,
    Settings,
    StoreUrl,
    StudyName,
    Tolerance,
    Workers,
    open_executor,
    open_store,
    open_study,
    split_devices,
)
from ticketdiet.cli.output import save_figures, save_json
from ticketdiet.cli.stopping import resumable
from ticketdiet.core.errors import UserError, shown

if TYPE_CHECKING:
    from ticketdiet.landscape.rewind_search import ConnectedWhen
    from ticketdiet.studies.find_rewind import FoundPoint


def find_rewind(
    study: StudyName,
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    arm: Annotated[
        str | None,
        typer.Option(help="The arm whose pre-training steps are varied. The default is the first that pre-trains."),
    ] = None,
    candidates: Annotated[
        str | None,
        typer.Option(metavar="0,5,10,...", help="Steps to choose from. The default is a series up to --max-k."),
    ] = None,
    max_k: Annotated[
        int | None, typer.Option(min=0, help="The largest step to consider. The default is half of training.")
    ] = None,
    max_barrier: Annotated[
        float | None,
        typer.Option(
            help="Call a point connected when its mean train barrier is at most this many nats. The default is the "
            "tolerance."
        ),
    ] = None,
    min_fraction: Annotated[
        float | None,
        typer.Option(help="Call a point connected when at least this fraction of the training examples is."),
    ] = None,
    tolerance: Tolerance = None,
    replicates: Annotated[int, typer.Option(min=1, help="Take every verdict from the mean of so many replicates.")] = 1,
    workers: Workers = None,
    device: Devices = None,
    executor: ExecutorName = None,
    executors: ExecutorsFile = None,
    out: FiguresFolder = None,
    json: Json = None,
) -> None:
    """Find the smallest rewinding point whose dense children are connected, by bisection over pre-training steps."""
    from ticketdiet.reports.progress import RunView
    from ticketdiet.studies.find_rewind import find_rewinding_point

    opened = open_study(study, store, settings)
    place = open_executor(executor, executors)
    rule = _rule(opened.spec.measure.tolerance if tolerance is None else tolerance, max_barrier, min_fraction)
    with resumable(), RunView() as view:
        found = find_rewinding_point(
            opened.spec,
            open_store(store, create=True),
            arm=arm,
            rule=rule,
            candidates=parse_steps(candidates),
            max_k=max_k,
            replicates=replicates,
            workers=workers,
            devices=split_devices(device),
            executor=place,
            observer=view,
        )
    _print_found(found)
    _draw(found, opened.name, out or Path("figures") / opened.name)
    save_json(_as_json(found), json)


def parse_steps(text: str | None) -> list[int] | None:
    """Read ``--candidates``.

    Returns:
        The steps, or None when the option is not given.

    Raises:
        UserError: When it is no list of whole numbers.
    """
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(
            f"--candidates is {shown(text)}.",
            expected="whole numbers of steps, separated by commas",
            way_out="--candidates 0,5,10,20,50",
        ) from None


def _rule(tolerance: float, max_barrier: float | None, min_fraction: float | None) -> ConnectedWhen:
    from ticketdiet.landscape.rewind_search import ConnectedWhen

    barrier = tolerance if max_barrier is None and min_fraction is None else max_barrier
    return ConnectedWhen(barrier, min_fraction, tolerance)


def _rule_in_words(rule: ConnectedWhen) -> str:
    parts = [] if rule.max_barrier is None else [f"mean train barrier of at most {rule.max_barrier:g} nats"]
    if rule.min_fraction is not None:
        parts.append(f"at least {100 * rule.min_fraction:g} % of the training examples connected")
    return " and ".join(parts)


def _print_found(found: FoundPoint) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"arm {found.arm}: {_rule_in_words(found.rule)}", title_justify="left", caption_justify="left")
    table.caption = (
        f"{found.children} children beside the parent, mean over {found.replicates} replicate(s); "
        f"an example is connected with a barrier of at most {found.rule.tolerance:g} nats"
    )
    for heading in ("k", "mean barrier (nats)", "connected", "verdict", "rewinding point"):
        table.add_column(heading, justify="left" if heading in ("verdict", "rewinding point") else "right")
    for e in sorted(found.answer.evidence, key=lambda evidence: evidence.k):
        verdict = "connected" if e.connected else "not connected"
        numbers = (str(e.k), f"{e.mean_barrier:.3f}", f"{100 * e.connected_fraction:.0f} %")
        table.add_row(*numbers, verdict, found.addresses[e.k][:12])
    Console().print(table)
    typer.echo(_answer(found))
    new = f"{found.made} stages were made now" if found.made else "everything was in the store already"
    typer.echo(f"cost: {found.cost.steps:,} steps, {found.cost.examples:,} examples, {found.seconds:.0f} s ({new})")
    typer.echo(
        f"A full IMP sweep over the {len(found.answer.candidates)} candidates takes {found.sweep.steps:,} steps, "
        f"{found.sweep_over_search:.1f} times as many."
    )


def _answer(found: FoundPoint) -> str:
    candidates = ", ".join(map(str, found.answer.candidates))
    if found.k is None:
        return f"No candidate is connected up to k = {found.answer.candidates[-1]} (candidates: {candidates})."
    if found.answer.below is None:
        return f"k = {found.k}: the smallest candidate is connected already (candidates: {candidates})."
    return f"k = {found.k}: this is connected, and k = {found.answer.below} is not (candidates: {candidates})."


def _draw(found: FoundPoint, study: str, folder: Path) -> None:
    from ticketdiet.reports.pair_report import evidence_figure

    evidence = [(e.k, e.mean_barrier, e.connected_fraction) for e in found.answer.evidence]
    figure = evidence_figure(
        evidence,
        k=found.k,
        max_barrier=found.rule.max_barrier,
        min_fraction=found.rule.min_fraction,
        tolerance=found.rule.tolerance,
        title=f"{study}: are dense children connected, arm {found.arm}?",
    )
    save_figures({"rewinding_point": figure}, folder)


def _as_json(found: FoundPoint) -> dict[str, Any]:
    evidence = [asdict(e) | {"address": found.addresses[e.k]} for e in found.answer.evidence]
    return {
        "arm": found.arm,
        "k": found.k,
        "below": found.answer.below,
        "candidates": list(found.answer.candidates),
        "rule": asdict(found.rule),
        "replicates": found.replicates,
        "children": found.children,
        "evidence": evidence,
        "cost": asdict(found.cost) | {"seconds": round(found.seconds, 3)},
        "sweep": asdict(found.sweep),
        "stages_made": found.made,
    }
