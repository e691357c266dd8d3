"""Where a benchmark ran: the first line that each of them prints, since a time means nothing without it."""

from __future__ import annotations

from typing import Any

import torch

from ticketdiet.store.provenance import describe_machine


def facts(threads: int | None = None) -> dict[str, Any]:
    """Return what a manifest says of the machine, and torch's version, for JSON; ``threads`` default to torch's."""
    return {**describe_machine(threads=threads), "torch": torch.__version__}


def in_words(threads: int | None = None) -> str:
    """Return the same in one line."""
    found = facts(threads)
    kernels = found["capability"] + (f" (oneDNN up to {found['onednn_limit']})" if "onednn_limit" in found else "")
    bfloat16 = {True: "with", False: "without", None: "perhaps with"}[found["bfloat16"]]
    return (
        f"{found['cpu']}, {found['cpus']} cores, {kernels}, {bfloat16} bfloat16, {found['threads']} thread"
        f"{'s' * (found['threads'] > 1)}, torch {found['torch']}"
    )
