"""``verify`` and ``gc``: is the store sound, and what in it is no longer needed."""

from __future__ import annotations

from typing import Annotated

import typer

from ticketdiet.cli.options import DEFAULT_STORE, Settings, StoreUrl, open_plan, open_store


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(verify)
    app.command()(gc)


def verify(store: StoreUrl = DEFAULT_STORE) -> None:
    """Check every stored result: its files against their checksums, its address against what it says it is."""
    from rich.console import Console
    from rich.progress import track

    results = open_store(store)
    addresses = results.addresses()
    console = Console(stderr=True)
    # Off a terminal a bar would leave an empty line.
    shown = track(addresses, "verifying", console=console, transient=True) if console.is_terminal else addresses
    states = {address: results.inspect(address) for address in shown}
    bad = {address: status for address, status in states.items() if status.state != "done"}
    for address, status in bad.items():
        typer.echo(f"{status.state}: {address}: {status.reason}")
    typer.echo(f"{len(addresses)} results, {len(bad)} damaged.")
    if bad:
        typer.echo("Run their study again: damaged results are set aside and made anew, others stay.", err=True)
        raise typer.Exit(1)


def gc(
    studies: Annotated[list[str], typer.Argument(metavar="STUDY...", help="Studies whose results stay.")],
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove results that none of the given studies and no running command reaches; asks first."""
    from ticketdiet.studies.rewinding_point import searched_addresses

    results = open_store(store)
    plans = [open_plan(study, settings) for study in studies]
    keep = {address for plan in plans for address in {*plan.stages, *searched_addresses(plan.study, results)}}
    found = results.collect(keep)
    if found.drivers:
        typer.echo(
            f"{', '.join(found.drivers)} {'is' if len(found.drivers) == 1 else 'are'} at work on {results.url}; "
            f"{found.spared} results stay that only {'it needs' if len(found.drivers) == 1 else 'they need'}."
        )
    count = len(found.addresses) + len(found.leftovers)
    if not count:
        typer.echo("Nothing to remove.")
        return
    typer.echo(
        f"{len(found.addresses)} results out of reach of {', '.join(studies)}, {len(found.leftovers)} leftovers: "
        f"{found.bytes / 1e6:.1f} MB."
    )
    if not yes and not typer.confirm("Remove them?"):
        typer.echo("Nothing was removed.")
        raise typer.Exit(1)
    found = results.collect(keep, dry_run=False)
    typer.echo(f"Removed {len(found.addresses)} results and {len(found.leftovers)} leftovers.")
