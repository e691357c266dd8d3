"""Who only looks sees which stages run and where, and changes nothing."""

import os
import time
import uuid
from pathlib import Path

import pytest

from ticketdiet.store.presence import EXPIRES_AFTER
from ticketdiet.store.results import ResultStore

FIRST, SECOND = "0" * 24, "1" * 24


@pytest.fixture(params=["folder", "memory"])
def store(request, tmp_path):
    return ResultStore.open(tmp_path / "store" if request.param == "folder" else f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def folder(tmp_path):
    return ResultStore.open(tmp_path / "store")


def files(store):
    return sorted(str(path) for path in Path(store.url).rglob("*"))


def test_nobody_works_on_an_empty_store(store):
    assert store.held() == {}


def test_a_lease_is_seen_with_its_driver_until_it_is_given_back(store):
    with store.drive([FIRST, SECOND]) as driver:
        assert driver.take(FIRST)
        (lease,) = store.held().values()
        assert (lease.address, lease.driver) == (FIRST, f"process {os.getpid()} on {os.uname().nodename}")
        assert lease.since is None or abs(lease.since - time.time()) < 60
        driver.release(FIRST)
        assert store.held() == {}


def test_looking_writes_nothing(folder):
    with folder.drive([FIRST]) as driver:
        driver.take(FIRST)
        before = files(folder)
        folder.held()
        assert files(folder) == before


def test_a_lease_of_a_driver_that_was_silent_is_void(folder):
    with folder.drive([FIRST]) as driver:
        driver.take(FIRST)
        path = Path(folder.url, "drivers", f"{driver.name}.json")
        then = time.time() - EXPIRES_AFTER - 1
        os.utime(path, (then, then))
        assert folder.held() == {}


def test_a_lease_of_a_driver_that_is_gone_is_void_and_so_is_nonsense(folder):
    with folder.drive([FIRST]) as driver:
        driver.take(FIRST)
        path = Path(folder.url, "drivers", f"{driver.name}.json")
        path.unlink()
        assert folder.held() == {}
    leases = Path(folder.url, "leases")
    (leases / "notes.txt").write_text("mine")
    (leases / f"{SECOND}.0").write_bytes(b"\xff" * 10)
    assert folder.held() == {}


def test_of_two_leases_on_a_stage_the_later_one_counts(folder):
    with folder.drive([FIRST]) as driver:
        driver.take(FIRST)
        Path(folder.url, "leases", f"{FIRST}.7").write_text("f" * 32)  # of a driver that has ended
        assert folder.held() == {}


def test_a_clock_that_runs_ahead_hides_no_run_of_this_machine(folder, monkeypatch):
    honest = time.time
    with folder.drive([FIRST], study="one", executor="local") as driver:
        monkeypatch.setattr(time, "time", lambda: honest() + 10 * EXPIRES_AFTER)
        (found,) = folder.drivers()
        assert (found.driver, found.study, found.executor) == (driver.name, "one", "local")
    assert folder.drivers() == []


def test_a_run_elsewhere_counts_as_running_until_it_is_silent(folder):
    with folder.drive([FIRST]) as driver:
        path = Path(folder.url, "drivers", f"{driver.name}.json")
        path.write_text(path.read_text().replace(folder.drivers()[0].machine, "another"))
        assert [one.driver for one in folder.drivers()] == [driver.name]
        then = time.time() - EXPIRES_AFTER - 5
        os.utime(path, (then, then))
        assert folder.drivers() == []
        assert [one.driver for one in folder.drivers(silent=True)] == [driver.name]
