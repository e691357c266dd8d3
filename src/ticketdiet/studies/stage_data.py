"""Stages as plain data, for records and for workers elsewhere: whoever reads them back plans the very same address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ticketdiet.studies.stage import Stage
from ticketdiet.studies.stages.catalog import KINDS


def stage_to_data(stage: Stage) -> dict[str, Any]:
    """Describe a stage, JSON-able: kind, version, address and all fields."""
    return {"kind": stage.kind, "version": stage.version, "address": stage.address, "fields": stage.fields()}


def stage_of_data(data: Mapping[str, Any]) -> Stage:
    """Return the stage that ``stage_to_data`` described.

    Args:
        data: Its description.

    Returns:
        The stage, with the same address.

    Raises:
        KeyError: When the description lacks something, or this version of the code has no such kind.
        ValueError: When this version of the code would plan it otherwise.
    """
    kind = KINDS[data["kind"]]
    stage = kind.of_fields(data["fields"])
    if kind.version != data["version"] or stage.address != data["address"]:
        raise ValueError(f"This version of the code would not plan this stage of kind {kind.kind!r}.")
    return stage
