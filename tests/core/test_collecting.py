import gc
import sys

import pytest

from ticketdiet.core.collecting import importing, without_collector


@pytest.mark.parametrize("on", [True, False])
def test_the_collector_is_off_inside_the_block_and_as_before_after_it(on):
    before = gc.isenabled()
    try:
        (gc.enable if on else gc.disable)()
        with without_collector(), without_collector():
            assert not gc.isenabled()
        assert gc.isenabled() is on
    finally:
        (gc.enable if before else gc.disable)()


def test_the_collector_is_on_again_after_an_error():
    with pytest.raises(KeyError), without_collector():
        raise KeyError
    assert gc.isenabled()


class Node:
    """Something that the collector looks at."""


@pytest.fixture
def thawed():
    """Lets the collector look at everything again when a test has ended."""
    yield
    gc.unfreeze()


def test_what_was_imported_is_never_looked_at_again(thawed, monkeypatch):
    with importing():
        assert not gc.isenabled()
        monkeypatch.setitem(sys.modules, "imaginary", kept := Node())
    assert gc.isenabled()
    assert not any(one is kept for one in gc.get_objects())


def test_what_was_imported_before_changes_nothing(thawed):
    before = gc.get_freeze_count()
    with importing():
        kept = Node()
    assert gc.get_freeze_count() == before
    assert any(one is kept for one in gc.get_objects())


def test_nothing_is_frozen_after_an_import_that_failed(thawed, monkeypatch):
    def import_half():
        monkeypatch.setitem(sys.modules, "imaginary", None)
        raise ImportError

    before = gc.get_freeze_count()
    with pytest.raises(ImportError), importing():
        import_half()
    assert gc.isenabled()
    assert gc.get_freeze_count() == before
