"""The data sets by name."""

from __future__ import annotations

import pytest

from ticketdiet.core.errors import UnknownName
from ticketdiet.data.images import load_images
from ticketdiet.data.sources import describe_sources, open_source


def test_a_source_is_opened_by_its_name_alone() -> None:
    assert open_source("digits", download=False).identity().keys() == {"digits"}


def test_every_known_source_is_described_without_being_opened() -> None:
    found = {info.name: info for info in describe_sources()}
    assert set(found) >= {
        *("digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "svhn"),
        *("parquet", "folder", "npz"),
    }
    assert found["digits"].location
    assert found["cifar10"].location == ""
    assert (found["parquet"].extra, found["cifar100"].extra, found["npz"].extra) == ("parquet", "vision", "")
    assert found["folder"].takes_path
    assert not found["svhn"].takes_path


def test_an_unknown_source_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName, match=r"cifar10, cifar100, digits(?s:.)*folder:PATH(?s:.)*did you mean 'digits'"):
        load_images("digit")
