"""Writes the tables of docs/study.md from the schema: every key of a study file, every kind of subset and score.

Usage:
    python scripts/write_study_reference.py           # rewrite the tables
    python scripts/write_study_reference.py --check   # exit 1 when they are not up to date
"""

from __future__ import annotations

import inspect
import json
import re
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from markers import rewrite
from ticketdiet.core.registry import Registry
from ticketdiet.data.noise import NOISES
from ticketdiet.data.subset_rules import SUBSETS
from ticketdiet.scores.base import SCORES
from ticketdiet.scores.catalog import score_names
from ticketdiet.studies.spec import StudySpec
from ticketdiet.tickets.controls import INITIAL_WEIGHTS
from ticketdiet.tickets.criteria import MASK_CRITERIA
from ticketdiet.tickets.metrics import METRICS
from ticketdiet.tickets.pruning_criteria import PRUNING_CRITERIA
from ticketdiet.tickets.restarts import RESTARTS
from ticketdiet.training.objectives import OBJECTIVES

PAGE = Path(__file__).parents[1] / "docs" / "study.md"
NAME = "NAME"
MOST_WORTH_SAYING = 10**6
TITLES = {
    "": "The study itself",
    "dataset": "`dataset`: which images",
    "model": "`model`: which network",
    "training": "`training`: how it is trained",
    "pruning": "`pruning`: how masks are found",
    "scores.NAME": "`scores.NAME`: how hard each example is",
    "arms.NAME": "`arms.NAME`: ways to the rewinding point",
    "arms.NAME.pretrain": "`arms.NAME.pretrain`: the dense phase before it",
    "arms.NAME.pretrain.subset": "`arms.NAME.pretrain.subset`: what that phase sees",
    "arms.NAME.ticket": "`arms.NAME.ticket`: the ticket, or a control of it",
    "arms.NAME.search": "`arms.NAME.search`: a mask search that costs less",
    "label_noise": "`label_noise`: wrong labels on purpose",
    "measure": "`measure`: what is measured between networks",
}
CHOICES: dict[str, Registry[Any]] = {
    "objectives": OBJECTIVES,
    "pruning criteria": PRUNING_CRITERIA,
    "mask criteria": MASK_CRITERIA,
    "initial weights": INITIAL_WEIGHTS,
    "metrics": METRICS,
    "restarts": RESTARTS,
    "noises": NOISES,
}


@dataclass(frozen=True)
class Section:
    """A table of the page.

    Attributes:
        path: Key path of the part; empty for the study itself.
        model: Its schema.
    """

    path: str
    model: type[BaseModel]

    def lines(self, homes: Mapping[type[BaseModel], str]) -> Iterator[str]:
        """Yield the lines of the table."""
        yield f"### {TITLES.get(self.path, f'`{self.path}`')}"
        yield ""
        yield "| key | value | default | meaning |"
        yield "|---|---|---|---|"
        for name, field in self.model.model_fields.items():
            cells = (f"`{joined(self.path, name)}`", kind_of(name, field, homes), default_of(field), meaning_of(field))
            yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
        yield ""


def sections() -> list[Section]:
    """Return every part of the schema once, where a study file has it first; parts before the parts within them."""
    found: dict[type[BaseModel], str] = {StudySpec: ""}
    waiting: list[tuple[str, type[BaseModel]]] = [("", StudySpec)]
    while waiting:
        path, model = waiting.pop(0)
        for name, field in model.model_fields.items():
            inner = model_in(field.annotation)
            if inner is not None:
                named = get_origin(field.annotation) is dict
                where = joined(path, f"{name}.{NAME}" if named else name)
                waiting.append((where, inner))
                if inner not in found or where.count(".") < found[inner].count("."):
                    found[inner] = where
    order = list(TITLES)
    parts = [Section(path, model) for model, path in found.items()]
    return sorted(parts, key=lambda part: order.index(part.path) if part.path in order else len(order))


def joined(path: str, name: str) -> str:
    """Return the key path of ``name`` inside ``path``."""
    return f"{path}.{name}" if path else name


def model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the part that a value is or holds, if any."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for model in map(model_in, get_args(annotation)) if model), None)


def kind_of(name: str, field: FieldInfo, homes: Mapping[type[BaseModel], str]) -> str:
    """Say what a field takes: a type with its range, the choices, or the keys of another part.

    A mapping that is checked later overrides the part that it is named after.

    Args:
        name: The key.
        field: What the schema says of it.
        homes: The parts of a study, each with the path of its keys.

    Returns:
        Markdown for a cell of a table.
    """
    inner = model_in(field.annotation)
    if inner is not None:
        of = f"keys of [`{homes[inner]}`](#{anchor(homes[inner])})"
        return f"names, each with {of}" if get_origin(field.annotation) is dict else of
    if get_origin(field.annotation) is dict:
        home = next((path for path in homes.values() if path == name), None)
        if home is None:  # options, which the class of the chosen name checks
            return "option -> value"
        return f"any keys of [`{home}`](#{anchor(home)})"
    return described(field.annotation, field.metadata)


def described(annotation: Any, limits: Iterable[object] = ()) -> str:
    """Describe a plain type in words."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return described(inside[0], inside[1:])
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in inside)
    if origin in (Union, types.UnionType):
        kinds = [described(kind, limits) for kind in inside if kind is not type(None)]
        return "number" + ranged(limits) if set(inside) == {int, float} else " or ".join(kinds)
    if origin is tuple:
        return f"list of {plural(described(inside[0]))}"
    if annotation is str and any(getattr(limit, "pattern", None) for limit in limits):
        return "name"
    words = {bool: "`true`, `false`", int: "whole number", float: "number", str: "text"}
    return words[annotation] + ranged(limits)


def plural(kind: str) -> str:
    """``whole number >= 0`` -> ``whole numbers >= 0``; choices stay."""
    return re.sub(r"^(whole number|number)", r"\1s", kind)


def ranged(limits: Iterable[object]) -> str:
    """Say the range that a number is held to; limits so high that they only catch slips are left out."""
    flat = [inner for limit in limits for inner in (getattr(limit, "metadata", None) or [limit])]
    signs = {Ge: (">=", "ge"), Gt: (">", "gt"), Le: ("<=", "le"), Lt: ("<", "lt")}
    said = [
        f"{sign} {value:g}"
        for limit in flat
        for kind, (sign, name) in signs.items()
        if isinstance(limit, kind) and (value := getattr(limit, name)) < MOST_WORTH_SAYING
    ]
    return f" {' and '.join(said)}" if said else ""


def default_of(field: FieldInfo) -> str:
    """Return the default as YAML, or that there is none."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "its defaults"
    if value is None:
        return "none"
    if value in ("", {}):
        return "empty"
    return f"`{json.dumps(value)}`" if not isinstance(value, str) else f"`{value}`"


def meaning_of(field: FieldInfo) -> str:
    """Return the description of a field, or what the part it holds is."""
    if field.description:
        return field.description
    inner = model_in(field.annotation)
    assert inner is not None, f"a field without a description: {field}"
    return first_sentence(inner)


def first_sentence(thing: object) -> str:
    """Return the first line of a docstring, as it appears in a table."""
    return (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ").replace("``", "`")


def anchor(path: str) -> str:
    """Return the anchor of a section's heading, as GitHub makes it."""
    kept = re.sub(r"[^\w\- ]", "", TITLES.get(path, path).lower())
    return kept.replace(" ", "-")


def table_of(registry: Registry[Any], names: Iterable[str]) -> Iterator[str]:
    """Yield a table of what this package registers, with what each says of itself."""
    yield "| kind | is |"
    yield "|---|---|"
    for name in names:
        thing = registry.get(name)
        if thing.__module__.startswith("ticketdiet."):
            yield f"| `{name}` | {first_sentence(thing).replace('|', chr(92) + '|')} |"


def generated() -> dict[str, str]:
    """Return everything that is written between markers, by name."""
    parts = sections()
    homes = {part.model: part.path for part in parts}
    return {
        "keys": "\n".join(line for part in parts for line in part.lines(homes)).rstrip(),
        "subsets": "\n".join(table_of(SUBSETS, SUBSETS.names())),
        "scores": "\n".join(table_of(SCORES, score_names())),
        **{name: "\n".join(table_of(registry, registry.names())) for name, registry in CHOICES.items()},
    }


if __name__ == "__main__":
    sys.exit(rewrite(PAGE, generated(), __doc__))
