import pytest

from ticketdiet.core.errors import UserError
from ticketdiet.studies.executors.base import NotBegun
from ticketdiet.studies.executors.notes import Notes
from ticketdiet.studies.executors.sent_errors import WorkFailed

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


def test_an_error_arrives_as_what_it_was(notes):
    notes.failed(ONE, UserError("This came.", expected="that", way_out="go on"))
    notes.failed(TWO, ZeroDivisionError("a network divided"), log="/jobs/7.out")
    found = notes.take_endings([ONE, TWO])
    assert type(found[ONE]) is UserError
    assert str(found[ONE]) == "This came.\n  expected: that\n  way out:  go on"
    assert isinstance(found[TWO], WorkFailed)
    assert "the whole log is /jobs/7.out" in str(found[TWO])


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
