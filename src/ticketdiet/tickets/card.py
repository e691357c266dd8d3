"""The model card of a ticket: what it is, in Markdown, for whoever finds the folder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from ticketdiet.models.build import is_own_module
from ticketdiet.tickets.portable import PortableTicket, TicketFacts

MOST_CHARACTERS = 300
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~&$])")


def model_card(ticket: PortableTicket, files: Iterable[str]) -> str:
    """Write the model card of a ticket.

    Args:
        ticket: What it is about.
        files: Names of the files that lie beside the card.

    Returns:
        Markdown. What users have named is escaped.
    """
    facts = ticket.facts
    parts = [
        f"# {escaped(facts.network.name)} at density {facts.density:.3g}",
        _summary(ticket),
        "## Numbers\n\n" + _numbers(facts),
        "## How to load it\n\n" + _loading(facts, tuple(files)),
        "## Images\n\n" + _images(facts),
        "## Training\n\n" + _block(facts.training),
        "## Origin\n\n" + _block(facts.origin),
        "## Licence and citation\n\n" + _licence(facts),
    ]
    return "\n\n".join(parts) + "\n"


def escaped(text: object) -> str:
    """Return text of a user's as one line of Markdown that means nothing but itself."""
    line = " ".join(str(text).split())[:MOST_CHARACTERS]
    return _SPECIAL.sub(r"\\\1", line)


def _summary(ticket: PortableTicket) -> str:
    facts, network = ticket.facts, ticket.facts.network
    size = f"{network.in_channels} x {network.image_size} x {network.image_size}"
    parameters = sum(parameter.numel() for parameter in ticket.module.parameters())
    said = (
        f"A trained network for images of {size} (channels, height, width) and {network.num_classes} classes. Of its "
        f"prunable weights {facts.kept:,} are kept, a fraction of {facts.density:.4g}. "
    )
    if facts.compacted:
        return said + (
            f"Its dead channels were removed, which leaves the outputs in eval mode as they were: it now has "
            f"{parameters:,} parameters, zeros included."
        )
    return said + f"It has {parameters:,} parameters, of which the removed weights are 0."


def _numbers(facts: TicketFacts) -> str:
    if not facts.metrics:
        return "No measurements are known."
    metrics = sorted({metric for values in facts.metrics.values() for metric in values})
    lines = ["| split | " + " | ".join(map(escaped, metrics)) + " |", "|---" * (len(metrics) + 1) + "|"]
    for split, values in facts.metrics.items():
        cells = [f"{values[metric]:.6g}" if metric in values else "" for metric in metrics]
        lines.append(f"| {escaped(split)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n\nMeasured at the end of training. Losses are in nats."


def _loading(facts: TicketFacts, files: tuple[str, ...]) -> str:
    own = is_own_module(facts.network.name)
    call = 'td.load_ticket("path/to/this/folder", make=make)' if own else 'td.load_ticket("path/to/this/folder")'
    lines = ["import ticketdiet as td", "", f"ticket = {call}", "ticket.module, ticket.mask, ticket.facts"]
    text = (
        "```python\n" + "\n".join(lines) + "\n```\n\nThe files are: " + ", ".join(f"`{name}`" for name in files) + "."
    )
    if own:
        text += (
            f" The network is not one of the package: `make` is the function that makes it, which was called "
            f"{escaped(facts.network.name)} at training."
        )
    if "ticket.onnx" in files:
        text += (
            " `ticket.onnx` maps `images`, (batch, channels, height, width) and normalised as below, to `logits`. Its "
            "removed weights are zeros; the mask is in the other file."
        )
    return text


def _images(facts: TicketFacts) -> str:
    data = facts.data
    lines = [f"- name: {escaped(data.name) or 'unknown'}"]
    if data.mean:
        lines.append(f"- pixels on the scale 0 to 1, less the mean {_list(data.mean)}, divided by {_list(data.std)}")
    else:
        lines.append("- how pixels are normalised is unknown")
    if data.class_names:
        lines.append("- classes: " + ", ".join(map(escaped, data.class_names)))
    lines += [f"- fingerprint of {escaped(split)}: `{code(value)}`" for split, value in data.fingerprints.items()]
    return "\n".join(lines)


def _licence(facts: TicketFacts) -> str:
    source = facts.origin.get("imported_from")
    came = f"The weights were trained with {escaped(source)}, whose terms hold for them. " if source else ""
    return (
        f"{came}No licence is stated for these weights. Whoever publishes them chooses one within the terms of the "
        "data. "
        "ticketdiet is an independent implementation of the experiments of Paul et al., *Lottery Tickets on a Data "
        "Diet*, NeurIPS 2022, [arXiv 2206.01278](https://arxiv.org/abs/2206.01278); please cite it and this package."
    )


def _list(values: Iterable[float]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"


def _block(values: dict[str, Any]) -> str:
    """Show values as JSON in a fence that nothing in them can close: JSON has no line that begins with a backtick."""
    return "```json\n" + json.dumps(values, indent=1, default=str) + "\n```" if values else "Nothing is known."


def code(text: object) -> str:
    """Return text for a code span: one line without backticks."""
    return " ".join(str(text).replace("`", "'").split())[:MOST_CHARACTERS]
