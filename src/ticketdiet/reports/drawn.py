"""Which figures lie in a folder, and what they show: so that they are drawn again only when that has changed.

A small record beside the figures names the results they were drawn from, by the checksums of their content, the code
that drew them, and every file. It is believed only while all of this is as it was. Reading it needs neither the rows
nor a drawing library.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

from ticketdiet.core.addresses import canonical_json
from ticketdiet.core.reading import open_regular, read_text
from ticketdiet.core.writing import writing
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.plan import Plan

RECORD = ".drawn.json"
LIBRARIES = ("matplotlib", "numpy", "pandas", "scipy")
MOST_BYTES = 10**6


def what_figures_show(plan: Plan, store: ResultStore) -> str:
    """Return the SHA-256 of everything that the figures of a finished study depend on.

    That is the study, its stages and who uses them, the checksums of their results, and the code of this package and
    of the libraries that draw.

    Raises:
        DamagedResult: When a result is missing or its manifest cannot be believed.
    """
    stages = [
        {
            "address": address,
            "uses": [vars(use) for use in stage.uses],
            "files": {name: record.sha256 for name, record in store.manifest(address).files.items()},
        }
        for address, stage in plan.stages.items()
    ]
    study = plan.study.model_dump(mode="json")
    return _sha256(canonical_json({"study": study, "stages": stages, "code": _code()}).encode())


def unchanged_figures(folder: Path, shows: str) -> list[Path] | None:
    """Return the figures in ``folder`` if they are those that were drawn of ``shows``, none missing or altered."""
    try:
        record = json.loads(read_text(folder / RECORD, most_bytes=MOST_BYTES))
        files = dict(record["files"])
        if record["shows"] != shows or not files:
            return None
        paths = [folder / os.path.basename(name) for name in files]
        if [_digest(path) for path in paths] != list(files.values()):
            return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):  # none, or not as it was written
        return None
    return paths


def record_figures(folder: Path, shows: str, figures: Sequence[Path]) -> None:
    """Note beside ``figures``, which all lie in ``folder``, what they were drawn of.

    Raises:
        UserError: When it cannot be written.
    """
    record = {"shows": shows, "files": {path.name: _digest(path) for path in figures}}
    with writing(folder / RECORD):
        (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _digest(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@cache
def _code() -> list[str]:
    """Versions of the libraries, and the checksum of this package's source."""
    package = Path(__file__).parents[1]
    sources = sorted(package.rglob("*.py"))
    return [*_versions(LIBRARIES), _sha256(b"\0".join(_named(package, path) for path in sources))]


def _named(package: Path, path: Path) -> bytes:
    return path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes()


def _versions(names: Iterable[str]) -> list[str]:
    return [f"{name} {metadata.version(name)}" for name in names]
