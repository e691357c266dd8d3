"""From the name of an executor to its kind with options: from the machine file, or a kind with its defaults.

The machine file is YAML: a name for each executor, its kind, and the options of that kind::

    gpu:
      kind: slurm
      partition: gpu
      gpus_per_stage: 1
      time: 2h
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ticketdiet.core.errors import UnknownName, UserError, shown
from ticketdiet.core.folders import user_settings
from ticketdiet.core.options import make
from ticketdiet.core.reading import read_text
from ticketdiet.studies.executors import local, ray_cluster, slurm  # noqa: F401 - they register themselves
from ticketdiet.studies.executors.base import EXECUTORS, ExecutorKind
from ticketdiet.studies.yaml_text import MOST_CHARACTERS, parse_yaml

FILE = "executors.yaml"
VARIABLE = "TICKETDIET_EXECUTORS"
_EXAMPLE = "for example `gpu: {kind: slurm, partition: gpu}`; docs/cluster.md has every option"


def find_executor(name: str, file: str | os.PathLike[str] | None = None) -> ExecutorKind:
    """Return the executor called ``name``.

    Args:
        name: A name in the machine file, or the name of a kind, which then has its defaults.
        file: The machine file; by default that of ``TICKETDIET_EXECUTORS``, else ``executors.yaml`` in this folder,
            else ``executors.yaml`` in the user's folder of configurations (``~/.config/ticketdiet``).

    Returns:
        The kind with its options; nothing was started.

    Raises:
        UnknownName: When there is no such name; the message lists those of the file, and the kinds.
        UserError: When the file cannot be read, or an entry is not legal.
    """
    path = machine_file(file)
    entries = {} if path is None else _read(path)
    if name in entries:
        return _made(name, entries[name], path)
    if name in EXECUTORS:
        return make(EXECUTORS, name)
    error = UnknownName.of("executor", name, {*entries, *EXECUTORS.names()})
    where = "no machine file was found" if path is None else f"the machine file is {path}"
    raise UnknownName(error.came, expected=error.expected, way_out=f"{error.way_out} ({where})")


def machine_file(file: str | os.PathLike[str] | None = None) -> Path | None:
    """Return the path of the machine file; None when none is named and there is none."""
    named = file or os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser()
    return next((path for path in (Path(FILE), user_settings() / FILE) if path.is_file()), None)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        text = read_text(str(path), most_bytes=4 * MOST_CHARACTERS)
    except (OSError, ValueError) as error:
        raise UserError(
            f"The machine file {shown(str(path))} cannot be read: {getattr(error, 'strerror', None) or error}.",
            expected="a YAML file in UTF-8 that names executors",
            way_out=f"correct --executors or {VARIABLE}, or leave it out",
        ) from None
    content = parse_yaml(text, str(path))
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise UserError(
            f"The machine file {path} is no mapping of names to executors.",
            expected="a name for each executor, and under it `kind` and the options of that kind",
            way_out=_EXAMPLE,
        )
    return content


def _made(name: str, entry: object, path: Path | None) -> ExecutorKind:
    if not isinstance(entry, dict) or not isinstance(entry.get("kind"), str):
        raise UserError(
            f"The entry {name!r} of {path} has no kind.",
            expected=f"kind: one of {', '.join(EXECUTORS.names())}, and the options of that kind",
            way_out=_EXAMPLE,
        )
    try:
        return make(EXECUTORS, entry["kind"], {key: value for key, value in entry.items() if key != "kind"})
    except UserError as error:
        raise type(error)(
            f"The entry {name!r} of {path} is not legal. {error.came}", expected=error.expected, way_out=error.way_out
        ) from None
