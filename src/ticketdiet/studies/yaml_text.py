"""The one place that reads and writes YAML: study files, and the values of ``--set``.

Plain YAML 1.1 as PyYAML reads it, but bounded: what a text may expand to is limited before anything is made of it, so
that no text takes long or ends in a traceback. Only mappings, lists, strings, numbers, booleans and null are known;
dates are strings, and tags, merge keys and keys that are given twice are refused.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import yaml

from ticketdiet.core.errors import StudyError

MOST_CHARACTERS = 500_000  # room for the indices of a subset of 60 000 examples
MOST_LEVELS = 40
MOST_VALUES = 250_000  # with everything that aliases stand for
MOST_STRING = 10_000
MOST_DIGITS = 100
_TAG = "tag:yaml.org,2002:"
_NULL, _STR, _SEQ, _MAP = (_TAG + kind for kind in ("null", "str", "seq", "map"))
_NUMBERS = {_TAG + "int": "whole number", _TAG + "float": "number", _TAG + "bool": "truth value"}
_KNOWN = {_NULL, _STR, *_NUMBERS}
_MERGE = "<<"


def parse_yaml(text: str, source: str) -> Any:
    """Return the value of a YAML text.

    Args:
        text: The text.
        source: What it is, for messages: a file name, or the option it came with.

    Returns:
        Nested dicts and lists that share nothing, with str, int, float, bool and None in them.

    Raises:
        StudyError: When it is not YAML, too large, or holds what a study cannot hold; the line is named.
    """
    if len(text) > MOST_CHARACTERS:
        raise StudyError(
            f"{source} has {len(text):,} characters.",
            expected=f"at most {MOST_CHARACTERS:,} characters",
            way_out="shorten it; long lists of examples can be a score file",
        )
    try:
        return _parse(text)
    except _Refused as error:
        refusal = _as_study_error(error, text, source)
        raise refusal from None


def write_yaml(content: Any) -> str:
    """Return the YAML text of nested dicts, lists and plain values, in their order."""
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120))


class _Refused(Exception):
    """A text that cannot be used: why, and where if that is known."""

    def __init__(self, problem: str, mark: yaml.Mark | None = None, line: int | None = None) -> None:
        super().__init__(problem)
        self.problem, self.mark = problem, mark
        self.line = mark.line + 1 if mark else line


def _as_study_error(error: _Refused, text: str, source: str) -> StudyError:
    place = "" if error.line is None or "\n" not in text.strip() else f", line {error.line}"
    snippet = error.mark.get_snippet(indent=2) if error.mark else None
    return StudyError(
        f"{source}{place}: {error.problem}." + (f"\n{snippet}" if snippet else ""),
        expected="YAML of mappings, lists, strings, numbers, true, false and null",
        way_out="correct this place; docs/study.md describes study files",
    )


def _parse(text: str) -> Any:
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        line = 1 + text.count("\n", 0, error.position)
        raise _Refused(f"the character {chr(error.character)!r} is not allowed in YAML", line=line) from None
    try:
        node = loader.get_single_node()
        return None if node is None else loader.value_of(node)
    except yaml.MarkedYAMLError as error:
        context = f" ({error.context})" if error.context else ""
        raise _Refused(f"{error.problem}{context}", error.problem_mark or error.context_mark) from None
    except (ValueError, OverflowError) as error:  # an escape or a directive with an impossible number
        raise _Refused(f"this is not YAML: {error}", loader.get_mark()) from None
    finally:
        loader.dispose()


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """What tells a plain scalar's type by its first character, as PyYAML does, without dates and merge keys."""
    every = yaml.SafeLoader.yaml_implicit_resolvers
    return {first: [(tag, form) for tag, form in forms if tag in _KNOWN] for first, forms in every.items()}


class _Loader(yaml.SafeLoader):
    """Composes nodes within the limits, and makes values of them."""

    yaml_implicit_resolvers = _resolvers()

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._open = 0
        self._extents: dict[yaml.Node, tuple[int, int]] = {}  # levels and values below a node, aliases expanded

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node:
        """Compose the next node; called by PyYAML for every node of the text, children before their parents end."""
        mark: yaml.Mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self._open >= MOST_LEVELS:
            raise _Refused(f"there are more than {MOST_LEVELS} levels of nesting", mark)
        is_alias = self.check_event(yaml.AliasEvent)
        self._open += 1
        node = super().compose_node(parent, index)
        assert node is not None
        self._open -= 1
        if not is_alias:
            self._extents[node] = self._extent(node, mark)
        elif node not in self._extents:
            raise _Refused("this alias is inside the value that it refers to", mark)
        return node

    def _extent(self, node: yaml.Node, mark: yaml.Mark) -> tuple[int, int]:
        inner = [self._extents[child] for child in _children(node)]
        levels = 1 + max((levels for levels, _ in inner), default=0)
        values = 1 + sum(values for _, values in inner)
        if levels > MOST_LEVELS:
            raise _Refused(f"there are more than {MOST_LEVELS} levels of nesting, aliases written out", mark)
        if values > MOST_VALUES:
            raise _Refused(f"there are more than {MOST_VALUES:,} values, aliases written out", mark)
        return levels, values

    def value_of(self, node: yaml.Node) -> Any:
        """Make the value of a node; the value of an alias is made again each time."""
        if isinstance(node, yaml.MappingNode) and node.tag == _MAP:
            return self._mapping(node)
        if isinstance(node, yaml.SequenceNode) and node.tag == _SEQ:
            return [self.value_of(child) for child in node.value]
        if isinstance(node, yaml.ScalarNode) and node.tag in _KNOWN:
            return self._scalar(node)
        raise _Refused(f"the tag {_shown_tag(node.tag)} is not known here", node.start_mark)

    def _mapping(self, node: yaml.MappingNode) -> dict[Any, Any]:
        made: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _Refused("this key is a list or a mapping", key_node.start_mark)
            if key_node.value == _MERGE and key_node.style is None:
                raise _Refused("merge keys (<<) are not supported; write the keys out", key_node.start_mark)
            key = self.value_of(key_node)
            if key is None:
                raise _Refused("this key is empty", key_node.start_mark)
            if key in made:
                raise _Refused(f"the key {key!r} is given twice", key_node.start_mark)
            made[key] = self.value_of(value_node)
        return made

    def _scalar(self, node: yaml.ScalarNode) -> str | int | float | bool | None:
        if node.tag == _NULL:
            return None
        if node.tag == _STR:
            if problem := string_problem(node.value):
                raise _Refused(problem, node.start_mark)
            return str(node.value)
        if len(node.value) > MOST_DIGITS:
            raise _Refused(
                f"this number has {len(node.value):,} characters, and may have at most {MOST_DIGITS}", node.start_mark
            )
        try:
            value: int | float | bool = self.yaml_constructors[node.tag](self, node)
        except (ValueError, LookupError, OverflowError):
            raise _Refused(f"{node.value!r} is not a {_NUMBERS[node.tag]}", node.start_mark) from None
        return value


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def string_problem(text: str) -> str:
    """Say what makes ``text`` unfit as a name, path or description; empty when nothing does."""
    if len(text) > MOST_STRING:
        return f"a string of {len(text):,} characters; at most {MOST_STRING:,}"
    for character in text:
        if character not in "\n\t" and unicodedata.category(character) in ("Cc", "Cs"):
            return f"a string with the control character {character!r}"
    return ""


def _shown_tag(tag: str) -> str:
    """Write a tag as people do."""
    return tag.replace(_TAG, "!!", 1)
