from importlib import metadata

import pytest

from ticketdiet.core.errors import UnknownName
from ticketdiet.core.registry import Registry

HOUSE = metadata.EntryPoint("json_loads", "json:loads", "ticketdiet.flavours")
MISSING = metadata.EntryPoint("gone", "no_such_module_at_all:thing", "ticketdiet.flavours")


@pytest.fixture
def foreign(monkeypatch):
    """Two entry points of another package, and a list of the groups that were asked for."""
    asked = []

    def entry_points(*, group):
        asked.append(group)
        return metadata.EntryPoints([HOUSE, MISSING])

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    return asked


def flavours():
    registry = Registry("flavour")
    registry.register("vanilla")(len)
    return registry


def test_what_was_registered_is_found_under_its_name():
    assert flavours().get("vanilla") is len
    assert flavours().names() == ["vanilla"]


def test_registering_gives_the_thing_back_unchanged():
    assert flavours().register("lemon")(abs) is abs


def test_another_package_adds_one_by_an_entry_point(foreign):
    import json

    registry = flavours()
    assert registry.names() == ["gone", "json_loads", "vanilla"]
    assert registry.get("json_loads") is json.loads
    assert "json_loads" in registry
    assert set(foreign) == {"ticketdiet.flavours"}


def test_entry_points_are_neither_listed_nor_loaded_before_they_are_needed(foreign):
    assert flavours().get("vanilla") is len
    assert foreign == []
    assert "gone" in flavours().names()  # listing does not import it


def test_what_is_registered_here_wins_over_an_entry_point(foreign):
    registry = flavours()
    registry.register("json_loads")(abs)
    assert registry.get("json_loads") is abs


def test_an_unknown_name_lists_those_of_other_packages_too(foreign):
    with pytest.raises(UnknownName, match="gone, json_loads, vanilla"):
        flavours().get("chocolate")


def test_a_name_cannot_be_registered_twice():
    with pytest.raises(AssertionError, match="'vanilla' is registered twice"):
        flavours().register("vanilla")(abs)


def test_membership_needs_no_string():
    assert 3 not in flavours()


def test_a_thing_may_be_registered_for_a_while():
    registry = flavours()
    with registry.temporarily("lemon", abs) as thing:
        assert thing is abs is registry.get("lemon")
    assert registry.names() == ["vanilla"]


def test_what_was_registered_for_a_while_is_gone_after_an_error_too():
    registry = flavours()
    with pytest.raises(KeyboardInterrupt), registry.temporarily("lemon", abs):
        raise KeyboardInterrupt
    assert "lemon" not in registry


def test_a_kind_with_a_plural_of_its_own_has_the_group_of_that_plural():
    assert Registry("loss", "losses").group == "ticketdiet.losses"
    assert Registry("mask criterion", "mask criteria").group == "ticketdiet.mask_criteria"
