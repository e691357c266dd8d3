"""Studies with networks of torchvision and timm: planned, pruned, trained sparsely, loaded and exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ticketdiet.core.errors import UserError
from ticketdiet.store.results import ResultStore
from ticketdiet.studies import network
from ticketdiet.studies.exported import stored_ticket
from ticketdiet.studies.load import parse_study
from ticketdiet.studies.plan import Plan, plan_study
from ticketdiet.studies.stored_networks import load_network
from ticketdiet.tickets.masks import count_kept, prunable_names
from ticketdiet.tickets.portable_files import load_ticket, save_ticket

pytest.importorskip("timm")
pytest.importorskip("torchvision")

# Depthwise convolutions, squeeze-and-excitation and dropout.
MOBILE = "torchvision:mobilenet_v3_small?width_mult=0.25&dropout=0.1"
STUDY = """
study: library
dataset: {name: digits, limit: 64}
training: {steps: 3, batch_size: 32, lr: 0.05, crop_padding: 1, flip: false, sparse_kernels: 1.0}
pruning: {fraction: 0.5, levels: 1}
arms: {all@1: {pretrain: {steps: 1}}}
"""


def plan_with(name: str) -> Plan:
    return plan_study(parse_study(STUDY, [f"model.name={name}"]))


def stages_of(name: str, kind: str = "level") -> dict[str, Any]:
    return {address: stage for address, stage in plan_with(name).stages.items() if stage.kind == kind}


@pytest.mark.parametrize("name", ["timm:test_resnet", MOBILE])
def test_a_study_runs_and_its_networks_load(run_tiny: Any, tmp_path: Path, name: str) -> None:
    plan, store = plan_with(name), ResultStore.open(tmp_path / "store")
    run_tiny(plan, store)
    last = max(stages_of(name).items(), key=lambda item: item[1].level)[0]
    model = load_network(store, last).build()
    mask = store.tensors(last, "mask")
    assert set(mask) == set(prunable_names(model))
    assert count_kept(mask) < sum(kept.numel() for kept in mask.values())
    weights = store.tensors(last, "weights")
    assert all(bool((weights[key][kept == 0] == 0).all()) for key, kept in mask.items())
    model.load_state_dict(weights)
    images = torch.rand(2, 1, 8, 8)
    ticket = stored_ticket(store, last)
    save_ticket(tmp_path / "ticket.safetensors", ticket)
    loaded = load_ticket(tmp_path / "ticket.safetensors")
    assert loaded.facts.network.name == name
    assert torch.equal(loaded.module(images), model.eval()(images))


def test_convolutions_with_groups_are_pruned_and_computed_by_the_stock_kernels() -> None:
    model = next(iter(stages_of(MOBILE).values())).network.build(0)
    grouped = [
        f"{name}.weight" for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d) and layer.groups > 1
    ]
    assert grouped
    assert set(grouped) <= set(prunable_names(model))


def test_the_version_of_the_library_and_the_options_are_in_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def addresses(name: str) -> set[str]:
        return set(stages_of(name))

    first = addresses("timm:test_resnet")
    assert first == addresses("timm:test_resnet")
    assert first.isdisjoint(addresses("timm:test_resnet?drop_rate=0.1"))
    monkeypatch.setattr(network, "library_version", lambda name: "timm 99.0")
    assert first.isdisjoint(addresses("timm:test_resnet"))


def test_weights_of_another_version_of_the_library_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = next(iter(stages_of("timm:test_resnet").values())).network
    found.check_source()
    monkeypatch.setattr(network, "library_version", lambda name: "timm 99.0")
    with pytest.raises(UserError, match=r"trained with timm [\d.]+, but timm 99.0 is installed"):
        found.check_source()
