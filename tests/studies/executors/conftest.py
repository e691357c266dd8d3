"""What tests of executors have in common: a run on this machine to compare with, and networks that workers import."""

import sys

import pytest


@pytest.fixture
def alone(tmp_path, run_tiny, contents):
    """What a run on this machine gives."""
    from ticketdiet.store.results import ResultStore

    def of(plan):
        store = ResultStore.open(tmp_path / "alone")
        run_tiny(plan, store)
        return contents(store, plan)

    return of


@pytest.fixture(scope="module")
def importable(tmp_path_factory):
    """Writes a module of own networks, which this process and those that it starts can import; returns its folder."""
    names = []
    with pytest.MonkeyPatch.context() as patch:

        def write(name, text):
            folder = tmp_path_factory.mktemp("nets")
            (folder / f"{name}.py").write_text(text)
            patch.syspath_prepend(str(folder))
            names.append(name)
            return folder

        yield write
        for name in names:
            sys.modules.pop(name, None)
