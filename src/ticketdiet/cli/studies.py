"""``ticketdiet studies``: the built-in studies, and those that were run on a store."""

from __future__ import annotations

from typing import Annotated

import typer

from ticketdiet.cli.options import open_store
from ticketdiet.cli.output import new_table, print_table

studies_app = typer.Typer(
    help="List the built-in studies, and those that were run on a store; show one to copy and edit.",
    no_args_is_help=False,
)


@studies_app.callback(invoke_without_command=True)
def studies(
    context: typer.Context,
    store: Annotated[str | None, typer.Option(help="Also list the studies that were run on this store.")] = None,
) -> None:
    """List the built-in studies, and those that were run on a store; show one to copy and edit."""
    if context.invoked_subcommand is not None:
        return
    from ticketdiet.studies.load import builtin_names, load_spec

    for name in builtin_names():
        typer.echo(f"{name:20} {load_spec(name).description}")
    if store is not None:
        _list_recorded(store)


@studies_app.command("show")
def studies_show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a built-in study.", show_default=False)],
) -> None:
    """Print the YAML of a built-in study, to copy and edit."""
    from ticketdiet.studies.load import builtin_text

    typer.echo(builtin_text(name), nl=False)


def _list_recorded(url: str) -> None:
    from ticketdiet.reports.keeping import recorded_studies

    store = open_store(url)
    table = new_table("study", "last run (UTC)", ">stages done", ">of")
    for found in recorded_studies(store):
        time = found.time.partition("+")[0].replace("T", " ") or "cannot be read"
        table.add_row(found.name, time, f"{found.done:,}", f"{found.total:,}")
    typer.echo(f"\nStudies that were run on {store.url}:")
    print_table(table)
