"""A study that is finished says so at once: tables and figures are made again only when what they show has changed."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

from ticketdiet.cli.main import app
from ticketdiet.reports.drawn import RECORD
from ticketdiet.reports.measured import read_measured

SETTINGS = (
    "model.width=2",
    "training.steps=4",
    "pruning.levels=1",
    "scores={}",
    "arms={none@0: {}, all@2: {pretrain: {steps: 2}}}",
)
# What takes long to import, and says nothing of a study that is known already. Importing torch imports none of it.
NEEDLESS = {
    *("matplotlib", "pandas", "scipy", "sklearn", "pyarrow", "PIL", "torchvision", "timm", "datasets", "fsspec"),
    *("ray", "submitit", "curvlinops", "jinja2", "torch._dynamo", "torch._inductor"),
}
THEN_NAME_MODULES = """
import sys
from ticketdiet.cli import main
sys.argv[0] = "ticketdiet"
try:
    main()
finally:
    print("MODULES", *sys.modules, file=sys.stderr)
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


def invoke(folder, *settings, command="run"):
    options = ["--store", folder / "runs", "--out", folder / "figures", *settings]
    options += ["--workers", "1"] if command == "run" else []
    return CliRunner().invoke(app, [command, str(folder / "tiny.yaml"), *map(str, options)])


def run(folder, *settings, command="run"):
    result = invoke(folder, *settings, command=command)
    assert result.exit_code == 0, result.output
    return result.output


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "figures").iterdir() if path.name != RECORD}


def run_alone(folder):
    """Run the study in a process of its own; return its output, and the modules that it has imported at the end."""
    arguments = ["run", "tiny.yaml", "--store", "runs", "--out", "figures"]
    script = [sys.executable, "-c", THEN_NAME_MODULES, *arguments]
    done = subprocess.run(script, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, set(done.stderr.rpartition("MODULES ")[2].split())


def test_a_second_run_draws_nothing_and_names_the_same_figures(finished):
    run(finished)
    before = times(finished)
    again = run(finished)
    assert "Nothing to do" in again
    assert times(finished) == before
    assert all(str(finished / "figures" / name) in again for name in before)


def test_a_second_run_imports_nothing_that_draws_or_makes_tables(finished):
    first = run(finished)
    again, modules = run_alone(finished)
    assert again.replace(" figures/", f" {finished}/figures/").split() == first.split()
    assert not NEEDLESS & modules


def test_that_there_is_nothing_to_do_is_said_before_tables_are_made(finished, monkeypatch):
    (finished / "figures" / RECORD).unlink()
    monkeypatch.setitem(sys.modules, "ticketdiet.reports.table", None)
    ended = invoke(finished)
    assert isinstance(ended.exception, ImportError)
    assert ended.output == f"Nothing to do: all 6 stages of tiny are in {finished / 'runs'}.\n"


def test_the_tables_of_a_second_run_are_those_that_are_made_anew(finished):
    known = run(finished)
    (finished / "figures" / RECORD).unlink()
    assert run(finished) == known
    assert run(finished) == known


def test_tables_that_are_known_are_not_shown_for_results_that_decayed_meanwhile(finished, tmp_path, monkeypatch):
    copy = shutil.copytree(finished, tmp_path / "copy")
    before = run(copy)
    kinds = {path: json.loads(path.read_text())["kind"] for path in copy.glob("runs/results/*/*/manifest.json")}
    rows = next(path for path, kind in kinds.items() if kind == "level").with_name("rows.json")
    rows.write_bytes(rows.read_bytes().replace(b"0.", b"1.", 1))
    monkeypatch.setattr("ticketdiet.studies.run.stages_left", lambda *_: {})  # times of files did not tell
    again = run(copy)
    assert "1 of 6 results are left out because they are damaged" in again
    assert f"({rows.parent.name}): rows.json does not match its checksum" in again
    assert len(re.findall(r" 0\.\d{3}", again)) == len(re.findall(r" 0\.\d{3}", before)) - 1


def exchange(store, address, change):
    """Put another result in the place of one, as a run does that has found it damaged."""
    old = store.manifest(address)
    stems = {name.partition(".")[0]: name for name in old.files}
    tensors = {stem: store.tensors(address, stem) for stem, name in stems.items() if name.endswith(".safetensors")}
    documents = {stem: store.document(address, stem) for stem, name in stems.items() if name.endswith(".json")}
    store.discard(address)
    given = {"kind": old.kind, "version": old.version, "spec": old.spec, "inputs": old.inputs}
    store.write(address, **given, tensors=tensors, documents=change(documents))


def test_a_result_that_is_exchanged_while_it_is_shown_is_shown_by_the_next_run(finished, tmp_path, monkeypatch):
    def change(documents):
        return documents | {"rows": [row | {"value": 0.123} for row in documents["rows"]]}

    def read_and_exchange(plan, store, **options):
        found = read_measured(plan, store, **options)
        exchange(store, next(address for address, stage in plan.stages.items() if stage.kind == "level"), change)
        return found

    copy = shutil.copytree(finished, tmp_path / "copy")
    (copy / "figures" / RECORD).unlink()
    with monkeypatch.context() as patch:
        patch.setattr("ticketdiet.reports.measured.read_measured", read_and_exchange)
        assert "0.123" not in run(copy)
    assert "0.123" in run(copy)


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
