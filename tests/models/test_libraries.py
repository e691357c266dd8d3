"""Networks of torchvision and timm by name: random weights under our seed, options checked, versions known."""

from __future__ import annotations

import sys
from importlib import metadata

import pytest
import torch

from ticketdiet.core.errors import UnknownName, UserError
from ticketdiet.models.build import build_model
from ticketdiet.models.libraries import library_of, library_version

TIMM, TORCHVISION = "timm:test_resnet", "torchvision:mobilenet_v3_small"


@pytest.fixture(autouse=True)
def libraries() -> None:
    pytest.importorskip("timm")
    pytest.importorskip("torchvision")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", [TIMM, TORCHVISION, "timm:test_vit", "torchvision:squeezenet1_1"])
def test_classes_channels_and_size_follow_the_data(name: str, channels: int) -> None:
    model = build_model(name, num_classes=7, in_channels=channels, image_size=64).eval()
    assert model(torch.rand(2, channels, 64, 64)).shape == (2, 7)


@pytest.mark.parametrize("name", [TIMM, TORCHVISION])
def test_weights_are_a_function_of_the_seed_and_the_global_generator_stays(name: str) -> None:
    before = torch.get_rng_state()
    first, again, other = (build_model(name, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, again[key]) for key, value in first.items())
    assert any(not torch.equal(value, other[key]) for key, value in first.items())


def test_weights_are_those_that_the_library_draws() -> None:
    import timm
    from torchvision import models

    from ticketdiet.core.seeds import derive_seed

    for name, make in ((TIMM, timm.create_model), ("torchvision:resnet18", models.get_model)):
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(5, "constructor"))
            expected = make(name.partition(":")[2], num_classes=10).state_dict()
        found = build_model(name, seed=5).state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(value, found[key]) for key, value in expected.items())


def test_options_after_the_question_mark_reach_the_constructor() -> None:
    def parameters(name: str) -> int:
        return sum(parameter.numel() for parameter in build_model(name).parameters())

    assert parameters(f"{TORCHVISION}?width_mult=0.5") < parameters(TORCHVISION)
    dropped = build_model("timm:test_resnet?drop_rate=0.25&zero_init_last=false")
    assert dropped.drop_rate == 0.25


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("timm:test_resnett", UnknownName, "unknown timm model 'test_resnett'[\\s\\S]*test_resnet"),
        ("torchvision:fcn_resnet50", UnknownName, "unknown torchvision model"),
        ("timm:test_resnet?depht=3", UserError, "unexpected keyword argument 'depht'[\\s\\S]*drop_rate"),
        ("torchvision:resnet18?wide=1", UserError, "'wide'[\\s\\S]*width_per_group"),
        ("timm:test_resnet?pretrained=true", UserError, "pretrained weights"),
        ("torchvision:resnet18?weights=DEFAULT", UserError, "pretrained weights"),
        ("timm:test_resnet?in_chans=1", UserError, "follows the data"),
        ("timm:test_resnet?drop_rate", UserError, "the part 'drop_rate'"),
        ("timm:test_resnet?drop_rate=0.1&drop_rate=0.2", UserError, "each key once"),
        ("timm:test_resnet?layers=[1, 2]", UserError, "neither a number, a truth value nor a word"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_way_out(name: str, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        build_model(name)


def test_a_width_is_refused() -> None:
    with pytest.raises(UserError, match="takes no width"):
        build_model(TIMM, width=8)


@pytest.mark.parametrize(("name", "extra"), [(TIMM, "timm"), (TORCHVISION, "vision")])
def test_a_missing_library_is_named_with_its_extra(name: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library_of(name), None)
    monkeypatch.setitem(sys.modules, f"{library_of(name)}.models", None)
    for call in (build_model, library_version):
        with pytest.raises(UserError, match=rf"ticketdiet\[{extra}\]"):
            call(name)


def test_the_version_of_the_library_is_known_and_the_same_for_every_build(monkeypatch: pytest.MonkeyPatch) -> None:
    assert library_version(TIMM) == f"timm {metadata.version('timm')}"
    monkeypatch.setattr(metadata, "version", lambda name: "0.26.0+cu130")
    assert library_version(TORCHVISION) == "torchvision 0.26.0"
    assert [library_of(name) for name in (TIMM, TORCHVISION, "mine.timm:net", "resnet20", "timm")] == [
        "timm",
        "torchvision",
        "",
        "",
        "",
    ]
