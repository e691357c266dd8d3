"""From the name of a built-in study or a YAML file to a checked study, with ``--set`` applied."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from ticketdiet.core.errors import StudyError, UnknownName, check_known, shown
from ticketdiet.core.reading import read_text
from ticketdiet.studies.spec import OverrideError, StudySpec
from ticketdiet.studies.yaml_text import MOST_CHARACTERS, MOST_LEVELS, parse_yaml, string_problem

_NAMED = ("arms", "scores")
_WHOLE_PATH = "write the whole path of the key"
_MOST_PROBLEMS = 20  # of a study that are listed
_EXAMPLES = {
    "dataset": "dataset: {name: digits}",
    "model": "model: {name: resnet20}",
    "training": "training: {steps: 400}",
    "pruning": "pruning: {fraction: 0.2, levels: 5}",
    "scores": "scores: {el2n: {kind: el2n}}",
    "arms": "arms: {all@20: {pretrain: {steps: 20}}}",
}


def builtin_names() -> list[str]:
    """Names of the built-in studies."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _builtin().iterdir() if entry.name.endswith(".yaml"))


def builtin_text(name: str) -> str:
    """Return the YAML of a built-in study, to copy and edit.

    Raises:
        UnknownName: When there is none of that name.
    """
    check_known("study", name, builtin_names())
    return (_builtin() / f"{name}.yaml").read_text(encoding="utf-8")


def is_study(study: str) -> bool:
    """Whether ``study`` names a file, or looks as if it did, or a built-in study."""
    return _looks_like_file(study) or study in builtin_names()


def load_spec(study: str, settings: Sequence[str] = ()) -> StudySpec:
    """Read, override and check a study.

    Args:
        study: Name of a built-in study, or path of a YAML file.
        settings: Overrides like ``training.steps=400``; values are YAML.

    Returns:
        The study, checked against the schema.

    Raises:
        StudyError: When the file, an override or a value is not legal; every problem is listed with its path.
        UnknownName: When ``study`` is neither a file nor a built-in study.
    """
    return parse_study(_text_of(study), settings, source=study)


def _builtin() -> Traversable:
    return resources.files("ticketdiet.studies") / "builtin"


def _looks_like_file(study: str) -> bool:
    return Path(study).suffix in (".yaml", ".yml") or "/" in study or os.path.isfile(study)


def parse_study(text: str, settings: Sequence[str] = (), *, source: str = "study") -> StudySpec:
    """Check a study given as YAML text; see ``load_spec``."""
    content = _content(text, source)
    for setting in settings:
        _apply(content, setting)
    try:
        return StudySpec.model_validate(content)
    except ValidationError as error:
        raise _study_error(source, error) from None


def _text_of(study: str) -> str:
    if not _looks_like_file(study):
        return builtin_text(study)
    try:
        return read_text(study, most_bytes=4 * MOST_CHARACTERS)
    except (OSError, ValueError) as error:
        raise StudyError(
            f"The study file {shown(study)} cannot be read: {getattr(error, 'strerror', None) or error}.",
            expected="a YAML file in UTF-8, or the name of a built-in study",
            way_out=f"check the path, or take one of the built-in studies: {', '.join(builtin_names())}",
        ) from None


def _content(text: str, source: str) -> dict[str, Any]:
    content = parse_yaml(text, source)
    if not isinstance(content, dict):
        raise StudyError(
            f"{source} is empty." if content is None else f"{source} contains a {type(content).__name__}.",
            expected="a mapping with the keys study, dataset, arms, ...",
            way_out="start from `ticketdiet studies show quickstart`; docs/study.md has every key",
        )
    return content


def _apply(content: dict[str, Any], setting: str) -> None:
    option = f"--set {shown(setting)}"
    path, equals, value = setting.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise StudyError(f"Got {option}.", expected="KEY=VALUE, for example training.steps=400", way_out=_WHOLE_PATH)
    if len(keys) > MOST_LEVELS or string_problem(path):
        problem = string_problem(path) or f"{len(keys):,} keys"
        raise StudyError(
            f"Got {option}: {problem}.", expected="a path of keys as in the study file", way_out=_WHOLE_PATH
        )
    inner: Any = content
    for depth, key in enumerate(keys[:-1]):
        if depth == 1 and keys[0] in _NAMED and key not in inner:
            raise UnknownName.of(keys[0].removesuffix("s"), key, map(str, inner))
        if inner.get(key) is None:
            inner[key] = {}
        inner = inner[key]
        if not isinstance(inner, dict):
            raise StudyError(
                f"Got {option}, but {key!r} has a value and no keys.",
                expected="a path of keys as in the study file",
                way_out="see `ticketdiet studies show quickstart` for the keys",
            )
    inner[keys[-1]] = parse_yaml(value, option)


def _study_error(source: str, error: ValidationError) -> StudyError:
    details = list(_details(error))
    problems = [f"  - {_problem(detail)}" for detail in details[:_MOST_PROBLEMS]]
    problems += [f"  - and {len(details) - _MOST_PROBLEMS:,} more"] if len(details) > _MOST_PROBLEMS else []
    return StudyError(
        f"{source} has {len(details):,} problem(s):\n" + "\n".join(problems),
        expected="keys and values as the schema has them",
        way_out="correct the keys named above; `ticketdiet studies show quickstart` is a legal study, and "
        "docs/study.md has every key",
    )


def _details(error: ValidationError) -> Iterator[Mapping[str, Any]]:
    """Every single problem; those of an override at its path."""
    for detail in error.errors():
        inner = detail.get("ctx", {}).get("error")
        if isinstance(inner, OverrideError):
            yield from ({**one, "loc": (*inner.path.split("."), *one["loc"])} for one in inner.error.errors())
        else:
            yield detail


def _problem(detail: Mapping[str, Any]) -> str:
    path = ".".join(str(part) for part in detail["loc"] if part not in ("int", "float", "[key]"))  # "": the whole
    if detail["type"] == "extra_forbidden":
        return f"{path}: unknown key; known keys: {', '.join(_known_keys(detail['loc']))}"
    if detail["type"] == "missing":
        return f"{path}: missing, and it has no default"
    message = _plain_words(detail)
    came = "" if isinstance(detail["input"], Mapping) else f" (came: {shown(detail['input'])})"
    return message if message.startswith(path) else f"{path}: {message}{came}"


def _plain_words(detail: Mapping[str, Any]) -> str:
    """What pydantic says, in the words of YAML."""
    location = detail["loc"]
    match detail["type"]:
        case "string_pattern_mismatch":
            return "expected letters, digits, _ + @ -, beginning with a letter or digit"
        case "model_type" | "dict_type" if len(location) == 1 and location[0] in _EXAMPLES:
            return f"expected keys, for example {_EXAMPLES[location[0]]}"
        case "model_type" | "dict_type":
            return f"expected keys, some of: {', '.join(_known_keys((*location, '')))}"
        case "tuple_type" | "list_type":
            return "expected a list"
        case _:
            return str(detail["msg"]).removeprefix("Value error, ")


def _known_keys(location: Sequence[str | int]) -> list[str]:
    """Keys that are legal in the place of an unknown one, found by walking the schema down the location."""
    model: type[BaseModel] = StudySpec
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        model = (_model_in(field.annotation) if field else None) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for model in map(_model_in, get_args(annotation)) if model), None)


def only_arms(study: StudySpec, names: Sequence[str]) -> StudySpec:
    """Return ``study`` with only the arms called ``names``.

    Raises:
        UnknownName: When the study has no arm of that name.
        StudyError: When none are left, or an arm's subset is like that of one left out.
    """
    for name in names:
        check_known("arm", name, study.arms)
    if not names:
        raise StudyError(
            "Got no arms.", expected="at least one arm of the study", way_out=f"name some of: {', '.join(study.arms)}"
        )
    for name in names:
        like = study.arms[name].pretrain.subset.like
        if like is not None and like not in names:
            raise StudyError(
                f"arms.{name}.pretrain.subset.like is {like!r}, which is left out.",
                expected="that arm too, for its subset",
                way_out=f"name {like!r} among the arms",
            )
    return study.model_copy(update={"arms": {name: arm for name, arm in study.arms.items() if name in names}})
