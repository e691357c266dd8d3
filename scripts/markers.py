"""Pages with generated parts: the text between two markers is replaced, and the text around them is written by hand.

The markers of a part are ``<!-- begin generated: NAME -->`` and ``<!-- end generated: NAME -->``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path


def filled(page: str, parts: Mapping[str, str]) -> str:
    """Return ``page`` with every part put between its markers.

    Raises:
        ValueError: When the markers of a part are missing.
    """
    for name, text in parts.items():
        begin, end = f"<!-- begin generated: {name} -->", f"<!-- end generated: {name} -->"
        before, found_begin, rest = page.partition(begin)
        _, found_end, after = rest.partition(end)
        if not (found_begin and found_end):
            raise ValueError(f"the page lacks {begin!r} ... {end!r}")
        page = f"{before}{begin}\n\n{text}\n\n{end}{after}"
    return page


def rewrite(path: Path, parts: Mapping[str, str], description: str | None) -> int:
    """Rewrite a page, or with ``--check`` only say whether it is up to date; returns the exit code."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when the page is not up to date")
    check = parser.parse_args().check
    before = path.read_text(encoding="utf-8")
    after = filled(before, parts)
    if check:
        if before != after:
            print(f"{path.name} is not up to date; run python {sys.argv[0]}", file=sys.stderr)
        return int(before != after)
    path.write_text(after, encoding="utf-8")
    return 0
