"""Opening a store: at a path or URL, with what is there already."""

import errno
import json
import os
from typing import Any

import pytest

from ticketdiet.core.addresses import address_of
from ticketdiet.core.errors import NoStore, StoreError, UserError
from ticketdiet.store.bucket import Bucket
from ticketdiet.store.folder import Folder
from ticketdiet.store.opening import open_place
from ticketdiet.store.results import ResultStore

IDENTITY: dict[str, Any] = {"kind": "level", "version": 1, "spec": {}, "inputs": {}}
ADDRESS = address_of(**IDENTITY)


def put(store):
    store.write(ADDRESS, **IDENTITY)


def test_paths_and_file_urls_are_folders_and_other_urls_are_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (tmp_path / "a b", "a b", f"file://{tmp_path}/a%20b"):
        place = open_place(name)
        assert isinstance(place, Folder)
        assert place.root == str(tmp_path / "a b")
    assert isinstance(open_place("memory://somewhere"), Bucket)


class TestOpening:
    def test_a_second_opening_finds_the_results(self, tmp_path):
        put(ResultStore.open(tmp_path / "deep" / "store"))
        assert ResultStore.open(str(tmp_path / "deep" / "store"), create=False).has(ADDRESS)
        assert ResultStore.open(f"file://{tmp_path}/deep/store").has(ADDRESS)

    def test_reading_a_store_that_is_not_there_makes_nothing(self, tmp_path):
        with pytest.raises(NoStore, match="There is no store at"):
            ResultStore.open(tmp_path / "nowhere", create=False)
        assert not (tmp_path / "nowhere").exists()

    def test_a_store_of_a_newer_version_is_refused_with_the_way_out(self, tmp_path):
        ResultStore.open(tmp_path)
        (tmp_path / "ticketdiet-store.json").write_text(json.dumps({"format": 99}))
        with pytest.raises(UserError, match=r"format 99, written by a newer ticketdiet(.|\n)*--upgrade"):
            ResultStore.open(tmp_path)

    def test_a_store_file_that_cannot_be_read_is_named(self, tmp_path):
        (tmp_path / "ticketdiet-store.json").write_text("{")
        with pytest.raises(StoreError, match=r"ticketdiet-store\.json"):
            ResultStore.open(tmp_path)

    def test_a_file_in_the_way_is_the_users_mistake(self, tmp_path):
        (tmp_path / "file").write_text("")
        for path in (tmp_path / "file", tmp_path / "file" / "below"):
            with pytest.raises(UserError, match="a file is in the way"):
                ResultStore.open(path)

    def test_a_folder_that_cannot_be_written_is_refused_at_once(self, tmp_path, monkeypatch):
        def refuse(*args, **kwargs):
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr("pathlib.Path.touch", refuse)
        with pytest.raises(UserError, match=f"{tmp_path} cannot be written: Permission denied(.|\n)*--store"):
            ResultStore.open(tmp_path)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_a_read_only_folder_is_refused_by_the_file_system_itself(self, tmp_path):
        tmp_path.chmod(0o500)
        with pytest.raises(UserError, match="cannot be written"):
            ResultStore.open(tmp_path)
        tmp_path.chmod(0o700)

    def test_an_unknown_protocol_is_the_users_mistake(self):
        with pytest.raises(UserError, match="cannot be reached"):
            ResultStore.open("nosuchprotocol://x")

    def test_an_empty_name_is_the_users_mistake(self):
        with pytest.raises(UserError, match="no name"):
            ResultStore.open(" ")
