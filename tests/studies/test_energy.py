"""Energy counters: fake trees of sysfs, a fake NVML, and what a manifest records of them."""

import math
import os
import sys
import types

import pytest
import torch

from ticketdiet.reports.accounting import account
from ticketdiet.studies import energy
from ticketdiet.studies.energy import EnergyCounter, EnergyMeter, Sharing, describe_energy, nvml_counters, rapl_counters

RANGE = 1_000_000  # microjoules


def make_zone(folder, name, called, count=0):
    zone = folder / name
    zone.mkdir(parents=True)
    (zone / "name").write_text(f"{called}\n")
    (zone / "max_energy_range_uj").write_text(f"{RANGE - 1}\n")
    (zone / "energy_uj").write_text(f"{count}\n")
    return zone


def set_count(zone, count):
    (zone / "energy_uj").write_text(f"{count}\n")


@pytest.fixture
def zones(tmp_path):
    """Two processors, one with memory beside it; and what counts the same once more."""
    return {
        "package": make_zone(tmp_path, "intel-rapl:0", "package-0", 100),
        "core": make_zone(tmp_path, "intel-rapl:0:0", "core", 50),
        "memory": make_zone(tmp_path, "intel-rapl:0:1", "dram", 7),
        "other": make_zone(tmp_path, "intel-rapl:1", "package-1", 900_000),
        "platform": make_zone(tmp_path, "intel-rapl:2", "psys", 1),
        "again": make_zone(tmp_path, "intel-rapl-mmio:0", "package-0", 100),
    }


def test_packages_and_memory_are_added_and_nothing_is_counted_twice(zones, tmp_path):
    with EnergyMeter(rapl_counters(tmp_path)) as meter:
        for zone in zones.values():
            set_count(zone, int((zone / "energy_uj").read_text()) + 10_000)
    assert meter.joules() == pytest.approx({"package": 3 * 0.01})


def test_a_counter_that_begins_again_is_followed_through_several_turns(zones, tmp_path):
    with EnergyMeter(rapl_counters(tmp_path)) as meter:
        for count in (950_000, 100_000, 800_000, 0):
            set_count(zones["other"], count)
            meter.read()
    # From 0.9 to 0.95, over the end to 0.1, to 0.8, and over the end to 0.
    assert meter.joules()["package"] == pytest.approx(0.05 + 0.15 + 0.7 + 0.2)


@pytest.mark.parametrize(
    "harm",
    [
        lambda zone: (zone / "energy_uj").unlink(),
        lambda zone: (zone / "energy_uj").write_text("nonsense"),
        lambda zone: (zone / "max_energy_range_uj").unlink(),
    ],
)
def test_where_a_part_cannot_be_read_nothing_is_counted(zones, tmp_path, harm):
    harm(zones["memory"])
    assert rapl_counters(tmp_path) == []


def test_a_machine_without_counters_counts_nothing(tmp_path):
    assert rapl_counters(tmp_path / "nowhere") == []
    with EnergyMeter([]) as meter:
        pass
    assert meter.joules() == {}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="an administrator reads everything")
def test_a_counter_without_permission_is_absent(zones, tmp_path):
    for zone in zones.values():
        (zone / "energy_uj").chmod(0)
    assert rapl_counters(tmp_path) == []


def test_when_a_counter_fails_on_the_way_a_part_is_not_passed_off_as_all(zones, tmp_path):
    with EnergyMeter(rapl_counters(tmp_path)) as meter:
        (zones["package"] / "energy_uj").unlink()
        set_count(zones["memory"], 20_007)
    assert meter.joules() == {}


def test_a_counter_that_runs_backwards_without_an_end_says_nothing():
    counts = iter([5000, 10])
    with EnergyMeter([EnergyCounter("gpu", lambda: next(counts), 1e-3)]) as meter:
        pass
    assert meter.joules() == {}


class FakeNVML(types.ModuleType):
    """NVML with one GPU, whose counter adds 1500 mJ at each reading."""

    class NVMLError(Exception):
        pass

    def __init__(self, *, fails=False):
        super().__init__("pynvml")
        self.fails, self.millijoules, self.asked = fails, 0, []

    def nvmlInit(self):  # noqa: N802 - NVML's own names
        pass

    def nvmlDeviceGetHandleByUUID(self, uuid):  # noqa: N802
        self.asked.append(uuid)
        return "handle"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):  # noqa: N802
        assert handle == "handle"
        if self.fails:
            raise self.NVMLError("Not Supported")
        self.millijoules += 1500
        return self.millijoules


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: types.SimpleNamespace(uuid="1234-abcd"))


def test_a_gpu_is_found_by_its_uuid_and_counts_in_millijoules(gpu, monkeypatch):
    nvml = FakeNVML()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    with EnergyMeter(nvml_counters("cuda:1")) as meter:
        pass
    assert nvml.asked == ["GPU-1234-abcd"]
    assert meter.joules() == pytest.approx({"gpu": 1.5})


def test_without_nvml_or_a_counter_there_is_none(gpu, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNVML(fails=True))
    assert nvml_counters("cuda") == []
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert nvml_counters("cuda") == []


def test_readings_are_recorded_with_the_processes_that_shared_them():
    sharing = Sharing(workers=4, on_device=2)
    assert describe_energy({"package": 1.23456, "gpu": 2.0}, sharing) == {
        "package_joules": 1.235,
        "workers": 4,
        "gpu_joules": 2.0,
        "gpu_workers": 2,
    }
    assert describe_energy({}, sharing) == {}


def test_a_run_records_energy_under_the_same_addresses_and_numbers(
    plan_tiny, run_tiny, tmp_path, store, contents, monkeypatch
):
    plan, counts = plan_tiny("arms={all@4: {pretrain: {steps: 4}}}", "pruning.levels=1"), iter(range(0, 10**6, 250))
    run_tiny(plan, store)
    assert all("energy" not in store.manifest(address).provenance for address in plan.stages)
    assert math.isnan(account(plan, store).total.joules)
    monkeypatch.setattr(energy, "rapl_counters", lambda: [EnergyCounter("package", lambda: next(counts), 1e-3)])
    metered = type(store).open(tmp_path / "metered")
    run_tiny(plan, metered)
    assert contents(metered, plan) == contents(store, plan)
    for address in plan.stages:
        recorded = metered.manifest(address).provenance["energy"]
        assert recorded == {"package_joules": 0.25, "workers": 1}
    found = account(plan, metered)
    assert found.total.joules == pytest.approx(0.25 * len(plan.stages))
    assert not found.total.is_estimated
