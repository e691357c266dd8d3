"""What a run printed and drew of a finished study: so that it is made again only when that has changed.

A small record beside the figures holds the tables, and the checksums of the figures. It names the results that they
show, by the checksums of their content, and the code that made them. It is believed only while all of this is as it
was, and while its checksum of itself fits. Reading it needs neither the rows nor a library that makes tables or draws.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ticketdiet.core.addresses import canonical_json
from ticketdiet.core.reading import open_regular, read_text
from ticketdiet.core.writing import writing
from ticketdiet.reports.titled import TitledTable
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.plan import Plan

RECORD = ".drawn.json"
LIBRARIES = ("matplotlib", "numpy", "pandas", "scipy")
FIGURES_OF_OTHERS = "ticketdiet.figures"  # entry points, as the registry of figures has them
MOST_BYTES = 10**6
_TABLES = TypeAdapter(tuple[TitledTable, ...])


@dataclass(frozen=True)
class Shown:
    """What a run showed of a study at its end.

    Attributes:
        tables: What it printed.
        figures: Files that it drew, all in one folder.
    """

    tables: tuple[TitledTable, ...]
    figures: tuple[Path, ...]


def what_is_shown(plan: Plan, store: ResultStore) -> str:
    """Return the SHA-256 of everything that tables and figures of a finished study depend on.

    That is the study, its stages and who uses them, the checksums of their results, the code of this package, and the
    versions of the libraries that make tables and draw and of packages that bring figures.

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


def read_shown(folder: Path, source: str) -> Shown | None:
    """Return what was shown of ``source`` if the figures are still in ``folder``, none missing or altered.

    Args:
        folder: Where the figures were drawn.
        source: What the tables and figures have to show, as :func:`what_is_shown` says it.
    """
    try:
        record = json.loads(read_text(folder / RECORD, most_bytes=MOST_BYTES))
        files = dict(record["files"])
        if record["shows"] != source or not files or record["checksum"] != _checksum(record):
            return None
        paths = [folder / os.path.basename(name) for name in files]
        if [_digest(path) for path in paths] != list(files.values()):
            return None
        return Shown(_TABLES.validate_python(record["tables"]), tuple(paths))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):  # none, or not as it was written
        return None


def record_shown(folder: Path, source: str, shown: Shown) -> None:
    """Note what was shown of ``source`` beside the figures, which all lie in ``folder``.

    Raises:
        UserError: When it cannot be written.
    """
    record = {
        "shows": source,
        "tables": _TABLES.dump_python(shown.tables, mode="json"),
        "files": {path.name: _digest(path) for path in shown.figures},
    }
    record["checksum"] = _checksum(record)
    with writing(folder / RECORD):
        (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _checksum(record: Mapping[str, Any]) -> str:
    return _sha256(canonical_json({name: part for name, part in record.items() if name != "checksum"}).encode())


def _digest(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@cache
def _code() -> list[str]:
    """Versions of the libraries and of figures of other packages, and the checksum of this package's source."""
    package = Path(__file__).parents[1]
    sources = b"\0".join(_named(package, path) for path in sorted(package.rglob("*.py")))
    return [*_versions(LIBRARIES), *_figures_of_others(), _sha256(sources)]


def _named(package: Path, path: Path) -> bytes:
    return path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes()


def _figures_of_others() -> list[str]:
    points = metadata.entry_points(group=FIGURES_OF_OTHERS)
    return sorted(f"{point.name} {point.value} {point.dist.version if point.dist else ''}" for point in points)


def _versions(names: Iterable[str]) -> list[str]:
    return [f"{name} {metadata.version(name)}" for name in names]
