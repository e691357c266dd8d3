"""Runs on one store see each other: a lease has one holder and is free when that is gone, and gc spares the living."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from ticketdiet.core.addresses import address_of
from ticketdiet.store import drivers, presence
from ticketdiet.store.drivers import Driver
from ticketdiet.store.folder import Folder
from ticketdiet.store.layout import COLLECTING
from ticketdiet.store.presence import EXPIRES_AFTER, NEEDED_FOR, Presence
from ticketdiet.store.results import ResultStore


def identity(number):
    return {"kind": "level", "version": 1, "spec": {"number": number}, "inputs": {}}


IDENTITIES = {address_of(**identity(number)): identity(number) for number in range(3)}
FIRST, SECOND, THIRD = sorted(IDENTITIES)


@pytest.fixture(params=["folder", "memory"])
def store(request, tmp_path):
    return filled(tmp_path / "store" if request.param == "folder" else f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def folder(tmp_path):
    return filled(tmp_path / "store")


def filled(url):
    store = ResultStore.open(url)
    for address, found in IDENTITIES.items():
        store.write(address, **found, documents={"rows": []})
    return store


def silent_for(store, driver, seconds):
    """Let the driver have been silent for some seconds, by the clock of the file system."""
    path = Path(store.url, "drivers", f"{driver.name}.json")
    then = time.time() - seconds
    os.utime(path, (then, then))


def elsewhere(store, driver):
    """Let the driver be on another machine."""
    path = Path(store.url, "drivers", f"{driver.name}.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"machine": "another", "host": "far"}))


def write_lease(store, content):
    path = Path(store.url, "leases", f"{FIRST}.0")
    path.parent.mkdir()
    path.write_bytes(content)
    return path


def left(store):
    """What is left of drivers and leases."""
    return [entry.name for name in ("drivers", "leases") for entry in store._place.children(name)]


class TestLeases:
    def test_one_driver_holds_a_lease_until_it_gives_it_back(self, store):
        with store.drive() as one, store.drive() as other:
            assert one.take(FIRST)
            assert not other.take(FIRST)
            assert not one.take(FIRST)
            assert other.take(SECOND)
            assert other.holder(FIRST) == f"process {os.getpid()} on {socket.gethostname()}"
            one.release(FIRST)
            assert other.take(FIRST)
        assert left(store) == []

    def test_all_leases_are_given_back_however_the_run_ends(self, store):
        def stop():
            with store.drive() as driver:
                driver.take(FIRST)
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            stop()
        assert left(store) == []

    def test_a_lease_whose_driver_fell_silent_is_taken_over_by_one_of_many(self, folder):
        with folder.drive() as silent, many(folder, 8) as others:
            assert silent.take(FIRST)
            silent_for(folder, silent, EXPIRES_AFTER - 5)
            assert not any(at_once(others, FIRST))
            silent_for(folder, silent, EXPIRES_AFTER + 5)
            assert sum(at_once(others, FIRST)) == 1
            silent.beat()
            silent.release(FIRST)
            assert not any(at_once(others, FIRST))
        assert left(folder) == []

    def test_a_lease_of_a_killed_process_is_freeat_once(self, folder):
        with holding(folder) as process, folder.drive() as driver:
            assert not driver.take(FIRST)
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert driver.take(FIRST)

    def test_a_process_that_has_the_number_of_one_that_ended_is_not_taken_for_it(self, folder, monkeypatch):
        if presence._process_began(os.getpid()) is None:
            pytest.skip("this system does not tell when a process began")
        with folder.drive() as earlier, folder.drive() as driver:
            earlier.take(FIRST)
            path = Path(folder.url, "drivers", f"{earlier.name}.json")
            path.write_text(json.dumps(json.loads(path.read_text()) | {"began": 1}))
            assert driver.take(FIRST)

    def test_clocks_that_disagree_make_no_driver_silent(self, folder, monkeypatch):
        with folder.drive() as one:
            one.take(FIRST)
            elsewhere(folder, one)
            honest = time.time
            monkeypatch.setattr(time, "time", lambda: honest() - 86_400)
            with folder.drive() as other:
                assert not other.take(FIRST)
                assert [found.driver for found in other.others()] == [one.name]

    def test_a_time_in_the_future_holds_no_lease_for_ever(self, folder):
        with folder.drive() as one, folder.drive() as other:
            one.take(FIRST)
            silent_for(folder, one, -86_400)
            assert other.take(FIRST)

    def test_a_lease_of_a_driver_that_is_gone_is_free(self, folder):
        write_lease(folder, b"0" * 32)
        with folder.drive() as driver:
            assert driver.take(FIRST)

    @pytest.mark.parametrize("content", [b"", b"0" * 31, b"x" * 5000], ids=["empty", "half", "far too long"])
    def test_a_lease_that_was_not_written_to_the_end_is_held_until_it_is_old(self, folder, content):
        path = write_lease(folder, content)
        with folder.drive() as driver:
            assert not driver.take(FIRST)
            os.utime(path, (0, 0))
            assert driver.take(FIRST)

    @pytest.mark.parametrize("content", ["", "[" * 100_000, "{}", '{"reaches": 3}', '{"pid": 1e999}'])
    def test_a_document_that_cannot_be_read_is_of_no_driver(self, folder, content):
        with folder.drive() as one, folder.drive() as other:
            one.take(FIRST)
            Path(folder.url, "drivers", f"{one.name}.json").write_text(content)
            assert other.others() == []
            assert other.take(FIRST)


HOLDER = """
import sys
from ticketdiet.store.results import ResultStore
with ResultStore.open(sys.argv[1]).drive() as driver:
    assert driver.take(sys.argv[2])
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def holding(store):
    """A process that holds the lease on the first address until it is killed."""
    command = [sys.executable, "-c", HOLDER, store.url, FIRST]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process


@contextlib.contextmanager
def many(store, count):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(store.drive()) for _ in range(count)]


def at_once(drivers, name):
    """Let all of them try to take a lease at the same moment."""
    barrier, taken = threading.Barrier(len(drivers)), []

    def take(driver):
        barrier.wait()
        taken.append(driver.take(name))

    threads = [threading.Thread(target=take, args=(driver,)) for driver in drivers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken


def test_the_heart_beats_by_itself_and_writes_anew_what_was_removed(folder, monkeypatch):
    monkeypatch.setattr(drivers, "BEAT_SECONDS", 0.001)
    beaten = threading.Event()
    with folder.drive([FIRST]) as driver:
        path = Path(folder.url, "drivers", f"{driver.name}.json")
        path.unlink()
        honest = driver._place.touch

        def touch(where, data):
            modified = honest(where, data)
            beaten.set()
            return modified

        monkeypatch.setattr(driver._place, "touch", touch)
        assert beaten.wait(60)
        assert json.loads(path.read_text())["reaches"] == [FIRST]
    assert left(folder) == []


class TestCollecting:
    def test_what_a_running_driver_reaches_stays_and_is_told_of(self, store):
        store.save_partial("a" * 24, {}, {})
        with store.drive([SECOND, "a" * 24]):
            found = store.collect({THIRD}, dry_run=False, older_than=-10)
        assert found.addresses == (FIRST,)
        assert found.drivers == (f"process {os.getpid()} on {socket.gethostname()}",)
        assert found.spared == 1
        assert store.addresses() == [SECOND, THIRD]
        assert store.load_partial("a" * 24) is not None
        assert store.collect({THIRD}, dry_run=False).addresses == (SECOND,)

    def test_what_a_driver_comes_to_need_stays_as_well(self, store):
        with store.drive([FIRST]) as driver:
            driver.reach([SECOND])
            assert store.collect((), dry_run=False).addresses == (THIRD,)

    def test_a_driver_elsewhere_is_respected_until_it_was_silent_for_long(self, folder):
        with folder.drive([FIRST]) as driver:
            elsewhere(folder, driver)
            silent_for(folder, driver, NEEDED_FOR - 5)
            assert FIRST not in folder.collect(()).addresses
            silent_for(folder, driver, NEEDED_FOR + 5)
            assert FIRST in folder.collect(()).addresses

    def test_a_driver_here_is_respected_as_long_as_its_process_is_there(self, folder):
        with folder.drive([FIRST]) as driver:
            silent_for(folder, driver, 10 * NEEDED_FOR)
            assert FIRST not in folder.collect(()).addresses

    def test_what_a_killed_driver_left_goes(self, folder):
        with holding(folder) as process:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert len(left(folder)) == 2
        folder.collect((), dry_run=False)
        assert left(folder) == []

    def test_a_driver_that_begins_while_results_are_removed_waits_for_the_end(self, folder):
        with folder.drive() as collection:
            assert collection.take(COLLECTING)
            waited = []

            def pause(seconds):
                waited.append(seconds)
                collection.release(COLLECTING)

            with Driver(folder._place, [FIRST], pause=pause):
                assert waited == [drivers.NEARBY_PAUSE]

    def test_a_collection_sees_every_driver_that_did_not_wait_for_it(self, folder, monkeypatch):
        begun, honest = [], Driver.others

        def look(collection):
            if COLLECTING in collection._held and not begun:
                begun.append(1)
                with pytest.raises(GaveUp):  # it finds the lease of the collection, and would wait for its end
                    Driver(folder._place, [FIRST], pause=give_up).__enter__()
            return honest(collection)

        monkeypatch.setattr(Driver, "others", look)
        folder.collect((), dry_run=False)
        assert begun
        assert left(folder) == []

    def test_a_collection_waits_for_another(self, folder, monkeypatch):
        with folder.drive() as collection:
            collection.take(COLLECTING)
            monkeypatch.setattr(Driver, "wait", give_up)
            with pytest.raises(GaveUp):
                folder.collect((), dry_run=False)
        assert folder.addresses() == sorted(IDENTITIES)


class GaveUp(Exception):
    pass


def give_up(*_):
    raise GaveUp


def test_a_heartbeat_survives_that_another_run_removes_its_file(tmp_path, monkeypatch):
    place = Folder(str(tmp_path / "store"))
    place.prepare()
    real, removed = os.utime, []

    def removed_once(target, **how):
        real(target, **how)
        if not removed:
            removed.append(target)
            os.unlink(target)

    monkeypatch.setattr(os, "utime", removed_once)
    assert place.touch("drivers/one.json", b"{}") is not None
    assert removed
    assert place.read("drivers/one.json") == b"{}"


def test_a_run_that_announces_itself_while_another_looks_around_is_not_taken_for_dead(folder, monkeypatch):
    with folder.drive([FIRST]) as first:
        place, later = folder._place, []
        list_of = type(place).children

        def then_another_begins(self, directory):
            entries = list_of(self, directory)
            if directory == "drivers" and not later:
                later.append(Presence.of_this_process(uuid.uuid4().hex, time.time(), (SECOND,)))
                place.replace(f"drivers/{later[0].driver}.json", later[0].to_bytes())
            return entries

        monkeypatch.setattr(type(place), "children", then_another_begins)
        assert first.dead_drivers() == []
        assert [other.driver for other in first.others()] == [later[0].driver]
