"""A user's own module by import path."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ticketdiet.core.errors import UserError
from ticketdiet.models.build import build_model

NETS = """
import torch
from torch import nn

def make(num_classes, in_channels=3):
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * 4, num_classes))

def greedy(**keywords):
    made = nn.Linear(2, 2)
    made.keywords = keywords
    return made

def needy(num_classes, secret):
    return nn.Linear(2, 2)

def text():
    return "a network"

class Holder:
    make = staticmethod(make)

ready = nn.Linear(2, 2)
"""


@pytest.fixture(autouse=True)
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "my_own_nets.py").write_text(NETS)
    (tmp_path / "my_broken_nets.py").write_text("import no_such_package_anywhere\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    yield
    sys.modules.pop("my_own_nets", None)


def test_it_is_called_with_the_keywords_that_it_accepts() -> None:
    assert build_model("my_own_nets:make", num_classes=4, in_channels=1)(torch.rand(3, 1, 2, 2)).shape == (3, 4)
    assert build_model("my_own_nets:Holder.make", num_classes=4).get_parameter("1.weight").shape == (4, 12)


def test_one_that_takes_any_keyword_gets_all_that_are_set() -> None:
    given = build_model("my_own_nets:greedy", num_classes=4, image_size=8).keywords
    assert given == {"num_classes": 4, "in_channels": 3, "image_size": 8}


def test_its_own_initialisation_is_a_function_of_the_seed_and_leaves_the_global_generator() -> None:
    before = torch.get_rng_state()
    first, again, other = (build_model("my_own_nets:make", seed=seed).get_parameter("1.weight") for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
    limit = 1 / 12**0.5  # what nn.Linear draws by itself
    assert first.abs().max() <= limit


def test_another_initialisation_is_applied_when_asked_for() -> None:
    assert not build_model("my_own_nets:make", initialisation="kaiming").get_parameter("1.bias").any()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("my_missing_nets:make", "no module 'my_missing_nets'"),
        ("my_own_nets.deeper:make", "importing my_own_nets.deeper failed|no module 'my_own_nets.deeper'"),
        ("my_broken_nets:make", "no_such_package_anywhere"),
        ("my_own_nets:mak", r"(?s)has no 'mak'.*make"),
        ("my_own_nets:text", "returned a str"),
        ("my_own_nets:ready", "is a Linear"),
        ("my_own_nets:needy", "secret"),
        ("my_own_nets:", "package.module:function"),
        (":make", "package.module:function"),
    ],
)
def test_each_mistake_in_a_path_has_its_own_message(path: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_model(path)


def test_a_width_that_it_does_not_take_is_refused() -> None:
    with pytest.raises(UserError, match=r"(?s)width 8.*leave the width out"):
        build_model("my_own_nets:make", width=8)
