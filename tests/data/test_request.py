from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketdiet.core.errors import DataError
from ticketdiet.data.request import Request, take_apart


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("digits", ("digits", "", {})),
        ("npz:/a/b.npz", ("npz", "/a/b.npz", {})),
        ("folder:a?train=x,y&test=z", ("folder", "a", {"train": "x,y", "test": "z"})),
        ("folder:what?", ("folder", "what?", {})),
        ("folder:what?/x?train=y", ("folder", "what?/x", {"train": "y"})),
        ("digits:?split=1", ("digits", "", {"split": "1"})),
    ],
)
def test_a_source_is_split_into_name_path_and_options(source, parts):
    assert take_apart(source) == parts


@given(st.text())
def test_a_path_without_a_question_mark_is_kept_whole(text):
    path = text.replace("?", "")
    assert take_apart(f"folder:{path}") == ("folder", path, {})


def test_a_path_is_made_absolute_and_has_to_exist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").touch()
    assert Request("npz", "here").path == tmp_path / "here"
    assert Request("npz", "~").path == Path.home()
    for missing in ("there", "x" * 5000):
        with pytest.raises(DataError, match="does not exist"):
            _ = Request("npz", missing).path
    with pytest.raises(DataError, match="has no path"):
        _ = Request("npz").path


def test_a_family_refuses_what_it_does_not_take():
    Request("npz", "a", {"train": "x"}).check(("train", "test"), takes_path=True)
    with pytest.raises(DataError, match="takes no path"):
        Request("digits", "a").check(takes_path=False)
    with pytest.raises(DataError, match=r"no option 'split'(.|\n)*one of: test, train"):
        Request("npz", "a", {"split": "x"}).check(("train", "test"), takes_path=True)
