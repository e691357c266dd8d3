"""On which machines the results of a study were made, and a warning where they mix.

Results repeat to the bit only with equal kernels, threads, build of PyTorch and device. Training turns a difference in
the last bit into another network of the same distribution, so that what compares single trainings should not mix them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ticketdiet.core.errors import StoreError
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.plan import Plan

MOST_NAMES = 4


def part(provenance: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a part of the provenance of a manifest by name, empty where it is absent."""
    found = provenance.get(name)
    return found if isinstance(found, Mapping) else {}


@dataclass(frozen=True)
class Arithmetic:
    """What decides the last bits of a result.

    Attributes:
        capability: Vector instructions of PyTorch's kernels; "" when the manifest does not say.
        onednn_limit: Limit of oneDNN's instructions that the environment set, or "".
        threads: Threads it was computed with.
        torch: Version of PyTorch, with its build.
        device: ``"cpu"``, or the name of a GPU.
        devices: How many such devices worked together.
    """

    capability: str
    onednn_limit: str
    threads: int | None
    torch: str
    device: str
    devices: int = 1

    @classmethod
    def of(cls, provenance: Mapping[str, Any]) -> Arithmetic:
        """Read it from the provenance of a manifest; results of older versions lack some of it."""
        machine, versions = part(provenance, "machine"), part(provenance, "versions")
        return cls(
            str(machine.get("capability") or ""),
            str(machine.get("onednn_limit") or ""),
            machine.get("threads"),
            str(versions.get("torch") or ""),
            str(machine.get("device") or ""),
            int(machine.get("devices") or 1),
        )

    def __str__(self) -> str:
        kernels = self.capability or "kernels not recorded"
        kernels += f" (oneDNN up to {self.onednn_limit})" if self.onednn_limit else ""
        threads = (
            "threads not recorded" if self.threads is None else f"{self.threads} thread{'s' * (self.threads != 1)}"
        )
        torch = f"torch {self.torch}" if self.torch else "torch not recorded"
        device = self.device or "device not recorded"
        device = f"{self.devices} x {device}" if self.devices > 1 else device
        return ", ".join((device, kernels, threads, torch))


def mixed_machines(plan: Plan, store: ResultStore) -> str:
    """Say that the results of a study were not all made with the same kernels, threads, PyTorch and device.

    Args:
        plan: The study's stages; those whose results are missing or damaged are passed over.
        store: Where their results are.

    Returns:
        Lines for people, empty when nothing is mixed: each kind of machine with its number of results and the arms that
        use them, and the families whose members differ, since their barriers compare trainings.
    """
    statuses = store.statuses(plan.stages, tolerant=True)
    whole = [address for address, status in statuses.items() if status.state == "done"]
    made = {address: found for address in whole if (found := _arithmetic(store, address)) is not None}
    kinds: dict[Arithmetic, list[str]] = {}
    for address, arithmetic in made.items():
        kinds.setdefault(arithmetic, []).append(address)
    if len(kinds) < 2:
        return ""
    lines = [
        f"the results of {plan.study.study} were made with different kernels, threads, builds of PyTorch or devices. "
        "There the same training ends in another network of the same distribution, so do not compare single networks:"
    ]
    for arithmetic, addresses in sorted(kinds.items(), key=lambda item: -len(item[1])):
        arms = dict.fromkeys(use.arm for address in addresses for use in plan.stages[address].uses)
        lines.append(f"  {len(addresses)} result{'s' * (len(addresses) > 1)} ({_some(list(arms))}): {arithmetic}")
    families = _mixed_families(plan, made)
    if families:
        lines.append(
            f"  barriers between networks that were made differently: {len(families)} ({_some(families, '; ')})"
        )
    return "\n".join(lines)


def _mixed_families(plan: Plan, made: Mapping[str, Arithmetic]) -> list[str]:
    barriers = [stage for address, stage in plan.stages.items() if stage.kind == "barrier" and address in made]
    members = {stage.label: {made[a] for a in stage.inputs.values() if a in made} for stage in barriers}
    return [label.removeprefix("barrier · ") for label, arithmetics in members.items() if len(arithmetics) > 1]


def _arithmetic(store: ResultStore, address: str) -> Arithmetic | None:
    try:
        return Arithmetic.of(store.manifest(address).provenance)
    except StoreError:  # damaged, missing or out of reach: others say so
        return None


def _some(names: list[str], between: str = ", ") -> str:
    more = len(names) - MOST_NAMES
    return between.join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
