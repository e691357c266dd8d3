"""Options and arguments that several commands share, and how a command opens what they name."""

from __future__ import annotations

import enum
import errno
from typing import TYPE_CHECKING, Annotated

import typer

from ticketdiet.core.errors import StoreError, TicketDietError, UserError, shown

if TYPE_CHECKING:
    from ticketdiet.store.results import ResultStore
    from ticketdiet.studies.planner import Plan


class RowsFormat(enum.StrEnum):
    """How rows are printed or written."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


Study = Annotated[str, typer.Argument(metavar="STUDY", help="A recipe's name, or a YAML file.", show_default=False)]
StoreUrl = Annotated[
    str, typer.Option("--store", envvar="TICKETDIET_STORE", help="Where results are kept: a folder, or any fsspec URL.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the study, as training.steps=400. Repeatable."),
]
LimitArms = Annotated[
    str | None, typer.Option("--limit-arms", metavar="A,B", help="Only these arms, separated by commas.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, or cuda:N.")]
Tolerance = Annotated[
    float | None, typer.Option(help="Barrier in nats up to which an example is connected; default the study's.")
]
DEFAULT_STORE = "runs"


def open_plan(study: str, settings: list[str] | None, limit_arms: str | None = None, *, warn: bool = False) -> Plan:
    """Load the study, ask the data for their fingerprints, and plan; with ``warn``, print the warnings of the plan."""
    from ticketdiet.studies.load import load_study, only_arms
    from ticketdiet.studies.planner import plan_study

    spec = load_study(study, settings or ())
    if limit_arms is not None:
        spec = only_arms(spec, [name.strip() for name in limit_arms.split(",") if name.strip()])
    plan = plan_study(spec)
    if warn:
        for warning in plan.warnings:
            typer.echo(f"warning: {warning}", err=True)
    return plan


def open_store(url: str, *, create: bool = False) -> ResultStore:
    """Open the store for a command.

    Raises:
        UserError: When its name is none, or whatever stands behind a URL refuses it.
    """
    from ticketdiet.store.results import ResultStore

    try:
        return ResultStore.open(url, create=create)
    except Exception as error:
        if not _is_name_of_user(error) and not (_is_url(url) and not isinstance(error, TicketDietError)):
            raise
        reason = error.__cause__ or error
        raise UserError(
            f"the store {shown(url)} cannot be opened: {getattr(reason, 'strerror', None) or reason!r}.",
            expected="a folder, or a URL of a protocol that fsspec knows, with what it needs to be reached",
            way_out="correct --store or TICKETDIET_STORE",
        ) from error


def _is_url(text: str) -> bool:
    return "://" in text or "::" in text


def _is_name_of_user(error: BaseException) -> bool:
    """Say whether the store failed for its name: too long, or through something that is no folder."""
    cause = error.__cause__ if isinstance(error, StoreError) else error
    return isinstance(cause, OSError) and cause.errno in (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)
