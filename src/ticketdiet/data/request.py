"""How a caller asks for a source: ``name``, ``name:PATH`` or ``name:PATH?option=value&option=value``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ticketdiet.core.errors import DataError

_OPTIONS = re.compile(r"^(?P<path>.*?)\?(?P<options>\w+=[^?&=]*(?:&\w+=[^?&=]*)*)$", re.DOTALL)


@dataclass(frozen=True)
class Request:
    """The parts of a source as the caller wrote it.

    Attributes:
        name: Registered name of the family or data set.
        argument: The text after the colon, without options; empty when there is none.
        options: The ``?key=value`` pairs.
        root: Folder that already holds the files of a downloadable data set, or None for the package's own.
        downloads: Folder that may be downloaded into.
        download: Whether the network may be used.
    """

    name: str
    argument: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    root: Path | None = None
    downloads: Path = Path()
    download: bool = True

    @property
    def path(self) -> Path:
        """The argument as an absolute path; raises DataError when it is missing or does not exist."""
        if not self.argument:
            raise DataError(
                f"The source {self.name!r} has no path.", expected=f"{self.name}:PATH", way_out="add the path"
            )
        path = Path(os.path.expanduser(self.argument)).absolute()
        if not os.path.exists(path):  # Path.exists would raise for a name that is too long
            raise DataError(
                f"The path {path} does not exist.", expected=f"data for {self.name}:PATH", way_out="correct the path"
            )
        return path

    def check(self, known: Sequence[str] = (), *, takes_path: bool) -> None:
        """Refuse a path where the family takes none, and options that it does not know.

        Args:
            known: Names of the options that the family takes.
            takes_path: Whether the family takes a path.

        Raises:
            DataError: When the request has a path or an option that the family does not take.
        """
        if self.argument and not takes_path:
            raise DataError(
                f"The source {self.name!r} takes no path, but got {self.argument!r}.",
                expected=f"{self.name!r} alone",
                way_out="leave the path out; the option root names the folder of its files",
            )
        for key in sorted(set(self.options) - set(known)):
            raise DataError(
                f"The source {self.name!r} has no option {key!r}.",
                expected=f"one of: {', '.join(sorted(known))}" if known else "no options",
                way_out="correct the part after the question mark",
            )


def take_apart(source: str) -> tuple[str, str, dict[str, str]]:
    """Split ``name:PATH?key=value`` into name, path and options; a path may itself contain a question mark."""
    name, _, argument = source.partition(":")
    match = _OPTIONS.match(argument)
    if match is None:
        return name, argument, {}
    pairs = (pair.partition("=") for pair in match["options"].split("&"))
    return name, match["path"], {key: value for key, _, value in pairs}
