import os

import pytest

from ticketdiet.core.errors import UserError
from ticketdiet.core.writing import writing


def test_the_folders_above_a_file_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "c.txt"
    with writing(path):
        path.write_text("whole")
    assert path.read_text() == "whole"


def test_a_file_that_cannot_be_written_is_named_with_the_way_out(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "below", tmp_path):
        with pytest.raises(UserError, match=rf"{path}'? cannot be written(.|\n)*another file"), writing(path):
            path.write_text("never")


def test_a_pipe_without_a_reader_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="named pipe"), writing(tmp_path / "pipe"):
        raise AssertionError("the block must not run")


def test_other_errors_of_the_block_are_left_alone(tmp_path):
    with pytest.raises(KeyError), writing(tmp_path / "file"):
        raise KeyError("x")
