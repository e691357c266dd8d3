"""``ticketdiet scores``: the scores there are, and how hard a study found its examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ticketdiet.cli.options import DEFAULT_STORE, Replicate, Settings, StoreUrl, StudyName, open_study
from ticketdiet.cli.output import new_table, print_quantiles, print_table, save_figures

if TYPE_CHECKING:
    from ticketdiet.core.values import Images, Scores

scores_app = typer.Typer(help="List the scores there are; show or export those of a study.", no_args_is_help=False)
Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of the score under scores: in the study.", show_default=False)
]


@scores_app.callback(invoke_without_command=True)
def scores(context: typer.Context) -> None:
    """List the scores there are; show or export those of a study."""
    if context.invoked_subcommand is None:
        scores_list()


@scores_app.command("list")
def scores_list() -> None:
    """List the scores there are, and what each measures."""
    from ticketdiet.scores.base import SCORES
    from ticketdiet.scores.catalog import score_names

    table = new_table("score", "needs", "what it is")
    for name in score_names():
        found = SCORES.get(name)
        table.add_row(name, found.needs, _first_sentence(found.__doc__ or ""))
    print_table(table)


@scores_app.command("show")
def scores_show(
    study: StudyName,
    name: Name,
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    replicate: Replicate = 0,
    size: Annotated[
        int | None, typer.Option(min=1, help="How many examples count as easiest. The default is a tenth of them.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the figures. The default is figures/STUDY/scores.")
    ] = None,
) -> None:
    """Print distribution, classes and rank stability of a score; draw them, and its easiest and hardest images."""
    from ticketdiet.reports.diet_figures import read_shown, score_figures
    from ticketdiet.reports.diet_report import read_scores, score_stages
    from ticketdiet.reports.images import labelled_images

    opened = open_study(study, store, settings)
    plan = opened.plan
    scores = read_scores(plan, opened.store, name, replicate)
    images = labelled_images(plan)
    scores.check_belongs_to(images)
    own = opened.spec.scores[name].per_replicate
    title = f"{name}, replicate {replicate}" if own else name
    size = min(size or max(1, len(images) // 10), len(images))
    models = len(scores.matrix)
    typer.echo(f"{title}: {scores.kind} of {len(scores):,} training examples, {models} model{'s' * (models > 1)}")
    print_quantiles("quantile", {name: scores.mean})
    _print_classes(scores, images, size)
    _print_stability(scores, size)
    shown = read_shown(opened.store, score_stages(plan, replicate)[name])
    prefix = f"{name}_replicate{replicate}" if own else name
    figures = score_figures(scores, images, shown, title, size)
    folder = out or Path("figures") / opened.name / "scores"
    save_figures({f"{prefix}_{stem}": figure for stem, figure in figures.items()}, folder)


@scores_app.command("export")
def scores_export(
    study: StudyName,
    name: Name,
    out: Annotated[Path, typer.Option(help="File to write: .csv, .parquet, .npy or .npz.", show_default=False)],
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    replicate: Replicate = 0,
    original_order: Annotated[
        bool,
        typer.Option(
            "--original-order",
            help="One value per training example of the data set itself, NaN where limit or validation leaves one out.",
        ),
    ] = False,
) -> None:
    """Write a score in the order of the training images: a table, an array, or .npz with fingerprint and origin."""
    from ticketdiet.reports.diet_report import check_export, export
    from ticketdiet.reports.images import labelled_images

    check_export(out, original_order)
    opened = open_study(study, store, settings)
    scores = opened.scores(name, replicate)
    images = labelled_images(opened.plan)
    scores.check_belongs_to(images)
    export(out, scores, images, opened.spec.dataset if original_order else None)
    typer.echo(f"{out} (replicate {replicate})" if opened.spec.scores[name].per_replicate else str(out))


def _first_sentence(docstring: str) -> str:
    line = docstring.strip().splitlines()[0] if docstring.strip() else ""
    return line.split(". ")[0].removesuffix(".").replace("``", "")


def _print_classes(scores: Scores, images: Images, size: int) -> None:
    from ticketdiet.reports.diet_report import class_rows

    rows = class_rows(scores, images, size)
    infinite = any(row.infinite for row in rows)
    headings = ["class", ">examples", ">mean score", f">of easiest {size:,}", f">of hardest {size:,}"]
    table = new_table(*headings, *([">infinite"] if infinite else []))
    for row in rows:
        cells = [row.name, f"{row.examples:,}", f"{row.mean:.4g}", f"{row.easiest:.1%}", f"{row.hardest:.1%}"]
        table.add_row(*cells, *([f"{row.infinite:,}"] if infinite else []))
    print_table(table)


def _print_stability(scores: Scores, size: int) -> None:
    from ticketdiet.reports.diet_report import stability_summary

    if len(scores.matrix) < 2:
        typer.echo("rank stability: it needs two models or more")
        return
    table = new_table(">models", ">Spearman with all", f">same of easiest {size:,}", ">Spearman between two groups")
    for row in stability_summary(scores, size):
        apart = "" if row.held_out_spearman is None else f"{row.held_out_spearman:.3f}"
        table.add_row(str(row.models), f"{row.spearman:.3f}", f"{row.overlap:.1%}", apart)
    print_table(table)
