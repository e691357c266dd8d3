import pytest

from ticketdiet.core.errors import DamagedResult, StoreError, TrainingDiverged, UserError
from ticketdiet.studies.executors.base import NotBegun
from ticketdiet.studies.executors.notes import MOST_LINES, Notes, WorkFailed, end_of
from ticketdiet.training.loop import DivergedAt

ONE, TWO, THREE = "a" * 24, "b" * 24, "c" * 24


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def notes(tmp_path, now):
    return Notes(tmp_path, clock=lambda: now[0])


def test_an_ending_is_told_once_and_only_to_who_asks_for_it(notes):
    notes.done(ONE, ("a warning",))
    notes.not_begun(TWO)
    assert notes.take_endings([THREE]) == {}
    found = notes.take_endings([ONE, TWO, THREE])
    assert found[ONE] == ("a warning",)
    assert isinstance(found[TWO], NotBegun)
    assert notes.take_endings([ONE, TWO, THREE]) == {}


@pytest.mark.parametrize("kind", [UserError, StoreError, DamagedResult, TrainingDiverged])
def test_an_error_of_this_package_arrives_as_what_it_was(notes, kind):
    notes.failed(ONE, kind("This came.", expected="that", way_out="go on"))
    found = notes.take_endings([ONE])[ONE]
    assert type(found) is kind
    assert (found.came, found.expected, found.way_out) == ("This came.", "that", "go on")


def test_an_error_of_a_class_below_arrives_as_the_class_that_is_known(notes):
    notes.failed(ONE, DivergedAt("The loss is not finite."))
    assert type(notes.take_endings([ONE])[ONE]) is TrainingDiverged


def test_any_other_error_arrives_with_the_end_of_its_traceback_and_the_place_of_the_log(notes):
    def deep(level):
        if level:
            deep(level - 1)
        raise ZeroDivisionError("a network divided")

    with pytest.raises(ZeroDivisionError) as caught:
        deep(40)
    notes.failed(ONE, caught.value, log="/jobs/7.out")
    found = notes.take_endings([ONE])[ONE]
    assert isinstance(found, WorkFailed)
    assert found.came.startswith("ZeroDivisionError: a network divided\n")
    assert "in deep" in found.came
    assert "the whole log is /jobs/7.out" in str(found)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b'{"error": {"kind": "Exception"}}', b"[" * 100_000])
def test_a_note_that_is_damaged_or_names_a_strange_error_runs_nothing(notes, tmp_path, content):
    (tmp_path / f"{ONE}.json").write_bytes(content)
    found = notes.take_endings([ONE])
    assert not found or isinstance(found[ONE], WorkFailed)


def test_steps_are_told_every_few_seconds(notes, now):
    notes.progressed(ONE, 1)
    now[0] = 1.0
    notes.progressed(ONE, 2)
    notes.progressed(TWO, 7)
    assert dict(notes.steps([ONE, TWO, THREE])) == {ONE: 1, TWO: 7}
    now[0] = 6.0
    notes.progressed(ONE, 90)
    assert dict(notes.steps([ONE])) == {ONE: 90}
    notes.done(ONE, ())
    notes.take_endings([ONE])
    assert notes.steps([ONE]) == []


def test_the_end_of_a_long_text_says_what_it_leaves_out():
    text = "\n".join(map(str, range(100)))
    assert end_of(text).splitlines()[0] == f"... {100 - MOST_LINES} lines before"
    assert end_of(text).splitlines()[-1] == "99"
    assert end_of("a\nb\n") == "a\nb"
