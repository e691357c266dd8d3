"""``ticketdiet paper``: run the claims of the paper, and judge them by rules that were written beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ticketdiet.cli.options import (
    DEFAULT_STORE,
    Devices,
    ExecutorName,
    ExecutorsFile,
    StoreUrl,
    Threads,
    Workers,
    open_executor,
    split_devices,
    split_names,
)
from ticketdiet.cli.output import new_table, warn
from ticketdiet.cli.stopping import resumable
from ticketdiet.core.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from ticketdiet.paper.session import Paper
    from ticketdiet.reports.verdict import Verdict
    from ticketdiet.studies.executors.base import ExecutorKind


def paper(
    scale: Annotated[
        Literal["mini", "short", "full"],
        typer.Option(help="mini: CPUs, overnight; short: a tenth of the steps; full: as published."),
    ] = "mini",
    claims: Annotated[
        str | None, typer.Option(metavar="C1,C3", help="Which claims, separated by commas. The default is all.")
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            help="Network and data: cifar10-resnet20, cifar100-resnet32, cinic10-resnet56, cifar10-vgg16, ..."
        ),
    ] = "cifar10-resnet20",
    data: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Where the data are, as in parquet:PATH or folder:PATH.")
    ] = None,
    store: StoreUrl = DEFAULT_STORE,
    replicates: Annotated[
        str | None, typer.Option(metavar="A-B", help="Run only these replicates, from 0, as in 0-3. Others are left.")
    ] = None,
    rows: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Also judge on rows.csv of another machine. Repeatable."),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print what each claim takes, and run nothing.")] = False,
    rules: Annotated[bool, typer.Option("--rules", help="Print the rules of the claims, and run nothing.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Print the studies of the claims, and run nothing.")] = False,
    judge: Annotated[bool, typer.Option("--judge", help="Judge what is there, and run nothing.")] = False,
    workers: Workers = None,
    threads: Threads = None,
    device: Devices = None,
    executor: ExecutorName = None,
    executors: ExecutorsFile = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where verdicts, rows and figures go. Default: paper/RECIPE-SCALE."),
    ] = None,
) -> None:
    """Run the studies that the paper's claims need, judge the claims by their rules, and write down what came out."""
    asked = _asked(recipe, scale, claims, data, store)
    if rules or show:
        _print_rules(asked) if rules else _print_studies(asked)
        return
    with resumable():
        if plan:
            _print_plan(asked, workers, threads)
            return
        if not judge:
            chosen, place = _numbers(replicates, asked.setting.replicates), open_executor(executor, executors)
            _run(asked, chosen, workers, threads, split_devices(device), place)
        _judge(asked, rows or [], out or Path("paper") / asked.setting.name)


def _asked(recipe: str, scale: str, claims: str | None, data: str | None, store: str) -> Paper:
    from ticketdiet.paper.claims.catalog import chosen_claims
    from ticketdiet.paper.session import Paper
    from ticketdiet.paper.setting import load_setting

    setting = load_setting(recipe, scale)
    if data is not None:
        setting = setting.with_dataset(data)
    return Paper(tuple(chosen_claims(None if claims is None else split_names(claims))), setting, store)


def _numbers(text: str | None, count: int) -> range | None:
    """Read ``A-B`` or ``A``: which replicates to run."""
    if text is None:
        return None
    first, _, last = text.partition("-")
    if not (first.isdecimal() and (last or first).isdecimal() and int(first) <= int(last or first) < count):
        raise UserError(
            f"Got --replicates {text}.",
            expected=f"A-B or A, from 0 to {count - 1}",
            way_out=f"for example --replicates 0-{min(3, count - 1)}",
        )
    return range(int(first), int(last or first) + 1)


def _print_rules(asked: Paper) -> None:
    for claim in asked.claims:
        typer.echo(f"{claim.name}: {claim.statement}\n{claim.rule(asked.setting)}\n")


def _print_studies(asked: Paper) -> None:
    from ticketdiet.studies.yaml_text import write_yaml

    texts = [
        write_yaml(claim.study(asked.setting).model_dump(mode="json", exclude_unset=True)) for claim in asked.claims
    ]
    typer.echo("---\n".join(texts), nl=False)


def _print_plan(asked: Paper, workers: int | None, threads: int | None) -> None:
    from ticketdiet.paper.overview import claim_costs, time_here
    from ticketdiet.reports.table import whole_lines
    from ticketdiet.studies.time_left import duration

    table = new_table("claim", "study", ">arms", ">replicates", ">stages", ">steps", ">operations", ">one H200")
    for cost in claim_costs(asked.planned):
        numbers = [f"{number:,}" for number in (cost.arms, cost.replicates, cost.stages, cost.cost.steps)]
        table.add_row(cost.claim, cost.study, *numbers, f"{cost.cost.flops:.3g}", duration(cost.h200_seconds))
    typer.echo(whole_lines(table), nl=False)
    typer.echo(
        "The time on one H200 GPU is an estimate from float32 steps of ResNet-14, -20 and -32 measured there.",
        err=True,
    )
    rest = time_here(asked.planned.together(), workers=workers, threads=threads)
    if rest is not None:
        typer.echo(rest.in_words(), err=True)


def _run(
    asked: Paper,
    replicates: range | None,
    workers: int | None,
    threads: int | None,
    devices: list[str],
    executor: ExecutorKind | None,
) -> None:
    from ticketdiet.reports.progress import RunView
    from ticketdiet.studies.executors.base import RunOptions
    from ticketdiet.studies.forecast import forecaster

    options = RunOptions(workers=workers, devices=tuple(devices), threads=threads)
    with RunView(advise=forecaster(executor, options)) as view:
        outcome = asked.run(
            replicates, workers=workers, devices=devices, threads=threads, executor=executor, observer=view
        )
    typer.echo(f"Made {outcome.made} stages; {outcome.kept} were there already.")


def _judge(asked: Paper, files: list[Path], out: Path) -> None:
    from ticketdiet.paper.session import judge_claims

    found = asked.rows(files)
    verdicts = judge_claims(asked.claims, asked.setting, found)
    for verdict in verdicts:
        _print_verdict(verdict)
    _write(verdicts, found, out)
    if not found.empty:
        _write_page(asked, verdicts, out)
    typer.echo(f"The verdicts, their rows and the page about them are in {out}.")


def _write_page(asked: Paper, verdicts: list[Verdict], out: Path) -> None:
    """Write the page about the studies of which the store holds something."""
    from ticketdiet.core.errors import NoStore, UnknownName
    from ticketdiet.page.report import write_report
    from ticketdiet.reports.loading import load_study

    opened = []
    for verdict in verdicts:
        try:
            opened.append(load_study(verdict.study, store=asked.url))
        except (NoStore, UnknownName):  # its rows come from another machine alone
            continue
    if opened:
        write_report(opened, out, judge=lambda results: verdicts)


def _print_verdict(verdict: Verdict) -> None:
    from ticketdiet.paper.verdict_text import finding_sentence

    typer.echo(f"{verdict.claim} is {verdict.outcome}. {verdict.statement}")
    for finding in verdict.findings:
        typer.echo(f"  - {finding_sentence(finding)}")


def _write(verdicts: list[Verdict], rows: pd.DataFrame, out: Path) -> None:
    from ticketdiet.core.writing import writing
    from ticketdiet.paper.verdict_text import verdict_markdown, verdicts_json

    texts = {"verdicts.md": verdict_markdown(verdicts), "verdicts.json": verdicts_json(verdicts)}
    if rows.empty:
        warn("There are no rows to write yet.")
    else:
        texts["rows.csv"] = rows.to_csv(index=False)
    for name, text in texts.items():
        with writing(out / name):
            (out / name).write_text(text, encoding="utf-8")
