"""``find-rewind``: the smallest rewinding point whose children are connected."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticketdiet.cli.networks import Json, save_figures, save_json
from ticketdiet.cli.options import DEFAULT_STORE, Device, Settings, StoreUrl, Study, Tolerance, open_store
from ticketdiet.cli.stopping import resumable
from ticketdiet.core.errors import UserError

if TYPE_CHECKING:
    from ticketdiet.studies.rewinding_point import FoundPoint


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("find-rewind")(find_rewind)


def find_rewind(
    study: Study,
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    arm: Annotated[
        str | None, typer.Option(help="Arm whose pre-training steps are varied; default the first that pre-trains.")
    ] = None,
    candidates: Annotated[
        str | None, typer.Option(metavar="0,5,10,...", help="Steps to choose from; default a series up to --max-k.")
    ] = None,
    max_k: Annotated[
        int | None, typer.Option(min=0, help="Largest step to consider; default half of training.")
    ] = None,
    max_barrier: Annotated[
        float | None,
        typer.Option(help="Connected: mean train barrier of at most this; default the tolerance, in nats."),
    ] = None,
    min_share: Annotated[
        float | None, typer.Option(help="Connected: at least this share of the training examples is.")
    ] = None,
    tolerance: Tolerance = None,
    replicates: Annotated[int, typer.Option(min=1, help="Replicates that every verdict is the mean of.")] = 1,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that train; default one a core.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the figure; default figures/NAME.")] = None,
    json: Json = None,
    device: Device = "auto",
) -> None:
    """Find the smallest rewinding point whose dense children are connected, by bisection over pre-training steps."""
    from ticketdiet.cli.progress import RunView
    from ticketdiet.landscape.rewind_search import ConnectedWhen
    from ticketdiet.studies.executors import choose_device
    from ticketdiet.studies.load import load_study
    from ticketdiet.studies.rewinding_point import find_rewinding_point

    spec, chosen = load_study(study, settings or ()), choose_device(device)
    within = spec.measure.tolerance if tolerance is None else tolerance
    barrier = within if max_barrier is None and min_share is None else max_barrier
    rule = ConnectedWhen(barrier, min_share, within)
    with resumable(), RunView() as view:
        found = find_rewinding_point(
            spec,
            open_store(store, create=True),
            arm=arm,
            rule=rule,
            candidates=parse_steps(candidates),
            max_k=max_k,
            replicates=replicates,
            workers=workers,
            device=chosen,
            observer=view,
        )
    _print_found(found)
    _draw(found, spec.study, out or Path("figures") / spec.study)
    save_json(_as_json(found), json)


def parse_steps(text: str | None) -> list[int] | None:
    """Read ``--candidates``.

    Raises:
        UserError: When it is no list of whole numbers.
    """
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(
            f"--candidates {text!r}.", expected="whole numbers of steps", way_out="--candidates 0,5,10,20,50"
        ) from None


def _rule(found: FoundPoint) -> str:
    rule = found.rule
    parts = [] if rule.max_barrier is None else [f"mean train barrier of at most {rule.max_barrier:g} nats"]
    parts += (
        [] if rule.min_share is None else [f"at least {100 * rule.min_share:g} % of the training examples connected"]
    )
    return " and ".join(parts)


def _print_found(found: FoundPoint) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"arm {found.arm}: {_rule(found)}", title_justify="left", caption_justify="left")
    table.caption = (
        f"{found.children} children beside the parent, mean over {found.replicates} replicate(s); "
        f"an example is connected with a barrier of at most {found.rule.tolerance:g} nats"
    )
    for heading in ("k", "mean barrier (nats)", "connected", "verdict", "rewinding point"):
        table.add_column(heading, justify="left" if heading in ("verdict", "rewinding point") else "right")
    for e in sorted(found.answer.evidence, key=lambda evidence: evidence.k):
        verdict = "connected" if e.connected else "not connected"
        table.add_row(
            str(e.k), f"{e.mean_barrier:.3f}", f"{100 * e.connected_share:.0f} %", verdict, found.addresses[e.k][:12]
        )
    Console().print(table)
    typer.echo(_answer(found))
    new = f"{found.made} stages made now" if found.made else "everything was in the store already"
    typer.echo(f"cost: {found.cost.steps:,} steps, {found.cost.examples:,} examples, {found.seconds:.0f} s ({new})")
    typer.echo(
        f"a full IMP sweep over the {len(found.answer.candidates)} candidates takes {found.sweep.steps:,} steps: "
        f"{found.sweep_over_search:.1f} times as many"
    )


def _answer(found: FoundPoint) -> str:
    candidates = ", ".join(map(str, found.answer.candidates))
    if found.k is None:
        return f"No candidate is connected up to k = {found.answer.candidates[-1]} (candidates: {candidates})."
    if found.answer.below is None:
        return f"k = {found.k}: the smallest candidate is connected already (candidates: {candidates})."
    return f"k = {found.k}: connected, and k = {found.answer.below} is not (candidates: {candidates})."


def _draw(found: FoundPoint, study: str, folder: Path) -> None:
    from ticketdiet.reports.pair_report import evidence_figure

    evidence = [(e.k, e.mean_barrier, e.connected_share) for e in found.answer.evidence]
    figure = evidence_figure(
        evidence,
        k=found.k,
        max_barrier=found.rule.max_barrier,
        min_share=found.rule.min_share,
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
