import hashlib
import json
import os

import pytest

from ticketdiet.core.errors import DamagedResult, UserError
from ticketdiet.reports import drawn
from ticketdiet.reports.drawn import RECORD, Shown, read_shown, record_shown, what_is_shown
from ticketdiet.reports.figure_registry import FIGURES
from ticketdiet.reports.titled import Grid, TitledTable
from ticketdiet.store.results import ResultStore

TABLES = (
    TitledTable(
        "title", (Grid(("arm", "100 %"), (("none@0", "0.812 ± 0.010\n[0.8, 0.9]"),), is_narrow=True),), "caption"
    ),
    TitledTable("", (), "nothing"),
)
SETTINGS = ("pruning.levels=0", "scores={}", "arms={none@0: {}}")


@pytest.fixture
def plan(plan_tiny):
    return lambda *settings: plan_tiny(*SETTINGS, *settings)


def fill(folder, plan, value=0.5):
    """A store in which every stage of the plan has one document."""
    store = ResultStore.open(folder)
    for stage in plan.stages.values():
        rows = {"rows": [{"metric": "accuracy", "value": value}]}
        about = {"kind": stage.kind, "version": stage.version, "spec": stage.identity, "inputs": stage.inputs}
        store.write(stage.address, **about, documents=rows)
    return store


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "figures"


@pytest.fixture
def shown(folder):
    figures = tuple(folder / name for name in ("a.png", "a.svg"))
    folder.mkdir()
    for figure in figures:
        figure.write_bytes(figure.suffix.encode())
    shown = Shown(TABLES, figures)
    record_shown(folder, "this", shown)
    return shown


def change(folder, part, value):
    """Change a part of the record as whoever knows how to write one does, its checksum of itself included."""
    known = json.loads((folder / RECORD).read_text()) | {part: value}
    rest = {name: known[name] for name in ("shows", "tables", "files")}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    (folder / RECORD).write_text(json.dumps(rest | {"checksum": hashlib.sha256(text.encode()).hexdigest()}))


def test_tables_and_figures_are_believed_while_nothing_has_changed(shown, folder):
    assert read_shown(folder, "this") == shown
    assert read_shown(folder, "that") is None
    assert read_shown(folder / "elsewhere", "this") is None
    (folder / "of another command.png").write_bytes(b"x")
    assert read_shown(folder, "this") == shown


def test_a_moved_folder_is_believed_too(shown, folder, tmp_path):
    folder.rename(tmp_path / "moved")
    moved = tuple(tmp_path / "moved" / path.name for path in shown.figures)
    assert read_shown(tmp_path / "moved", "this") == Shown(TABLES, moved)


@pytest.mark.skipif(os.name != "posix", reason="needs named pipes and devices")
@pytest.mark.parametrize("harm", ["missing", "altered", "a folder", "a pipe", "a device"])
def test_a_missing_or_altered_figure_is_not_believed(shown, folder, harm):
    figure = shown.figures[1]
    if harm == "altered":
        times = figure.stat()
        figure.write_bytes(b".svG")
        os.utime(figure, ns=(times.st_atime_ns, times.st_mtime_ns))
    else:
        figure.unlink()
    if harm == "a folder":
        figure.mkdir()
    elif harm == "a pipe":
        os.mkfifo(figure)
    elif harm == "a device":
        figure.symlink_to("/dev/zero")
    assert read_shown(folder, "this") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3",
        "[]",
        "{}",
        '{"shows": "this"}',
        '{"shows": "this", "files": {}}',
        '{"shows": "this", "files": []}',
        '{"shows": "this", "files": 3}',
        '{"shows": "this", "files": {"../../etc/passwd": "x"}}',
        '{"shows": "this", "files": {"": "x"}}',
        '{"shows": "this", "files": {"a.png": "x"}, "tables": [], "checksum": "x"}',
        '{"shows": "this", "files": {"a\\u0000b": "x"}}',
        "[" * 100_000,
        "x" * 2_000_000,
        "\x00",
    ],
)
def test_a_record_that_is_not_as_it_was_written_is_not_believed(shown, folder, text):
    (folder / RECORD).write_text(text)
    assert read_shown(folder, "this") is None


def test_a_record_in_which_a_number_was_altered_is_not_believed(shown, folder):
    text = (folder / RECORD).read_text()
    (folder / RECORD).write_text(text.replace("0.812", "0.912"))
    assert read_shown(folder, "this") is None


@pytest.mark.parametrize("tables", [3, None, [[]], [{"title": "", "caption": ""}], [{"title": 1, "grids": 2}]])
def test_tables_of_another_form_are_not_believed(shown, folder, tables):
    change(folder, "tables", tables)
    assert read_shown(folder, "this") is None


def test_a_record_that_leads_out_of_the_folder_is_read_inside_of_it(shown, folder, tmp_path):
    (tmp_path / "a.png").write_bytes(b"other")
    files = json.loads((folder / RECORD).read_text())["files"]
    change(folder, "files", {f"../{name}": digest for name, digest in files.items()})
    assert read_shown(folder, "this") == shown


def test_a_record_that_cannot_be_written_is_a_users_error(shown, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be written"):
        record_shown(tmp_path / "file", "this", shown)


def test_what_is_shown_changes_with_study_results_and_code_and_with_nothing_else(plan, tmp_path, monkeypatch):
    one = what_is_shown(plan(), fill(tmp_path / "one", plan()))
    assert what_is_shown(plan(), fill(tmp_path / "same", plan())) == one
    others = [
        what_is_shown(plan(), fill(tmp_path / "measured", plan(), 0.6)),
        what_is_shown(plan("measure.tolerance=0.2"), fill(tmp_path / "tolerance", plan())),
        what_is_shown(plan("training.steps=5"), fill(tmp_path / "steps", plan("training.steps=5"))),
        what_is_shown(plan("arms={one@0: {}}"), fill(tmp_path / "named", plan())),
    ]
    monkeypatch.setattr(drawn, "_code", lambda: ["another version"])
    others.append(what_is_shown(plan(), ResultStore.open(tmp_path / "one")))
    assert len({one, *others}) == 6


def test_a_figure_of_another_package_counts_with_its_version(tmp_path, monkeypatch):
    known = [drawn._code.__wrapped__()]
    for version in ("1.0", "1.1"):
        info = tmp_path / version / "others.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: others\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[{FIGURES.group}]\nsigns = others:signs\n")
        with monkeypatch.context() as patch:
            patch.syspath_prepend(tmp_path / version)
            known.append(drawn._code.__wrapped__())
    assert len(set(map(tuple, known))) == 3
    assert drawn._code.__wrapped__() == known[0]


def test_an_unfinished_study_shows_nothing_that_could_be_known_again(plan, tmp_path):
    with pytest.raises(DamagedResult):
        what_is_shown(plan(), ResultStore.open(tmp_path / "empty"))
