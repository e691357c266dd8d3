"""Errors say the same in every process, whatever raised them there."""

import json
import pickle

import pytest

from ticketdiet.core.errors import DamagedResult, StoreError, TicketDietError, TrainingDiverged, UserError
from ticketdiet.studies.executors.base import WorkerLost
from ticketdiet.studies.executors.sent_errors import (
    MOST_LINES,
    WorkFailed,
    end_of,
    error_of_data,
    error_to_data,
    sendable,
)
from ticketdiet.training.loop import DivergedAt


class OwnError(Exception):
    """An error of a user's network, which cannot be unpickled."""

    def __init__(self, name, *, layer):
        super().__init__(f"{name} in {layer}")


WAYS = {
    "pickle": lambda error: pickle.loads(pickle.dumps(sendable(error))),  # noqa: S301 - our own
    "json": lambda error: error_of_data(json.loads(json.dumps(error_to_data(error)))),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "kind", [TicketDietError, UserError, StoreError, DamagedResult, TrainingDiverged, WorkerLost, WorkFailed]
)
def test_an_error_of_this_package_arrives_as_what_it_was(kind, way):
    found = WAYS[way](kind("This came.", expected="that", way_out="go on"))
    assert type(found) is kind
    assert (found.came, found.expected, found.way_out) == ("This came.", "that", "go on")


@pytest.mark.parametrize("way", WAYS)
def test_an_error_of_a_class_below_arrives_as_the_class_that_is_known(way):
    assert type(WAYS[way](DivergedAt("The loss is not finite."))) is TrainingDiverged


@pytest.mark.parametrize("way", WAYS)
def test_any_other_error_arrives_with_the_end_of_its_traceback(way):
    def deep(level):
        if level:
            deep(level - 1)
        raise OwnError("a number", layer="conv1")

    with pytest.raises(OwnError) as caught:
        deep(40)
    found = WAYS[way](caught.value)
    assert type(found) is WorkFailed
    assert found.came.startswith("OwnError: a number in conv1\n")
    assert "in deep" in found.came
    assert len(found.came.splitlines()) <= MOST_LINES + 2
    assert "--executor local" in found.way_out


def test_the_place_of_a_log_is_the_way_out():
    assert sendable(KeyError("x"), log="/jobs/7.out").way_out == "the whole log is /jobs/7.out"


@pytest.mark.parametrize("data", ["words", None, {"kind": "Exception"}, {"kind": "shown", "came": "words"}, ["words"]])
def test_what_describes_no_known_error_is_only_read(data):
    assert type(error_of_data(data)) is WorkFailed


def test_the_end_of_a_long_text_says_what_it_leaves_out():
    text = "\n".join(map(str, range(100)))
    assert end_of(text).splitlines()[0] == f"... {100 - MOST_LINES} lines before"
    assert end_of(text).splitlines()[-1] == "99"
    assert end_of("a\nb\n") == "a\nb"
