"""The files of a store, and the errors that name them.

Layout of a store::

    ticketdiet-store.json                      version of the layout
    results/<first two digits>/<address>/      manifest.json (written last), <stem>.safetensors, <stem>.json
    studies/<name>.<digest>.json.gz            a study that was run, the facts about its data, and its stages
    summaries/<name>.<digest>.json.gz          on remote stores: what readers of a finished study need, in one object
    partial/<address>.safetensors              state of a stage that was interrupted
    failed/<address>.json                      why a stage could not be made when it was tried last
    drivers/<driver>.json                      the results that a running process needs; its time is the heartbeat
    leases/<address>.<generation>              name of the driver that works on the stage
    jobs/<run>/                                orders, notes and logs of the jobs of a cluster; no part of the store
    tmp/  damaged/                             unfinished files; damaged results. Both are collected.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from ticketdiet.core.addresses import ADDRESS_DIGITS, address_of
from ticketdiet.core.errors import DamagedResult, StoreError, UserError
from ticketdiet.store.manifest import FORMAT
from ticketdiet.store.place import Place

STORE_FILE = "ticketdiet-store.json"
ADDRESS = re.compile(rf"[0-9a-f]{{{ADDRESS_DIGITS}}}")
SHARD = re.compile(r"[0-9a-f]{2}")
DRIVER = re.compile(r"([0-9a-f]{32})\.json")
COLLECTING = "gc"  # the lease of a driver that removes results
LEASE = re.compile(rf"({ADDRESS.pattern}|{COLLECTING})\.([0-9]{{1,9}})")
LEFTOVER = re.compile(rf"({ADDRESS.pattern}|{COLLECTING}|[0-9a-f]{{32}}|probe|ticketdiet-store)\.[0-9a-f]{{32}}")
MOST_BYTES = 1 << 12  # of the store file


def store_format(place: Place) -> int | None:
    """Return the version of the layout at ``place``, None when there is no store."""
    try:
        content = place.read(STORE_FILE, MOST_BYTES)
    except FileNotFoundError:
        return None
    try:
        known = json.loads(content)["format"]
        if type(known) is not int:
            raise TypeError(f"the format {known!r} is not an integer")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError(
            f"The file {STORE_FILE} at {place.url} cannot be read.",
            expected=json.dumps({"format": FORMAT}),
            way_out="write this line to the file, and check the store with `ticketdiet verify`",
        ) from error
    if known > FORMAT:
        raise UserError(
            f"The store at {place.url} has format {known}, written by a newer ticketdiet.",
            expected=f"format {FORMAT}",
            way_out="pip install --upgrade ticketdiet, or choose another store with --store",
        )
    if known < FORMAT:
        raise UserError(
            f"The store at {place.url} has format {known}, written by an older ticketdiet.",
            expected=f"format {FORMAT}, whose results name the version of the code that made them",
            way_out="choose another store with --store, or move this one away and run its studies again",
        )
    return known


def result_path(address: str) -> str:
    """Return the directory of a result."""
    return f"results/{address[:2]}/{address}"


def partial_path(address: str) -> str:
    """Return the file of an interrupted stage."""
    require_address(address)
    return f"partial/{address}.safetensors"


def require_address(address: str) -> None:
    """Refuse everything that is not an address, before it becomes part of a path."""
    if not ADDRESS.fullmatch(address):
        raise UserError(
            f"The text {address!r} is not an address.",
            expected=f"{ADDRESS_DIGITS} hexadecimal digits",
            way_out="`ticketdiet results STUDY` and `ticketdiet plan STUDY` list addresses",
        )


def require_identity(
    address: str, kind: str, version: int, spec: Mapping[str, object], inputs: Mapping[str, str]
) -> None:
    """Refuse an address that is not the hash of the result to be stored there."""
    require_address(address)
    identity = address_of(kind, version, spec, inputs)
    if identity != address:
        raise UserError(
            f"A result of kind {kind!r} cannot be stored at {address}.",
            expected=f"{identity}, the address of its kind, version, spec and inputs",
            way_out="take the address from ticketdiet.core.addresses.address_of",
        )


def checked_stem(stem: str) -> str:
    """Return ``stem`` when it can name a file of a result."""
    assert re.fullmatch(r"[A-Za-z0-9_-]+", stem), f"{stem!r} cannot be a file stem"
    assert stem != "manifest", "manifest.json is the store's own"
    return stem


def damaged(address: str, reason: str, url: str) -> DamagedResult:
    """Make the error for a result that cannot be used."""
    return DamagedResult(
        f"The result {address} in {url} is damaged: {reason}.",
        expected="a result that matches its manifest",
        way_out="run the study again: damaged results are computed again, others are kept",
    )


def lacks(address: str, what: str, known: Iterable[str]) -> UserError:
    """Make the error for a file or tensor that a result does not have."""
    return UserError(
        f"The result {address} has no {what}.",
        expected=f"one of: {', '.join(sorted(known))}",
        way_out="check that the address is that of the result you mean",
    )
