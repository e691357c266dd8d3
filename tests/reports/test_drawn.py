import json
import os

import pytest

from ticketdiet.core.errors import DamagedResult, UserError
from ticketdiet.reports import drawn
from ticketdiet.reports.drawn import RECORD, record_figures, unchanged_figures, what_figures_show
from ticketdiet.store.results import ResultStore

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
def shown(tmp_path):
    figures = [tmp_path / "figures" / name for name in ("a.png", "a.svg")]
    figures[0].parent.mkdir()
    for figure in figures:
        figure.write_bytes(figure.suffix.encode())
    record_figures(tmp_path / "figures", "this", figures)
    return figures


def test_figures_are_believed_while_nothing_has_changed(shown):
    folder = shown[0].parent
    assert unchanged_figures(folder, "this") == shown
    assert unchanged_figures(folder, "that") is None
    assert unchanged_figures(folder / "elsewhere", "this") is None
    (folder / "of another command.png").write_bytes(b"x")
    assert unchanged_figures(folder, "this") == shown


def test_a_moved_folder_is_believed_too(shown, tmp_path):
    shown[0].parent.rename(tmp_path / "moved")
    assert unchanged_figures(tmp_path / "moved", "this") == [tmp_path / "moved" / path.name for path in shown]


@pytest.mark.skipif(os.name != "posix", reason="needs named pipes and devices")
@pytest.mark.parametrize("harm", ["missing", "altered", "a folder", "a pipe", "a device"])
def test_a_missing_or_altered_figure_is_not_believed(shown, harm):
    figure = shown[1]
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
    assert unchanged_figures(figure.parent, "this") is None


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
        '{"shows": "this", "files": {"a\\u0000b": "x"}}',
        "[" * 100_000,
        "x" * 2_000_000,
        "\x00",
    ],
)
def test_a_record_that_is_not_as_it_was_written_is_not_believed(shown, text):
    (shown[0].parent / RECORD).write_text(text)
    assert unchanged_figures(shown[0].parent, "this") is None


def test_a_record_that_leads_out_of_the_folder_is_read_inside_of_it(shown, tmp_path):
    (tmp_path / "a.png").write_bytes(b"other")
    record = shown[0].parent / RECORD
    known = json.loads(record.read_text())
    known["files"] = {f"../{name}": digest for name, digest in known["files"].items()}
    record.write_text(json.dumps(known))
    assert unchanged_figures(shown[0].parent, "this") == shown


def test_a_record_that_cannot_be_written_is_a_users_error(shown, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be written"):
        record_figures(tmp_path / "file", "this", shown)


def test_what_figures_show_changes_with_study_results_and_code_and_with_nothing_else(plan, tmp_path, monkeypatch):
    one = what_figures_show(plan(), fill(tmp_path / "one", plan()))
    assert what_figures_show(plan(), fill(tmp_path / "same", plan())) == one
    others = [
        what_figures_show(plan(), fill(tmp_path / "measured", plan(), 0.6)),
        what_figures_show(plan("measure.tolerance=0.2"), fill(tmp_path / "tolerance", plan())),
        what_figures_show(plan("training.steps=5"), fill(tmp_path / "steps", plan("training.steps=5"))),
        what_figures_show(plan("arms={one@0: {}}"), fill(tmp_path / "named", plan())),
    ]
    monkeypatch.setattr(drawn, "_code", lambda: ["another version"])
    others.append(what_figures_show(plan(), ResultStore.open(tmp_path / "one")))
    assert len({one, *others}) == 6


def test_an_unfinished_study_shows_nothing_that_could_be_known_again(plan, tmp_path):
    with pytest.raises(DamagedResult):
        what_figures_show(plan(), ResultStore.open(tmp_path / "empty"))
