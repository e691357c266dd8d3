"""The application: its commands, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ticketdiet import __version__
from ticketdiet.cli import border
from ticketdiet.cli.barrier import barrier
from ticketdiet.cli.cancel import cancel
from ticketdiet.cli.compare import compare
from ticketdiet.cli.cost import cost
from ticketdiet.cli.curvature import curvature
from ticketdiet.cli.data import data_app
from ticketdiet.cli.export import export
from ticketdiet.cli.figure import figure
from ticketdiet.cli.find_rewind import find_rewind
from ticketdiet.cli.gc import gc
from ticketdiet.cli.geometry import geometry
from ticketdiet.cli.import_network import import_network
from ticketdiet.cli.paper import paper
from ticketdiet.cli.per_example import per_example
from ticketdiet.cli.plan import plan
from ticketdiet.cli.report import report
from ticketdiet.cli.results import results
from ticketdiet.cli.run import run
from ticketdiet.cli.scores import scores_app
from ticketdiet.cli.status import status
from ticketdiet.cli.stopping import StoppableGroup
from ticketdiet.cli.store import store_app
from ticketdiet.cli.studies import studies_app
from ticketdiet.cli.subset import subset_app
from ticketdiet.cli.verify import verify

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


OF_A_STUDY = (
    run,
    status,
    cancel,
    plan,
    paper,
    results,
    report,
    cost,
    figure,
    compare,
    per_example,
    geometry,
    find_rewind,
)
OF_NETWORKS, OF_A_STORE = (barrier, curvature, export), (verify, gc)
for command in (*OF_A_STUDY, *OF_NETWORKS, *OF_A_STORE):
    app.command(command.__name__.replace("_", "-"))(command)
app.command("import")(import_network)
groups = {"scores": scores_app, "subset": subset_app, "studies": studies_app, "data": data_app, "store": store_app}
for name, group in groups.items():
    app.add_typer(group, name=name)


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
