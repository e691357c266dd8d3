"""``ticketdiet gc``: remove what no study in the store needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ticketdiet.cli.options import DEFAULT_STORE, Settings, StoreUrl, open_store, open_study

if TYPE_CHECKING:
    from ticketdiet.reports.keeping import Kept
    from ticketdiet.store.findings import Collected
    from ticketdiet.studies.record import RecordOutline


def gc(
    studies: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="STUDY",
            help="Studies whose results stay; the default is all that were run on the store.",
            show_default=False,
        ),
    ] = None,
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
) -> None:
    """Remove the results that no given study and no running command needs, and the records of other studies.

    Searches for the rewinding point of a study belong to it. The command says what it would remove, and asks.
    """
    from ticketdiet.reports.keeping import records_to_remove, what_stays

    results = open_store(store)
    kept = what_stays(results, [open_study(study, store, settings) for study in studies or ()])
    stored = results.addresses()
    found = results.collect(kept.addresses)
    records = records_to_remove(kept, found, stored)
    _say_who_works(found, results.url)
    if not (found.addresses or found.leftovers or records):
        typer.echo("Nothing to remove.")
        return
    _say_what_goes(kept, found, records, len(stored))
    if not yes:
        _ask()
    found = results.collect(kept.addresses, dry_run=False)
    for record in records_to_remove(kept, found, stored):
        results.forget_study(record.name, record.digest)
    typer.echo(f"Removed {len(found.addresses)} results and {len(found.leftovers)} leftovers.")


def _ask() -> None:
    if not typer.confirm("Remove them?"):
        typer.echo("Nothing was removed.")
        raise typer.Exit(1)


def _say_who_works(found: Collected, url: str) -> None:
    if found.drivers:
        one = len(found.drivers) == 1
        typer.echo(
            f"{', '.join(found.drivers)} {'is' if one else 'are'} at work on {url}; "
            f"{found.spared} results stay that only {'it needs' if one else 'they need'}."
        )


def _say_what_goes(kept: Kept, found: Collected, records: list[RecordOutline], stored: int) -> None:
    typer.echo(f"{stored - len(found.addresses)} results stay: those of {', '.join(kept.names) or 'no study'}.")
    typer.echo(
        f"To be removed: {len(found.addresses)} results that are not needed for these, and {len(found.leftovers)} "
        f"leftovers of interrupted runs ({found.bytes / 1e6:.1f} MB)."
    )
    for record in records:
        typer.echo(f"To be removed: the record of study {record.name}, {record.time or 'which cannot be read'}.")
