"""Which results of a store the studies in it need, and what is left when the others go."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ticketdiet.reports.study import Study
from ticketdiet.store.findings import Collected
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.record import RecordOutline, record_outlines, study_digest


@dataclass(frozen=True)
class Kept:
    """What stays in a store.

    Attributes:
        names: Studies whose results stay, each once.
        addresses: Results that they need.
        dropped: Records of the other studies, which go with their results.
    """

    names: tuple[str, ...]
    addresses: frozenset[str]
    dropped: tuple[RecordOutline, ...]


@dataclass(frozen=True)
class RecordedStudy:
    """A study as a store lists it, with its searches for a rewinding point and the runs of some of its arms.

    Attributes:
        name: Its name.
        time: When it was run last, ISO 8601 in UTC; empty when its record cannot be read.
        done: Stages that are in the store and can be used.
        total: Stages of all its plans.
    """

    name: str
    time: str
    done: int
    total: int


def what_stays(store: ResultStore, studies: Sequence[Study] = ()) -> Kept:
    """Say what of a store ``studies`` need: their plans, and all that was recorded of them.

    Args:
        store: Where the results are.
        studies: Those that are kept; none for all that the store has recorded.

    Returns:
        Names, addresses that stay, and records that go.
    """
    records, digests = record_outlines(store), {study_digest(study.spec) for study in studies}
    kept = [record for record in records if record.of in digests or (not studies and record.time)]
    addresses = {address for record in kept for address in record.addresses}
    addresses |= {address for study in studies for address in study.plan.stages}
    names = [study.name for study in studies] or [record.name for record in kept]
    dropped = tuple(record for record in records if record not in kept)
    return Kept(tuple(dict.fromkeys(names)), frozenset(addresses), dropped)


def records_to_remove(kept: Kept, found: Collected, stored: Collection[str]) -> list[RecordOutline]:
    """Return the dropped records none of whose results stays on behalf of a running command.

    Args:
        kept: What stays.
        found: What a collection removes or has removed.
        stored: Addresses that were in the store before it.
    """
    spared = set(stored) - kept.addresses - set(found.addresses)
    return [record for record in kept.dropped if spared.isdisjoint(record.addresses)]


def recorded_studies(store: ResultStore) -> list[RecordedStudy]:
    """List the studies that were run on ``store``, the one run last first."""
    groups: dict[str, list[RecordOutline]] = {}
    for record in record_outlines(store):
        groups.setdefault(record.of, []).append(record)
    return [_listed(store, group) for group in groups.values()]


def _listed(store: ResultStore, records: Sequence[RecordOutline]) -> RecordedStudy:
    addresses = {address for record in records for address in record.addresses}
    done = sum(status.state == "done" for status in store.statuses(addresses).values())
    return RecordedStudy(records[0].name, max(record.time for record in records), done, len(addresses))
