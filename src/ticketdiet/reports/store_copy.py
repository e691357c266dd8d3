"""Copying a store, or what it holds of one study, with the records that let the copy be read alone."""

from __future__ import annotations

from collections.abc import Callable

from ticketdiet.core.errors import UnknownName
from ticketdiet.store.copying import Copied, copy_results
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.record import RecordOutline, record_outlines


def copy_store(
    source: ResultStore,
    target: ResultStore,
    study: str | None = None,
    *,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> Copied:
    """Copy the results of a store, or of one study, and the records of the studies they belong to.

    Every file is compared with its checksum when it is read, and again when it is read back at the destination. States
    of unfinished stages, failures and leases are not copied.

    Args:
        source: Where the results are.
        target: Where they shall be; what is there is kept and not copied again.
        study: Name of a study that was run on ``source``, with its searches for rewinding points; None for everything.
        told: Is called with how many of the results to be copied are done, and how many there are.

    Returns:
        What was copied, what was there, and what is missing or damaged at the source.

    Raises:
        UnknownName: When no such study was run on ``source``.
        UserError: When both are the same store.
        StoreError: When a store fails; copying again goes on where it stopped.
    """
    records = _records(source, study)
    wanted = None if study is None else list(dict.fromkeys(a for record in records for a in record.addresses))
    copied = copy_results(source, target, wanted, told=told)
    for record in reversed(records):  # the one that was written last shall be that here, too
        document = source.records.read(record.name, record.digest)
        if document is not None:
            target.records.write(record.name, record.digest, document)
            target.summarise(record.name, record.digest, record.addresses)
    return copied


def _records(source: ResultStore, study: str | None) -> list[RecordOutline]:
    records = record_outlines(source)
    if study is None:
        return records
    digests = {record.digest for record in records if record.name == study and record.of == record.digest}
    if not digests:
        raise UnknownName.of("study", study, {record.name for record in records})
    return [record for record in records if record.of in digests]
