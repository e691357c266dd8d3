"""A study that is finished says so at once, and its figures are drawn again only when what they show has changed."""

import subprocess
import sys

import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

from ticketdiet.cli.main import app
from ticketdiet.reports.drawn import RECORD

SETTINGS = (
    "model.width=2",
    "training.steps=4",
    "pruning.levels=1",
    "scores={}",
    "arms={none@0: {}, all@2: {pretrain: {steps: 2}}}",
)
WITHOUT = """
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {libraries}:
            raise ImportError(f"{{name}} is imported")

sys.meta_path.insert(0, Absent())
from ticketdiet.cli import main
sys.argv[0] = "ticketdiet"
main()
"""


@pytest.fixture(scope="module", autouse=True)
def one_small_figure():
    """What is drawn does not matter here."""
    with pytest.MonkeyPatch.context() as patch:
        one = {"accuracy": Figure((1, 1))}
        patch.setattr("ticketdiet.reports.drawing.draw_figures", lambda *_: iter(one.items()))
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_file, one_small_figure):
    folder = tmp_path_factory.mktemp("finished")
    tiny_file(folder, *SETTINGS)
    run(folder)
    return folder


def run(folder, *settings, command="run"):
    options = ["--store", folder / "runs", "--out", folder / "figures", *settings]
    options += ["--workers", "1"] if command == "run" else []
    result = CliRunner().invoke(app, [command, str(folder / "tiny.yaml"), *map(str, options)])
    assert result.exit_code == 0, result.output
    return result.output


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "figures").iterdir() if path.name != RECORD}


def without(libraries, folder):
    arguments = ["run", "tiny.yaml", "--store", "runs", "--out", "figures"]
    script = [sys.executable, "-c", WITHOUT.format(libraries=libraries), *arguments]
    return subprocess.run(script, capture_output=True, text=True, cwd=folder, check=False)


def test_a_second_run_draws_nothing_and_names_the_same_figures(finished):
    run(finished)
    before = times(finished)
    again = run(finished)
    assert "Nothing to do" in again
    assert times(finished) == before
    assert all(str(finished / "figures" / name) in again for name in before)


def test_a_second_run_does_not_need_what_draws(finished):
    run(finished)
    done = without(["matplotlib"], finished)
    assert done.returncode == 0, done.stderr
    assert "accuracy.png" in done.stdout


def test_that_there_is_nothing_to_do_is_said_before_slow_imports(finished):
    run(finished)
    done = without(["matplotlib", "pandas", "scipy"], finished)
    assert done.stdout.startswith("Nothing to do: all 6 stages of tiny")
    assert "is imported" in done.stderr


def test_an_altered_figure_is_drawn_again(finished):
    run(finished)
    figure = finished / "figures" / "accuracy.png"
    good = figure.read_bytes()
    figure.write_bytes(good[:-1] + b"x")
    run(finished)
    assert figure.read_bytes() == good


def test_another_study_in_the_same_folder_draws_its_own(finished):
    run(finished)
    before = times(finished)
    run(finished, "--limit-arms", "all@2")
    assert times(finished) != before
    run(finished)
    assert times(finished) != before


def test_figure_draws_anew_whenever_it_is_asked(finished):
    run(finished)
    before = times(finished)
    run(finished, command="figure")
    assert all(now > before[name] for name, now in times(finished).items())
    drawn = times(finished)
    run(finished)
    assert times(finished) == drawn
