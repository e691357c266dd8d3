"""``scores`` and ``subset``: how hard a study found its examples, and what pre-training was fed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ticketdiet.cli.options import DEFAULT_STORE, Settings, StoreUrl, Study, open_plan, open_store

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table

    from ticketdiet.core.values import Images, Scores
    from ticketdiet.reports.diet_report import ChosenSubset

scores_app = typer.Typer(help="List scores; show or export those of a study.", no_args_is_help=False)
subset_app = typer.Typer(help="Show what pre-training is fed.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name under scores: in the study.", show_default=False)]
ScoreReplicate = Annotated[int, typer.Option(min=0, help="Whose score, where each replicate has its own.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(scores_app, name="scores")
    app.add_typer(subset_app, name="subset")


@scores_app.callback(invoke_without_command=True)
def scores(context: typer.Context) -> None:
    """List the scores there are; show or export those of a study."""
    if context.invoked_subcommand is None:
        scores_list()


@scores_app.command("list")
def scores_list() -> None:
    """List the scores there are, and what high means."""
    from ticketdiet.scores.base import SCORES
    from ticketdiet.scores.catalog import score_names

    table = _table("score", "needs", "what it is")
    for name in score_names():
        found = SCORES.get(name)
        table.add_row(name, found.needs, _first_sentence(found.__doc__ or ""))
    _print(table)


def _first_sentence(docstring: str) -> str:
    line = docstring.strip().splitlines()[0] if docstring.strip() else ""
    return line.split(". ")[0].removesuffix(".").replace("``", "")


@scores_app.command("show")
def scores_show(
    study: Study,
    name: Name,
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    replicate: ScoreReplicate = 0,
    size: Annotated[int | None, typer.Option(min=1, help="Examples that count as easiest; default a tenth.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the figures; default figures/STUDY/scores.")] = None,
) -> None:
    """Print distribution, class shares and rank stability of a score; draw them, and its easiest and hardest images."""
    from ticketdiet.reports.diet_figures import save_all, score_figures
    from ticketdiet.reports.diet_report import read_scores, training_images

    plan = open_plan(study, settings)
    scores = read_scores(plan, open_store(store), name, replicate)
    images = training_images(plan)
    scores.check_belongs_to(images)
    own = plan.study.scores[name].per_replicate
    title = f"{name}, replicate {replicate}" if own else name
    size = min(size or max(1, len(images) // 10), len(images))
    models = len(scores.matrix)
    typer.echo(f"{title}: {scores.kind} of {len(scores):,} training examples, {models} model{'s' * (models > 1)}")
    _print_quantiles("quantile", {name: scores.mean})
    _print_classes(scores, images, size)
    _print_stability(scores, size)
    folder = out or Path("figures") / plan.study.study / "scores"
    prefix = f"{name}_replicate{replicate}" if own else name
    _say_where(save_all(score_figures(scores, images, title, size), folder, prefix))


@scores_app.command("export")
def scores_export(
    study: Study,
    name: Name,
    out: Annotated[Path, typer.Option(help="File to write: .csv, .parquet or .npz.", show_default=False)],
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    replicate: ScoreReplicate = 0,
) -> None:
    """Write a score in the order of the data set: a table, or .npz with fingerprint and recipe."""
    from ticketdiet.reports.diet_report import check_export, export, read_scores, training_images

    check_export(out)
    plan = open_plan(study, settings)
    scores = read_scores(plan, open_store(store), name, replicate)
    images = training_images(plan)
    scores.check_belongs_to(images)
    export(out, scores, images)
    typer.echo(f"{out} (replicate {replicate})" if plan.study.scores[name].per_replicate else str(out))


@subset_app.callback()
def _subset() -> None:
    pass


@subset_app.command("show")
def subset_show(
    study: Study,
    arm: Annotated[str, typer.Argument(metavar="ARM", help="Name of the arm.", show_default=False)],
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    replicate: Annotated[int, typer.Option(min=0, help="Which replicate.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder of the figures; default figures/STUDY/subsets.")] = None,
) -> None:
    """Print what the pre-training of an arm sees and misses; draw it, and a sheet of its images."""
    from ticketdiet.reports.diet_figures import save_all, subset_figures
    from ticketdiet.reports.diet_report import read_subset

    plan = open_plan(study, settings)
    subset = read_subset(plan, open_store(store), arm, replicate)
    _print_subset(subset)
    folder = out or Path("figures") / plan.study.study / "subsets"
    _say_where(save_all(subset_figures(subset), folder, f"{arm}_replicate{replicate}"))


def _print_subset(subset: ChosenSubset) -> None:
    from ticketdiet.data.subsets import subset_facts

    images = subset.images
    facts = subset_facts(subset.indices, images.labels, subset.scores, num_classes=images.num_classes)
    typer.echo(f"{subset.arm}: {facts.size:,} of {len(images):,} training examples ({facts.share:.1%})")
    missing = [images.class_names[number] for number in facts.missing_classes]
    typer.echo(f"classes missing: {', '.join(missing) if missing else 'none'}")
    table = _table("class", ">in subset", ">in all", ">share of class", ">share of subset")
    for name, count, total in zip(images.class_names, facts.class_counts, facts.class_totals, strict=True):
        of_class = f"{count / total:.1%}" if total else ""
        table.add_row(name, f"{count:,}", f"{total:,}", of_class, f"{count / facts.size:.1%}")
    _print(table)
    if subset.scores is not None:
        values = subset.scores.mean
        _print_quantiles(subset.score_name, {"of the subset": values[subset.indices], "of all": values})


def _print_quantiles(heading: str, rows: dict[str, np.ndarray]) -> None:
    from ticketdiet.reports.diet_report import QUANTILES, quantiles

    table = _table(heading, *(f">{name}" for name in rows))
    columns = [quantiles(values) for values in rows.values()]
    for share, *cells in zip(QUANTILES, *columns, strict=True):
        table.add_row(_percentile(share), *(f"{cell:.4g}" for cell in cells))
    _print(table)


def _percentile(share: float) -> str:
    return {0.0: "lowest", 0.5: "median", 1.0: "highest"}.get(share, f"{share:.0%}")


def _print_classes(scores: Scores, images: Images, size: int) -> None:
    from ticketdiet.reports.diet_report import class_rows

    rows = class_rows(scores, images, size)
    infinite = any(row.infinite for row in rows)
    headings = ["class", ">examples", ">mean score", f">of easiest {size:,}", f">of hardest {size:,}"]
    table = _table(*headings, *([">infinite"] if infinite else []))
    for row in rows:
        cells = [row.name, f"{row.examples:,}", f"{row.mean:.4g}", f"{row.easiest:.1%}", f"{row.hardest:.1%}"]
        table.add_row(*cells, *([f"{row.infinite:,}"] if infinite else []))
    _print(table)


def _print_stability(scores: Scores, size: int) -> None:
    from ticketdiet.reports.diet_report import stability_summary

    if len(scores.matrix) < 2:
        typer.echo("rank stability: needs two models or more")
        return
    table = _table(">models", ">Spearman with all", f">same of easiest {size:,}", ">Spearman between two groups")
    for row in stability_summary(scores, size):
        apart = "" if row.held_out_spearman is None else f"{row.held_out_spearman:.3f}"
        table.add_row(str(row.models), f"{row.spearman:.3f}", f"{row.overlap:.1%}", apart)
    _print(table)


def _table(*headings: str) -> Table:
    """Make a table; a heading that begins with ``>`` is of a column of numbers."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading.removeprefix(">"), justify="right" if heading.startswith(">") else "left")
    return table


def _print(table: Table) -> None:
    from rich.console import Console

    console = Console(markup=False, emoji=False, highlight=False)  # a class may be called [red] or :cat:
    console.print(table)
    console.print()


def _say_where(figures: list[Path]) -> None:
    for path in figures:
        typer.echo(f"figure:  {path}")
