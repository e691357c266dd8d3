"""Files in the formats of open_lth and lth_diet are made by hand here, and their networks are computed by hand."""

import datetime
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from ticketdiet.core.errors import DataError, UnknownName, UserError
from ticketdiet.models.build import build_model
from ticketdiet.tickets.foreign import import_checkpoint
from ticketdiet.tickets.foreign_names import foreign_layout
from ticketdiet.tickets.portable_files import load_ticket
from ticketdiet.tickets.portable_folder import export_ticket

GENERATOR = torch.Generator().manual_seed(5)
VGG_PLAN: list[Any] = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512]


def draw(*shape):
    return torch.randn(shape, generator=GENERATOR) / max(1, shape[-1]) ** 0.5


def norm(prefix, channels):
    return {
        f"{prefix}.weight": draw(channels),
        f"{prefix}.bias": draw(channels),
        f"{prefix}.running_mean": draw(channels),
        f"{prefix}.running_var": torch.rand(channels, generator=GENERATOR) + 0.5,
        f"{prefix}.num_batches_tracked": torch.tensor(7),
    }


def resnet_of_theirs(width=4, blocks=1, classes=5):
    """A ``state_dict`` with the names of ``cifar_resnet_8`` in open_lth, Composer's are the same."""
    state, inputs, number = {"conv.weight": draw(width, 3, 3, 3), **norm("bn", width)}, width, 0
    for stage in range(3):
        outputs = width << stage
        for place in range(blocks):
            prefix = f"blocks.{number}"
            state |= {f"{prefix}.conv1.weight": draw(outputs, inputs, 3, 3), **norm(f"{prefix}.bn1", outputs)}
            state |= {f"{prefix}.conv2.weight": draw(outputs, outputs, 3, 3), **norm(f"{prefix}.bn2", outputs)}
            if stage and not place:
                state |= {f"{prefix}.shortcut.0.weight": draw(outputs, inputs, 1, 1)}
                state |= norm(f"{prefix}.shortcut.1", outputs)
            inputs, number = outputs, number + 1
    return state | {"fc.weight": draw(classes, inputs), "fc.bias": draw(classes)}


def normalised(state, prefix, x):
    names = ("running_mean", "running_var", "weight", "bias")
    return F.batch_norm(x, *(state[f"{prefix}.{name}"] for name in names))


def run_resnet(state, x, blocks=1):
    out = normalised(state, "bn", F.conv2d(x, state["conv.weight"], padding=1)).relu()
    for number in range(3 * blocks):
        prefix, stride = f"blocks.{number}", 2 if number and number % blocks == 0 else 1
        inner = F.conv2d(out, state[f"{prefix}.conv1.weight"], stride=stride, padding=1)
        inner = F.conv2d(normalised(state, f"{prefix}.bn1", inner).relu(), state[f"{prefix}.conv2.weight"], padding=1)
        if f"{prefix}.shortcut.0.weight" in state:
            out = F.conv2d(out, state[f"{prefix}.shortcut.0.weight"], stride=2)
            out = normalised(state, f"{prefix}.shortcut.1", out)
        out = (normalised(state, f"{prefix}.bn2", inner) + out).relu()
    pooled = F.avg_pool2d(out, out.size(3)).flatten(1)
    return F.linear(pooled, state["fc.weight"], state["fc.bias"])


def vgg_of_theirs(width=2, classes=5):
    state, inputs = {}, 3
    for place, spec in enumerate(VGG_PLAN):
        if spec != "M":
            outputs = spec * width // 64
            state[f"layers.{place}.conv.weight"] = draw(outputs, inputs, 3, 3)
            state[f"layers.{place}.conv.bias"] = draw(outputs)
            state |= norm(f"layers.{place}.bn", outputs)
            inputs = outputs
    return state | {"fc.weight": draw(classes, inputs), "fc.bias": draw(classes)}


def run_vgg(state, x):
    for place, spec in enumerate(VGG_PLAN):
        if spec == "M":
            x = F.max_pool2d(x, 2, 2)
        else:
            x = F.conv2d(x, state[f"layers.{place}.conv.weight"], state[f"layers.{place}.conv.bias"], padding=1)
            x = normalised(state, f"layers.{place}.bn", x).relu()
    return F.linear(F.avg_pool2d(x, 2).flatten(1), state["fc.weight"], state["fc.bias"])


def lenet_of_theirs(sizes=(12, 4)):
    state, inputs = {}, 36
    for number, size in enumerate(sizes):
        state |= {f"fc_layers.{number}.weight": draw(size, inputs), f"fc_layers.{number}.bias": draw(size)}
        inputs = size
    return state | {"fc.weight": draw(5, inputs), "fc.bias": draw(5)}


def run_lenet(state, x):
    out = x.flatten(1)
    for number in range(2):
        out = F.linear(out, state[f"fc_layers.{number}.weight"], state[f"fc_layers.{number}.bias"]).relu()
    return F.linear(out, state["fc.weight"], state["fc.bias"])


FAMILIES: dict[str, Any] = {
    "resnet8": (resnet_of_theirs, run_resnet, (2, 3, 8, 8)),
    "vgg16": (vgg_of_theirs, run_vgg, (2, 3, 32, 32)),
    "lenet_300_100": (lenet_of_theirs, run_lenet, (2, 1, 6, 6)),
}


def masks_of(state):
    """Masks as both programs save them: int32 of 0 and 1 for every weight of a convolution or linear layer."""
    weights = {name: value for name, value in state.items() if value.dim() > 1}
    return {name: (torch.rand(value.shape, generator=GENERATOR) < 0.5).int() for name, value in weights.items()}


def masked(state, mask):
    return {name: value * mask[name] if name in mask else value for name, value in state.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_folder_of_a_level_of_open_lth_gives_its_last_weights_under_its_mask(tmp_path, family):
    make, run, shape = FAMILIES[family]
    early, state = make(), make()
    mask = masks_of(state)
    torch.save(early, tmp_path / "model_ep2_it0.pth")
    torch.save(masked(state, mask), tmp_path / "model_ep16_it0.pth")
    torch.save(mask, tmp_path / "mask.pth")
    ticket = import_checkpoint(tmp_path, image_size=8)
    x = draw(*shape)
    torch.testing.assert_close(ticket.module(x), run(masked(state, mask), x), rtol=1e-4, atol=1e-4)
    assert ticket.facts.network.name == family
    assert ticket.facts.kept == sum(int(kept.sum()) for kept in mask.values())
    assert ticket.facts.density == ticket.facts.kept / sum(kept.numel() for kept in mask.values())
    assert (ticket.facts.origin["file"], ticket.facts.origin["mask"]) == ("model_ep16_it0.pth", "mask.pth")
    assert sorted(int(kept.sum()) for kept in ticket.mask.values()) == sorted(int(kept.sum()) for kept in mask.values())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("prefix", ["", "module."])  # a lottery's own files have none, those of a training have
def test_lth_diet_names_masks_with_the_prefix_of_composer(tmp_path, family, prefix):
    make, run, shape = FAMILIES[family]
    state = make()
    mask = masks_of(state)
    torch.save({prefix + name: value for name, value in state.items()}, tmp_path / "model_final.pt")
    torch.save({f"module.{name}": kept for name, kept in mask.items()}, tmp_path / "mask.pt")
    ticket = import_checkpoint(tmp_path, origin="lth_diet", image_size=8)
    x = draw(*shape)
    torch.testing.assert_close(ticket.module(x), run(masked(state, mask), x), rtol=1e-4, atol=1e-4)


def test_a_checkpoint_of_a_pruned_model_has_its_masks_inside(tmp_path):
    state = resnet_of_theirs()
    mask = masks_of(state)
    inner = {f"model.{name}": value for name, value in state.items()}
    inner |= {"mask_" + name.replace(".", "___"): kept.float() for name, kept in mask.items()}
    whole = {"ep": 3, "it": 0, "model_state_dict": inner, "optimizer_state_dict": {}, "logger": "x"}
    torch.save(whole, tmp_path / "checkpoint.pth")
    ticket = import_checkpoint(tmp_path / "checkpoint.pth", image_size=8)
    x = draw(2, 3, 8, 8)
    torch.testing.assert_close(ticket.module(x), run_resnet(masked(state, mask), x), rtol=1e-4, atol=1e-4)
    assert ticket.facts.origin["mask"] == "inside the file"


def test_a_checkpoint_of_composer_with_plain_values_is_read(tmp_path):
    state = lenet_of_theirs()
    model = {f"module.{name}": value for name, value in state.items()}
    torch.save({"state": {"model": model, "seed": 42}}, tmp_path / "state_final.pt")
    ticket = import_checkpoint(tmp_path / "state_final.pt", origin="lth_diet")
    x = draw(2, 1, 6, 6)
    torch.testing.assert_close(ticket.module(x), run_lenet(state, x))
    assert (ticket.facts.density, ticket.facts.origin["mask"]) == (1.0, "none")


def test_the_low_resolution_resnet_of_lth_diet_is_torchvisions(tmp_path):
    models = pytest.importorskip("torchvision.models")
    theirs = models.resnet18(num_classes=5)
    theirs.conv1 = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    theirs.maxpool = torch.nn.Identity()
    torch.save(theirs.state_dict(), tmp_path / "model_final.pt")
    ticket = import_checkpoint(tmp_path, origin="lth_diet", image_size=8)
    x = draw(2, 3, 8, 8)
    torch.testing.assert_close(ticket.module(x), theirs.eval()(x), rtol=1e-4, atol=1e-4)


def test_every_name_of_torchvisions_resnet50_becomes_one_of_ours():
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        theirs = models.resnet50(num_classes=5)
        theirs.conv1 = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        ours = build_model("lowres_resnet50", num_classes=5, initialisation="module").state_dict()
    state = theirs.state_dict()
    names = foreign_layout(state, 32, "a file").names
    assert {names[name]: value.shape for name, value in state.items()} == {key: one.shape for key, one in ours.items()}


def test_an_imported_network_is_a_ticket_like_any_other(tmp_path):
    state = resnet_of_theirs()
    torch.save(state, tmp_path / "model_ep0_it0.pth")
    ticket = import_checkpoint(tmp_path, image_size=8)
    card = export_ticket(tmp_path / "mine", ticket)[-1].read_text()
    x = draw(2, 3, 8, 8)
    assert torch.equal(load_ticket(tmp_path / "mine").module(x), ticket.module(x))
    assert "facebookresearch/open\\_lth" in card


def test_a_file_of_other_objects_is_never_unpickled(tmp_path):
    torch.save({"state": {"model": resnet_of_theirs()}, "time": datetime.datetime(2022, 1, 1)}, tmp_path / "c.pth")
    with pytest.raises(DataError, match=r"other objects than tensors[\s\S]*save its state_dict alone"):
        import_checkpoint(tmp_path / "c.pth")


def without(state, *names):
    return {name: value for name, value in state.items() if name not in names}


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        (lambda: {"ep": 3}, "holds a dict that is no dictionary of tensors"),
        (lambda: [1, 2], "holds a list that is no dictionary"),
        (lambda: {"a.weight": torch.zeros(2)}, r"none of this package: its tensors are a\.weight"),
        (lambda: resnet_of_theirs(blocks=1) | {"blocks.3.conv1.weight": torch.zeros(1)}, "it has 4 blocks"),
        (lambda: without(resnet_of_theirs(), "fc.weight"), r"it lacks 'fc\.weight'"),
        (lambda: without(resnet_of_theirs(), "bn.bias"), r"tensor 'bn\.bias' in .* is not that"),
        (lambda: lenet_of_theirs((12, 5)), r"first hidden layers have \(12, 5\) units"),
        (lambda: lenet_of_theirs((12, 4, 3)), "LeNet whose first hidden"),
        (lambda: {k: v for k, v in vgg_of_theirs().items() if "layers.0." in k or "fc" in k}, "VGG of 1 convolutions"),
    ],
)
def test_what_is_no_network_of_this_package_is_refused(tmp_path, saved, words):
    torch.save(saved(), tmp_path / "model_ep1_it0.pth")
    with pytest.raises(DataError, match=words):
        import_checkpoint(tmp_path, image_size=8)


def test_masks_of_other_networks_missing_files_and_other_origins_are_refused(tmp_path):
    state = resnet_of_theirs()
    torch.save(state, tmp_path / "model_ep1_it0.pth")
    torch.save({"fc2.weight": torch.ones(2).int()}, tmp_path / "other.pth")
    with pytest.raises(DataError, match=r"mask 'fc2\.weight' in .*other\.pth belongs to no prunable layer"):
        import_checkpoint(tmp_path, mask=tmp_path / "other.pth")
    torch.save({"fc.weight": torch.full((5, 16), 0.5)}, tmp_path / "soft.pth")
    with pytest.raises(UserError, match="other values than 0 and 1"):
        import_checkpoint(tmp_path, mask=tmp_path / "soft.pth")
    with pytest.raises(DataError, match=r"no\.pth cannot be read: No such file"):
        import_checkpoint(tmp_path, mask=tmp_path / "no.pth")
    with pytest.raises(DataError, match="holds no weights of lth_diet"):
        import_checkpoint(tmp_path, origin="lth_diet")
    with pytest.raises(UnknownName, match="unknown origin 'openlth'"):
        import_checkpoint(tmp_path, origin="openlth")  # type: ignore[arg-type]
    (tmp_path / "model_ep1_it0.pth").write_bytes(b"nothing")
    with pytest.raises(DataError, match="model_ep1_it0"):
        import_checkpoint(tmp_path)
