"""Nothing half-written or altered is ever believed; everything else stays."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import uuid
from typing import Any

import pytest
import torch

from ticketdiet.core.addresses import address_of
from ticketdiet.core.errors import DamagedResult, StoreError
from ticketdiet.store import folder as folder_module
from ticketdiet.store.results import ResultStore


def identity(number):
    return {"kind": "level", "version": 1, "spec": {"number": number}, "inputs": {}}


IDENTITIES = {address_of(**identity(number)): identity(number) for number in range(3)}
ADDRESS, OTHER, THIRD = sorted(IDENTITIES)


@pytest.fixture
def store(tmp_path):
    store = ResultStore.open(tmp_path / "store")
    put(store, ADDRESS)
    put(store, OTHER)
    return store


def put(store, address, value=1.0):
    tensors = {"weights": {"w": torch.full((50,), value)}}
    store.write(address, **IDENTITIES[address], tensors=tensors, documents={"metrics": {"value": value}})


def path_of(store, name, address=ADDRESS):
    return os.path.join(store.url, "results", address[:2], address, name)


def rewrite(path, change):
    with open(path, "rb") as file:
        data = bytearray(file.read())
    change(data)
    with open(path, "wb") as file:
        file.write(data)


def flip(data):
    data[len(data) // 2] ^= 4


def cut(data):
    del data[-1]


DAMAGES = {
    "flipped byte": lambda store: rewrite(path_of(store, "weights.safetensors"), flip),
    "truncated file": lambda store: rewrite(path_of(store, "weights.safetensors"), cut),
    "missing file": lambda store: os.unlink(path_of(store, "weights.safetensors")),
    "flipped byte in the manifest": lambda store: rewrite(path_of(store, "manifest.json"), flip),
    "truncated manifest": lambda store: rewrite(path_of(store, "manifest.json"), cut),
    "empty manifest": lambda store: rewrite(path_of(store, "manifest.json"), bytearray.clear),
    "missing manifest": lambda store: os.unlink(path_of(store, "manifest.json")),
    "manifest of another result": lambda store: shutil.copy2(
        path_of(store, "manifest.json", OTHER), path_of(store, "manifest.json")
    ),
    "manifest of something else": lambda store: rewrite(path_of(store, "manifest.json"), lambda d: d.__init__(b"[1]")),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_result_is_noticed_named_and_made_anew(store, damage):
    damage(store)
    assert store.check(ADDRESS).state == "damaged"
    assert [problem.address for problem in store.verify()] == [ADDRESS]
    with pytest.raises(DamagedResult, match=rf"result {ADDRESS} (.|\n)*way out:  run the study again"):
        store.tensors(ADDRESS, "weights")
    put(store, ADDRESS, value=3.0)
    assert store.tensors(ADDRESS, "weights")["w"][0] == 3.0
    assert store.verify() == []
    assert store.tensors(OTHER, "weights")["w"][0] == 1.0


def test_a_byte_that_rots_without_a_trace_in_the_times_is_found_by_verify_and_by_reading(store, monkeypatch):
    # The disk changed it and no program did: the file system still tells the times from before.
    before = store._place.stats(f"results/{ADDRESS[:2]}/{ADDRESS}")
    rewrite(path_of(store, "weights.safetensors"), flip)
    honest = folder_module.Folder.stats
    monkeypatch.setattr(
        folder_module.Folder,
        "stats",
        lambda place, where: before if where.endswith(ADDRESS) else honest(place, where),
    )
    assert store.check(ADDRESS).state == "done"
    assert [(p.address, p.reason) for p in store.verify()] == [
        (ADDRESS, "weights.safetensors does not match its checksum")
    ]
    with pytest.raises(DamagedResult, match=r"weights\.safetensors does not match its checksum"):
        store.tensors(ADDRESS, "weights")


def test_a_store_that_was_copied_without_its_times_is_believed_after_hashing(store, tmp_path):
    shutil.copytree(store.url, tmp_path / "copy", copy_function=shutil.copyfile)
    assert ResultStore.open(tmp_path / "copy").check(ADDRESS).state == "done"


def test_a_manifest_of_a_newer_format_says_so(store):
    path = path_of(store, "manifest.json")
    with open(path) as file:
        body = json.load(file)
    with open(path, "w") as file:
        json.dump({**body, "format": 9}, file)
    assert "format 9" in store.check(ADDRESS).reason


def test_foreign_files_and_folders_are_ignored_and_kept(store):
    own, foreign = (ADDRESS[:2], OTHER[:2]), f"{255 - int(ADDRESS[:2], 16):02x}"
    for name in ("results/zz", f"results/{own[0]}/notes", "tmp/mine", f"results/{foreign}/{ADDRESS}"):
        os.makedirs(os.path.join(store.url, name))
    with open(f"{store.url}/results/readme.txt", "w") as file:
        file.write("hello")
    assert store.addresses() == [ADDRESS, OTHER]
    store.collect(set(), dry_run=False, older_than=-10)
    assert sorted(os.listdir(f"{store.url}/results")) == sorted([*own, foreign, "readme.txt", "zz"])
    assert os.listdir(f"{store.url}/tmp") == ["mine"]


def test_an_empty_directory_in_the_place_of_a_result_does_not_stop_writing(tmp_path):
    store = ResultStore.open(tmp_path)
    os.makedirs(path_of(store, ""))
    assert store.check(ADDRESS).state == "damaged"
    put(store, ADDRESS)
    assert store.has(ADDRESS)


def test_an_unfinished_upload_to_an_object_store_is_not_a_result():
    store = ResultStore.open(f"memory://{uuid.uuid4().hex}")
    put(store, ADDRESS)
    place: Any = store._place
    files = place._files
    files.rm(f"{place._root}/results/{ADDRESS[:2]}/{ADDRESS}/manifest.json")
    assert store.check(ADDRESS).state == "missing"
    assert store.verify() == []
    put(store, ADDRESS)
    assert store.has(ADDRESS)


@pytest.mark.parametrize("damage", ["content", "size", "gone"])
def test_damage_in_an_object_store_is_noticed(damage):
    store = ResultStore.open(f"memory://{uuid.uuid4().hex}")
    put(store, ADDRESS)
    place: Any = store._place
    files = place._files
    [path] = [p for p in files.find(place._root) if p.endswith("-metrics.json")]
    data = files.cat_file(path)
    files.rm(path)
    if damage != "gone":
        files.pipe_file(path, data[:-1] + (b"x" if damage == "content" else b""))
    assert [problem.address for problem in store.verify()] == [ADDRESS]
    assert (store.check(ADDRESS).state == "damaged") == (damage != "content")
    with pytest.raises(DamagedResult):
        store.document(ADDRESS, "metrics")


def test_a_full_disk_is_explained_and_leaves_nothing(store, monkeypatch):
    real = os.fsync

    def fail_at_the_second_file(handle, calls=[]):  # noqa: B006
        calls.append(handle)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", fail_at_the_second_file)
    address = THIRD
    with pytest.raises(
        StoreError, match=r"disk is full: cannot write result \w+ at (.|\n)*bytes of free space(.|\n)*gc"
    ):
        put(store, address)
    assert store.check(address).state == "missing"
    assert os.listdir(f"{store.url}/tmp") == []
    put(store, address)
    assert store.has(address)


def test_a_full_disk_keeps_the_partial_state_before(store, monkeypatch):
    store.save_partial("a" * 24, {}, {"step": 1})

    def fail(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match="disk is full"):
        store.save_partial("a" * 24, {}, {"step": 2})
    assert store.load_partial("a" * 24).document == {"step": 1}
    assert os.listdir(f"{store.url}/tmp") == []


def test_any_other_failure_of_the_file_system_is_wrapped(store, monkeypatch):
    def fail(handle):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match=r"Cannot write result \w+ at .*: Input/output error"):
        put(store, THIRD)


WRITER = """
import sys, torch
from ticketdiet.core.addresses import address_of
from ticketdiet.store.results import ResultStore
store = ResultStore.open(sys.argv[1])
print("ready", flush=True)
number = 0
while True:
    tensors = {"weights": {"w": torch.full((20000,), float(number))}}
    store.save_partial(f"{number % 3:024x}", tensors["weights"], {"number": number})
    identity = {"kind": "x", "version": 1, "spec": {"number": number}, "inputs": {}}
    store.write(address_of(**identity), **identity, tensors=tensors, documents={"n": number})
    print(number, flush=True)
    number += 1
"""


def test_a_writer_killed_at_any_moment_leaves_only_whole_results(tmp_path):
    moments = random.Random(5)
    for kill in range(3):
        url = str(tmp_path / f"store{kill}")
        writer = subprocess.Popen([sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True)
        with writer, writer.stdout:
            for _ in range(2 + moments.randrange(20)):
                writer.stdout.readline()
            # Spinning, not sleeping, spreads the kill over the instants within one write.
            sum(range(moments.randrange(100_000)))
            writer.send_signal(signal.SIGKILL)
            printed = [int(line) for line in writer.stdout if line.endswith("\n")]
            writer.wait()
        _check_all_whole(url, at_least=max(printed, default=-1) + 1)


def test_a_writer_stopped_between_any_two_file_operations_leaves_only_whole_results(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    # As os._exit would: no cleanup of any kind may run after it.
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    names = ("fsync", "rename", "replace", "open", "close")
    real = {name: getattr(os, name) for name in names}
    finished = False
    for moment in range(1, 60):
        calls = 0

        def step(name):
            def call(*args, **kwargs):
                nonlocal calls
                calls += 1
                if calls == moment:  # noqa: B023
                    raise Killed
                return real[name](*args, **kwargs)

            return call

        store = ResultStore.open(tmp_path / str(moment))
        with monkeypatch.context() as patch:
            for name in names:
                patch.setattr(os, name, step(name))
            try:
                put(store, ADDRESS, value=2.0)
                finished = True
            except Killed:
                pass
        assert store.check(ADDRESS).state in ("missing", "done")
        put(store, ADDRESS, value=2.0)
        assert store.tensors(ADDRESS, "weights")["w"][0] == 2.0
        if finished:
            break
    assert finished


def _check_all_whole(url, at_least):
    store = ResultStore.open(url)
    assert store.verify() == []
    addresses = store.addresses()
    assert len(addresses) >= at_least
    for address in addresses:
        number = store.document(address, "n")
        assert address_of("x", 1, {"number": number}, {}) == address
        assert torch.equal(store.tensors(address, "weights")["w"], torch.full((20000,), float(number)))
    for index in range(3):
        partial = store.load_partial(f"{index:024x}")
        if partial is not None:
            assert torch.equal(partial.tensors["w"], torch.full((20000,), float(partial.document["number"])))


RACER = """
import sys, torch
from ticketdiet.core.addresses import address_of
from ticketdiet.store.results import ResultStore
store, value = ResultStore.open(sys.argv[1]), float(sys.argv[2])
print("ready", flush=True)
for line in sys.stdin:
    tensors = {"weights": {"w": torch.full((50,), value)}}
    identity = {"kind": "x", "version": 1, "spec": {"number": int(line)}, "inputs": {}}
    store.write(address_of(**identity), **identity, tensors=tensors, documents={"metrics": {"value": value}})
    print("written", flush=True)
"""


def test_writers_of_the_same_addresses_at_the_same_time_leave_one_whole_result_each(tmp_path):
    url = str(tmp_path / "store")
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    racers = [subprocess.Popen([sys.executable, "-c", RACER, url, str(value)], **pipes) for value in range(3)]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for number in range(8):
        for racer in racers:
            print(number, file=racer.stdin, flush=True)
        assert [racer.stdout.readline() for racer in racers] == ["written\n"] * 3
    for racer in racers:
        racer.communicate()
        assert racer.returncode == 0
    store = ResultStore.open(url)
    assert store.verify() == []
    assert len(store.addresses()) == 8
    for address in store.addresses():
        assert store.document(address, "metrics")["value"] == store.tensors(address, "weights")["w"][0].item()
    assert os.listdir(f"{url}/tmp") == []
