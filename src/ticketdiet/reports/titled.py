"""Tables as people read them: cells as text between a title and a caption.

They can be kept, and printed again at any width without the rows that they were made from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Grid:
    """Headings, and lines of as many cells each.

    Attributes:
        headings: Of the columns; the first column is that of names, the others are numbers.
        lines: Cells; a cell may have several lines of its own.
        is_narrow: Whether it is made as narrow as it can be, with names that are never wrapped.
    """

    headings: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    is_narrow: bool = False

    def __rich__(self) -> Table:
        table = Table(padding=(0, 1, 0, 0), pad_edge=False) if self.is_narrow else Table()
        for place, heading in enumerate(self.headings):
            whole = self.is_narrow and place < 2  # the name, and its number of replicates
            table.add_column(Text(heading), justify="right" if place else "left", no_wrap=whole)
        for line in self.lines:
            table.add_row(*map(Text, line))
        return table


@dataclass(frozen=True)
class TitledTable:
    """Grids below each other, between a title and a caption; rich prints it.

    Attributes:
        title: Line above the grids; "" for none.
        grids: Parts of the table, none where there is nothing to show.
        caption: Line below them.
    """

    title: str
    grids: tuple[Grid, ...]
    caption: str

    def __rich__(self) -> Group:
        return titled([grid.__rich__() for grid in self.grids], self.title, self.caption)


def titled(tables: Sequence[Table], title: str, caption: str) -> Group:
    """Put tables between a title and a caption, neither of which is wrapped to the width of a table."""
    lines = [Text(title, style="table.title")] if title else []
    return Group(*lines, *tables, Text(caption, style="table.caption"))
