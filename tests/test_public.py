"""The one door: what ``ticketdiet`` exports, and that opening it costs nothing."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import ticketdiet

HEAVY = ("torch", "numpy", "pandas", "matplotlib", "scipy", "sklearn", "torchvision", "pyarrow")


def modules_after(code, *arguments):
    """Names of the modules that a fresh interpreter has loaded after running ``code``."""
    ending = "\nimport sys; print('\\nMODULES', *sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code + ending, *arguments], capture_output=True, text=True, check=True, timeout=120
    )
    return set(run.stdout.rpartition("MODULES ")[2].split())


@pytest.mark.parametrize("name", ticketdiet.__all__)
def test_every_exported_name_can_be_imported(name):
    value = getattr(ticketdiet, name)
    if callable(value):
        assert inspect.getdoc(value)
        assert value.__name__ == name


def test_all_is_exactly_what_the_lazy_door_and_the_type_checker_see():
    seen_by_types = {
        alias.name
        for block in ast.parse(Path(ticketdiet.__file__).read_text(encoding="utf-8")).body
        if isinstance(block, ast.If)
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert sorted(ticketdiet.__all__) == list(ticketdiet.__all__)
    assert set(ticketdiet.__all__) - {"__version__"} == seen_by_types == set(ticketdiet._HOMES)


def test_the_type_checker_and_the_lazy_door_look_in_the_same_modules():
    blocks = ast.parse(Path(ticketdiet.__file__).read_text(encoding="utf-8")).body
    inside = [statement for block in blocks if isinstance(block, ast.If) for statement in block.body]
    statements = [statement for statement in inside if isinstance(statement, ast.ImportFrom)]
    assert len(statements) == len(inside)
    homes = {alias.name: statement.module for statement in statements for alias in statement.names}
    assert homes == {name: f"ticketdiet.{home}" for name, home in ticketdiet._HOMES.items()}


def test_dir_lists_everything_exported():
    assert set(ticketdiet.__all__) <= set(dir(ticketdiet))


def test_an_unknown_attribute_is_an_attribute_error_that_names_it():
    with pytest.raises(AttributeError, match="no attribute 'find_tickets'"):
        _ = ticketdiet.find_tickets


def test_importing_the_package_imports_nothing_heavy():
    assert not modules_after("import ticketdiet").intersection(HEAVY)


HELP = """
import runpy, sys
try:
    runpy.run_module("ticketdiet", run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
"""


@pytest.mark.parametrize(
    "command",
    [[], ["run"], ["plan"], ["results"], ["compare"], ["figure"], ["report"], ["studies"], ["data"], ["verify"]],
)
def test_help_imports_nothing_heavy(command):
    assert not modules_after(HELP, *command, "--help").intersection(HEAVY)


def test_python_dash_m_shows_the_help_and_the_version():
    def output(*arguments):
        run = [sys.executable, "-m", "ticketdiet", *arguments]
        return subprocess.run(run, capture_output=True, text=True, check=True, timeout=120).stdout

    assert "magnitude pruning" in " ".join(output("--help").split())
    assert output("--version").split() == ["ticketdiet", ticketdiet.__version__]
