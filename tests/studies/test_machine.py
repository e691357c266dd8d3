"""How much memory a process may take, by what Linux says of the groups that it is in."""

import os

import pytest

from ticketdiet.studies.machine import memory_bytes

GIGABYTE = 1 << 30
MACHINE = 64 * GIGABYTE


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A machine of 64 gigabytes."""
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": MACHINE // 4096}.__getitem__)


@pytest.fixture
def system(tmp_path):
    """Writes what Linux shows of groups, and returns the memory for a process of the group given."""

    def of(own, limits):
        (tmp_path / "own").write_text(own, encoding="utf-8")
        for path, limit in limits.items():
            file = tmp_path / "cgroups" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{limit}\n")
        return memory_bytes(tmp_path / "cgroups", tmp_path / "own")

    return of


def test_without_a_limit_it_is_that_of_the_machine(system, tmp_path):
    assert system("0::/user.slice\n", {"memory.max": "max", "other/memory.max": GIGABYTE}) == MACHINE
    assert memory_bytes(tmp_path / "nowhere", tmp_path / "nothing") == MACHINE


def test_a_container_has_the_limit_of_its_outermost_group(system):
    assert system("0::/\n", {"memory.max": 2 * GIGABYTE}) == 2 * GIGABYTE


def test_the_lowest_limit_of_the_groups_around_a_process_counts(system):
    limits = {
        "memory.max": "max",
        "slurm/memory.max": 9 * GIGABYTE,
        "slurm/job_7/memory.max": 3 * GIGABYTE,
        "slurm/job_7/step_0/memory.max": "max",
        "slurm/job_8/memory.max": GIGABYTE,
    }
    assert system("0::/slurm/job_7/step_0\n", limits) == 3 * GIGABYTE


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"memory/memory.limit_in_bytes": 9223372036854771712}, MACHINE),
        ({"memory/docker/a/memory.limit_in_bytes": 5 * GIGABYTE}, 5 * GIGABYTE),
        ({"memory/memory.limit_in_bytes": 4 * GIGABYTE}, 4 * GIGABYTE),
    ],
)
def test_groups_of_version_1_count_where_they_hold_memory(system, limits, expected):
    own = "12:cpu,cpuacct:/docker/a\n11:memory:/docker/a\n1:name=systemd:/docker/a\n0::/\n"
    assert system(own, limits) == expected


def test_a_limit_above_the_memory_of_the_machine_changes_nothing(system):
    assert system("0::/\n", {"memory.max": 2 * MACHINE}) == MACHINE


@pytest.mark.parametrize("own", ["", "nonsense", "0::/../../outside\n", "\N{SNOWMAN}"])
def test_groups_that_cannot_be_read_are_passed_over(system, own):
    assert system(own, {"memory.max": "-3"}) == MACHINE


def test_a_system_that_does_not_say_is_not_guessed_at(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "sysconf")
    assert memory_bytes(tmp_path / "nowhere", tmp_path / "nothing") is None
