import inspect
import pickle

import pytest

from ticketdiet.core import errors

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.TicketDietError)]


@pytest.mark.parametrize("kind", ALL)
def test_an_error_crosses_a_process_border_whole(kind):
    sent = kind("3 scores.", expected="4", way_out="score again")
    arrived = pickle.loads(pickle.dumps(sent))  # noqa: S301 - what this test wrote itself
    assert type(arrived) is kind
    assert (arrived.came, arrived.expected, arrived.way_out) == ("3 scores.", "4", "score again")
    assert str(arrived) == str(sent)


def test_a_message_says_what_came_what_was_expected_and_the_way_out():
    text = str(errors.DataError("3 scores.", expected="4", way_out="score again"))
    assert text.splitlines() == ["3 scores.", "  expected: 4", "  way out:  score again"]
    assert str(errors.StoreError("disk full")) == "disk full"


@pytest.mark.parametrize("kind", ALL)
def test_the_users_mistakes_and_only_they_are_value_errors_with_exit_code_2(kind):
    is_users = issubclass(kind, errors.UserError)
    assert issubclass(kind, ValueError) == is_users
    assert kind.exit_code == (2 if is_users else 1)


def test_the_tree_is_as_drawn_at_the_top_of_the_module():
    drawn = inspect.getdoc(errors) or ""
    assert [kind.__name__ for kind in ALL if kind.__name__ not in drawn] == []
    assert issubclass(errors.DamagedResult, errors.StoreError)
    assert {kind for kind in ALL if errors.UserError in kind.__bases__} == {
        errors.UnknownName,
        errors.StudyError,
        errors.DataError,
        errors.DeviceError,
        errors.NoStore,
    }


def test_an_unknown_name_lists_the_known_ones_and_the_nearest():
    error = errors.UnknownName.of("model", "resnet21", ["vgg16", "resnet20", "lenet"])
    assert "unknown model 'resnet21'" in error.came
    assert error.expected == "one of: lenet, resnet20, vgg16"
    assert error.way_out == "did you mean 'resnet20'?"


def test_the_nearest_name_is_found_whatever_its_case():
    assert errors.UnknownName.of("model", "VGG-16", ["vgg16"]).way_out == "did you mean 'vgg16'?"


@pytest.mark.parametrize(("kind", "register"), [("model", True), ("mask criterion", True), ("recipe", False)])
def test_only_what_can_be_registered_is_said_to_be(kind, register):
    assert ("register a" in errors.UnknownName.of(kind, "zzz", ["resnet20"]).way_out) == register


def test_an_unknown_name_like_no_other_gets_no_guess():
    assert "did you mean" not in str(errors.UnknownName.of("model", "zzz", ["resnet20"]))


def test_the_first_line_of_an_error_is_never_missing():
    assert errors.first_line(ValueError("\nthe shape is wrong\nhere")) == "the shape is wrong"
    assert errors.first_line(ValueError()) == "ValueError"


def test_an_error_is_described_by_its_class_unless_its_words_are_ours():
    assert errors.described(ValueError("  too many\nlines ")) == "ValueError: too many\nlines"
    assert errors.described(ValueError()) == "ValueError"
    assert errors.described(errors.UserError("It came.", way_out="go")) == "It came.\n  way out:  go"
