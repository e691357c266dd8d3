"""Choices of reports by name: the command line offers them with this module alone, without pandas."""

from __future__ import annotations

from typing import Literal

Format = Literal["table", "csv", "json", "parquet"]  # of rows
Grouping = Literal["example", "quantile", "class", "step"]  # what a row of single examples is
