"""``ticketdiet subset``: which examples the pre-training of an arm sees."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ticketdiet.cli.options import DEFAULT_STORE, Replicate, Settings, StoreUrl, StudyName, open_study
from ticketdiet.cli.output import new_table, print_quantiles, print_table, save_figures
from ticketdiet.core.errors import DataError

if TYPE_CHECKING:
    from ticketdiet.core.values import Images
    from ticketdiet.reports.diet_report import ChosenSubset
    from ticketdiet.studies.plan import Plan

subset_app = typer.Typer(help="Show which examples pre-training sees.", no_args_is_help=True)


@subset_app.callback()
def _subset() -> None:
    pass


@subset_app.command("show")
def subset_show(
    study: StudyName,
    arm: Annotated[str, typer.Argument(metavar="ARM", help="Name of the arm.", show_default=False)],
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    replicate: Replicate = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the figures. The default is figures/STUDY/subsets.")
    ] = None,
) -> None:
    """Print what the pre-training of an arm sees and misses; draw it, and some of its images where they are at hand."""
    from ticketdiet.reports.diet_figures import subset_figures
    from ticketdiet.reports.diet_report import read_subset

    opened = open_study(study, store, settings)
    plan = opened.plan
    subset = read_subset(plan, opened.store, arm, replicate)
    _print_subset(subset)
    figures = subset_figures(subset, _pixels(plan, subset))
    folder = out or Path("figures") / opened.name / "subsets"
    save_figures({f"{arm}_replicate{replicate}_{stem}": figure for stem, figure in figures.items()}, folder)


def _pixels(plan: Plan, subset: ChosenSubset) -> Images | None:
    """Load the images that the subset is chosen from, None where they cannot be read."""
    from ticketdiet.reports.images import loaded_images

    try:
        return loaded_images(plan, "train", subset.dataset)
    except DataError as error:
        typer.echo(f"No image is drawn, because the data set cannot be read: {error.came}", err=True)
        return None


def _print_subset(subset: ChosenSubset) -> None:
    from ticketdiet.data.subsets import subset_facts

    images = subset.images
    facts = subset_facts(subset.indices, images.labels, subset.scores, num_classes=images.num_classes)
    typer.echo(f"{subset.arm}: {facts.size:,} of {len(images):,} training examples ({facts.size / len(images):.1%})")
    missing = [images.class_names[number] for number in facts.missing_classes]
    typer.echo(f"classes missing: {', '.join(missing) if missing else 'none'}")
    table = new_table("class", ">in subset", ">in all", ">fraction of class", ">fraction of subset")
    for name, count, total in zip(images.class_names, facts.class_counts, facts.class_totals, strict=True):
        of_class = f"{count / total:.1%}" if total else ""
        table.add_row(name, f"{count:,}", f"{total:,}", of_class, f"{count / facts.size:.1%}")
    print_table(table)
    if subset.scores is not None:
        values = subset.scores.mean
        print_quantiles(subset.score_name, {"of the subset": values[subset.indices], "of all": values})
