"""``ticketdiet store``: work on whole stores."""

from __future__ import annotations

from typing import Annotated

import typer

from ticketdiet.cli.options import open_store

store_app = typer.Typer(help="Copy results from one store to another.", no_args_is_help=True)


@store_app.callback()
def store() -> None:
    """Copy results from one store to another."""


@store_app.command("copy")
def store_copy(
    source: Annotated[
        str, typer.Argument(metavar="FROM", help="A store: a folder or any fsspec URL.", show_default=False)
    ],
    target: Annotated[
        str, typer.Argument(metavar="TO", help="Another store; it is made when there is none.", show_default=False)
    ],
    study: Annotated[
        str | None, typer.Option(metavar="NAME", help="Copy only the results of this study. The default is all.")
    ] = None,
) -> None:
    """Copy results to another store and verify each; what is there is skipped, so an interrupted copy goes on."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    from ticketdiet.reports.store_copy import copy_store
    from ticketdiet.store.failures import format_bytes

    origin = open_store(source)
    destination = open_store(target, create=True)
    console = Console(stderr=True)
    # Off a terminal a bar would leave an empty line.
    with Progress(
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("copying", total=None)
        done = copy_store(
            origin, destination, study, told=lambda number, total: bar.update(task, completed=number, total=total)
        )
    for problem in done.damaged:
        typer.echo(f"damaged: {problem.address}: {problem.reason}")
    unmade = f", {done.missing:,} not made yet" if done.missing else ""
    typer.echo(
        f"{len(done.results):,} results copied ({format_bytes(done.bytes)}), {done.there:,} were there{unmade}, "
        f"{len(done.damaged):,} left out because they are damaged."
    )
    if done.damaged:
        typer.echo("Run their study again on the first store, and copy again.", err=True)
        raise typer.Exit(1)
