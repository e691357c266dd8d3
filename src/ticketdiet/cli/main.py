"""The application: its commands, and the one place where an error becomes a message and an exit code."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ticketdiet import __version__
from ticketdiet.cli import barrier, border, comparing, curvature, data, diets, examples, rewinding, store, study
from ticketdiet.cli.stopping import StoppableGroup

app = typer.Typer(
    name="ticketdiet",
    cls=StoppableGroup,
    help="Find sparse trainable networks by iterative magnitude pruning, from pre-training on a data diet.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ticketdiet {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


for module in (study, comparing, barrier, curvature, rewinding, examples, diets, data, store):
    module.add_to(app)


def main() -> None:
    """Run the command line; exit codes: 0 done, 2 the user's mistake, 1 anything else."""
    border.prepare_output()
    try:
        border.check_arguments(sys.argv[1:])
        try:
            app()
        finally:
            sys.stdout.flush()  # a full disk shows here, and not when the process has ended
    except BrokenPipeError:
        border.forsake_output()
        sys.exit(1)
    except Exception as error:
        code = border.exit_code_of(error)
        if code is None:
            raise
        sys.exit(code)
