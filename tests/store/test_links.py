"""A store never leaves its folder: what is a link, a FIFO or a device in it is named, and what it points to stays."""

import contextlib
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from ticketdiet.core.addresses import address_of
from ticketdiet.core.errors import DamagedResult, StoreError
from ticketdiet.store.folder import Folder
from ticketdiet.store.results import ResultStore

IDENTITY: dict[str, Any] = {"kind": "level", "version": 1, "spec": {"number": 1}, "inputs": {}}
ADDRESS = address_of(**IDENTITY)
LEFTOVER = f"{ADDRESS}.{'0' * 32}"
AT_ADDRESS = f"results/{ADDRESS[:2]}/{ADDRESS}"

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs links and FIFOs")


@pytest.fixture
def store(tmp_path):
    store = ResultStore.open(tmp_path / "store")
    put(store)
    return store


@pytest.fixture
def outside(tmp_path):
    """A folder that is none of the store's business, filled with what the store would remove if it were."""
    folder = tmp_path / "outside"
    for name in (LEFTOVER, f"{ADDRESS}.safetensors", ADDRESS, ADDRESS[:2]):
        (folder / name).mkdir(parents=True)
        (folder / name / "precious").write_text("mine")
    os.utime(folder / LEFTOVER, (0, 0))
    return folder


def put(store):
    store.write(ADDRESS, **IDENTITY, tensors={"weights": {"w": torch.ones(50)}}, documents={"rows": []})


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize(
    "name", ["tmp", "damaged", "partial", "results", f"results/{ADDRESS[:2]}", "drivers", "leases"]
)
def test_a_folder_of_the_store_that_is_a_link_is_named_and_nothing_behind_it_is_touched(store, outside, name):
    place, before = Path(store.url, name), everything(outside)
    if place.exists():
        place.rename(f"{place}.moved")
    place.symlink_to(outside)
    with pytest.raises(StoreError, match=rf"{name} is a symbolic link, not a folder(.|\n)*move it out of the store"):
        store.collect(set(), dry_run=False, older_than=-10)
    for attempt in (put, lambda store: store.discard(ADDRESS), lambda store: store.save_partial(ADDRESS, {}, {})):
        with contextlib.suppress(StoreError):
            attempt(ResultStore.open(store.url))
    assert everything(outside) == before


@pytest.mark.parametrize("target", [ADDRESS, f"{LEFTOVER}/precious"])
@pytest.mark.parametrize(
    "place", [AT_ADDRESS, f"tmp/{LEFTOVER}", f"damaged/{LEFTOVER}", f"partial/{ADDRESS}.safetensors"]
)
def test_collecting_removes_a_link_and_not_what_it_points_to(store, outside, place, target):
    store.discard(ADDRESS)
    link, before = Path(store.url, place), everything(outside)
    link.parent.mkdir(exist_ok=True, parents=True)
    link.symlink_to(outside / target)
    found = store.collect(set(), dry_run=False, older_than=-10)
    assert place in found.leftovers or found.addresses == (ADDRESS,)
    assert not os.path.lexists(link)
    assert everything(outside) == before


def test_a_link_inside_a_result_is_removed_with_it_and_its_target_stays(store, outside):
    before = everything(outside)
    Path(store.url, AT_ADDRESS, "more").symlink_to(outside)
    assert store.collect(set(), dry_run=False).addresses == (ADDRESS,)
    assert not store.addresses()
    assert everything(outside) == before


@pytest.mark.parametrize("target", [ADDRESS, f"{LEFTOVER}/precious", "nowhere"])
def test_a_link_in_the_place_of_a_result_is_damaged_and_made_anew(store, outside, target):
    store.discard(ADDRESS)
    before = everything(outside)
    Path(store.url, AT_ADDRESS).symlink_to(outside / target)
    assert store.check(ADDRESS).reason == f"{AT_ADDRESS} is a symbolic link, not a folder"
    put(store)
    assert store.has(ADDRESS)
    assert not Path(store.url, AT_ADDRESS).is_symlink()
    assert everything(outside) == before


def as_fifo(path):
    os.mkfifo(path)


def as_socket(path):
    # The path of a socket may be no longer than about a hundred letters.
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(path.name)
    finally:
        os.chdir(here)


def as_folder(path):
    path.mkdir()


def as_link(path):
    path.symlink_to(f"{path}.real")


def as_link_to_a_device(path):
    path.symlink_to("/dev/zero")


KINDS = [as_fifo, as_socket, as_folder, as_link, as_link_to_a_device]


@pytest.mark.parametrize("change", KINDS)
@pytest.mark.parametrize("name", ["manifest.json", "weights.safetensors"])
def test_what_is_no_plain_file_in_a_result_is_damage_and_never_waited_for(store, change, name):
    path = Path(store.url, AT_ADDRESS, name)
    path.rename(f"{path}.real")
    change(path)
    assert store.check(ADDRESS).state == "damaged"
    assert name in store.check(ADDRESS).reason
    assert [problem.address for problem in store.verify()] == [ADDRESS]
    with pytest.raises(DamagedResult):
        store.tensors(ADDRESS, "weights")
    put(store)
    assert store.tensors(ADDRESS, "weights")["w"].sum() == 50


@pytest.mark.parametrize("change", KINDS)
def test_a_partial_state_that_is_no_plain_file_is_none_and_gives_way(store, change):
    other = "a" * 24
    Path(store.url, "partial").mkdir(exist_ok=True)
    change(Path(store.url, "partial", f"{other}.safetensors"))
    assert store.load_partial(other) is None
    store.save_partial(other, {"w": torch.ones(2)}, {"step": 1})
    assert store.load_partial(other).document == {"step": 1}


@pytest.mark.parametrize("change", KINDS)
def test_a_store_file_that_is_no_plain_file_is_refused(store, change):
    path = Path(store.url, "ticketdiet-store.json")
    path.unlink()
    change(path)
    with pytest.raises(StoreError, match=r"ticketdiet-store\.json is a .*, not a file"):
        ResultStore.open(store.url)


def test_the_whole_store_may_lie_behind_a_link(store, tmp_path):
    (tmp_path / "link").symlink_to(store.url)
    linked = ResultStore.open(tmp_path / "link")
    assert linked.has(ADDRESS)
    assert linked.collect(set(), dry_run=False).addresses == (ADDRESS,)
    assert store.addresses() == []


def test_a_file_exchanged_together_with_its_times_is_noticed_at_once(store):
    identity = IDENTITY | {"spec": {"number": 2}}
    other = address_of(**identity)
    store.write(other, **identity, tensors={"weights": {"w": torch.zeros(50)}}, documents={"rows": []})
    ours, theirs = (Path(store.url, "results", a[:2], a, "weights.safetensors") for a in (ADDRESS, other))
    times = [os.stat(path) for path in (ours, theirs)]
    ours.rename(f"{ours}.away")
    theirs.rename(ours)
    Path(f"{ours}.away").rename(theirs)
    for path, before in zip((ours, theirs), times, strict=True):
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert {store.check(address).state for address in (ADDRESS, other)} == {"damaged"}


def test_a_copied_store_is_hashed_once_and_not_at_every_look(store, tmp_path, monkeypatch):
    shutil.copytree(store.url, tmp_path / "copy")
    copy, honest, hashed = ResultStore.open(tmp_path / "copy"), Folder.digest, []
    monkeypatch.setattr(Folder, "digest", lambda place, path: hashed.append(path) or honest(place, path))
    assert copy.has(ADDRESS)
    assert len(hashed) == 2
    assert copy.has(ADDRESS)
    assert len(hashed) == 2
    path = tmp_path / "copy" / AT_ADDRESS / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert not copy.has(ADDRESS)
