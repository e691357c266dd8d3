"""What a stage takes in joules, where the machine counts it: RAPL for processors, NVML for NVIDIA GPUs.

Both count what everything on the processor or the GPU takes, not what one process does. Where a counter cannot be
read, as on most machines without administrator rights, nothing is recorded, and no number depends on it.
"""

from __future__ import annotations

import importlib
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Self

import torch

RAPL = Path("/sys/class/powercap")
ZONE = re.compile(r"intel-rapl:\d+(:\d+)?")  # intel-rapl-mmio has the same packages once more
# A package holds its cores; its memory is counted beside it.
COUNTED = re.compile(r"package-\d+|dram")
SECONDS_BETWEEN_READINGS = 60.0  # a counter of a busy server begins again after some ten minutes


@dataclass(frozen=True)
class Sharing:
    """With how many a process shares what counts energy.

    Attributes:
        workers: Processes of the run on this machine, itself included.
        on_device: Those of them that compute on the same device.
    """

    workers: int = 1
    on_device: int = 1


ALONE = Sharing()


@dataclass(frozen=True)
class EnergyCounter:
    """A counter of energy that only grows, and begins again at its end.

    Attributes:
        domain: What it counts: ``"package"`` (a processor with its memory) or ``"gpu"``.
        read: Returns the count; raises ``OSError`` or ``ValueError`` when it cannot.
        unit: Joules of one count.
        modulus: Counts after which it begins again; None when it never does.
    """

    domain: str
    read: Callable[[], int]
    unit: float
    modulus: int | None = None

    def between(self, before: int, after: int) -> float:
        """Return the joules between two readings, no more than one turn apart."""
        counts = after - before
        if counts < 0 and self.modulus is not None:
            counts += self.modulus
        return counts * self.unit


class EnergyMeter:
    """Adds up what counters count while a ``with`` block lasts; they are read every minute, so that no turn is missed.

    When a counter fails, or runs backwards, nothing is said of what it counts with others: a part would look like all.

    Args:
        counters: What to read.
    """

    def __init__(self, counters: Sequence[EnergyCounter]) -> None:
        self._counters = counters
        self._last: dict[EnergyCounter, int] = {}
        self._joules: dict[EnergyCounter, float] = {}
        self._failed: set[str] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_reading, name="energy-meter", daemon=True)

    def __enter__(self) -> Self:
        for counter in self._counters:
            count = _read(counter)
            if count is None:
                self._failed.add(counter.domain)
            else:
                self._last[counter], self._joules[counter] = count, 0.0
        if self._last:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self.read()

    def read(self) -> None:
        """Add what was counted since the last reading."""
        for counter, before in list(self._last.items()):
            after = _read(counter)
            joules = -1.0 if after is None else counter.between(before, after)
            if after is None or joules < 0:  # a driver that was loaded again counts from 0
                self._failed.add(counter.domain)
            else:
                self._last[counter] = after
                self._joules[counter] += joules

    def joules(self) -> dict[str, float]:
        """Return the joules so far by domain; a domain of which a counter is missing is left out."""
        found: dict[str, float] = {}
        for counter, joules in self._joules.items():
            if counter.domain not in self._failed:
                found[counter.domain] = found.get(counter.domain, 0.0) + joules
        return found

    def _keep_reading(self) -> None:
        while not self._ended.wait(SECONDS_BETWEEN_READINGS):
            self.read()


def describe_energy(joules: Mapping[str, float], sharing: Sharing) -> dict[str, float | int]:
    """Describe readings for the provenance of a result.

    Args:
        joules: By domain, as a meter gives them.
        sharing: With how many the process shared the counters.

    Returns:
        ``package_joules`` with ``workers``, and ``gpu_joules`` with ``gpu_workers``, where they were read. The joules
        are those of the whole processor or GPU.
    """
    described: dict[str, float | int] = {}
    if "package" in joules:
        described |= {"package_joules": round(joules["package"], 3), "workers": sharing.workers}
    if "gpu" in joules:
        described |= {"gpu_joules": round(joules["gpu"], 3), "gpu_workers": sharing.on_device}
    return described


def counters_of(*devices: str) -> list[EnergyCounter]:
    """Return the energy counters of this machine that a stage on ``devices`` moves; the processor's for GPUs too."""
    gpus = [device for device in devices if device.startswith("cuda")]
    return [*rapl_counters(), *(counter for device in gpus for counter in nvml_counters(device))]


def rapl_counters(folder: Path = RAPL) -> list[EnergyCounter]:
    """Return the counters of all processors and their memory; none when one of them may not be read.

    Args:
        folder: Where Linux shows the zones of the powercap framework.
    """
    try:
        zones = [zone for zone in sorted(folder.glob("intel-rapl:*")) if ZONE.fullmatch(zone.name)]
        counters = [_rapl_counter(zone) for zone in zones if COUNTED.fullmatch((zone / "name").read_text().strip())]
        for counter in counters:
            counter.read()
    except (OSError, ValueError):
        return []
    return counters


def _rapl_counter(zone: Path) -> EnergyCounter:
    modulus = int((zone / "max_energy_range_uj").read_text()) + 1
    return EnergyCounter("package", lambda: int((zone / "energy_uj").read_text()), 1e-6, modulus)


def nvml_counters(device: str) -> list[EnergyCounter]:
    """Return the counter of a GPU; none when NVML is not installed or the GPU has none.

    Args:
        device: ``cuda`` or ``cuda:N``, as torch numbers them.
    """
    nvml = _nvml()
    if nvml is None:
        return []
    try:
        nvml.nvmlInit()
        # torch numbers the GPUs that it may see, NVML all of them.
        uuid = torch.cuda.get_device_properties(torch.device(device)).uuid
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        counter = EnergyCounter("gpu", lambda: _gpu_millijoules(nvml, handle), 1e-3)
        counter.read()
    except (nvml.NVMLError, OSError, RuntimeError, AttributeError):
        return []
    return [counter]


def _nvml() -> ModuleType | None:
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        return None


def _gpu_millijoules(nvml: ModuleType, handle: object) -> int:
    try:
        return int(nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
    except nvml.NVMLError as error:
        raise OSError(str(error)) from error


def _read(counter: EnergyCounter) -> int | None:
    try:
        return counter.read()
    except (OSError, ValueError):
        return None
