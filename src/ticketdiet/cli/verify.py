"""``ticketdiet verify``: is every stored result as it was written."""

from __future__ import annotations

import typer

from ticketdiet.cli.options import DEFAULT_STORE, StoreUrl, open_store


def verify(store: StoreUrl = DEFAULT_STORE) -> None:
    """Check every stored result: its files against their checksums, and its address against what it says it is."""
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
        typer.echo("Run their study again: it sets damaged results aside, makes them again and keeps others.", err=True)
        raise typer.Exit(1)
