import builtins
import importlib
import json
import os
import pickle
import sys
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from ticketdiet.core.errors import DataError, UnknownName, UserError
from ticketdiet.core.values import Images
from ticketdiet.models.build import build_model
from ticketdiet.tickets.card import escaped, model_card
from ticketdiet.tickets.compact import compact
from ticketdiet.tickets.criteria import prunable_shapes, random_mask
from ticketdiet.tickets.masks import apply_mask, count_kept, dense_mask, density
from ticketdiet.tickets.portable import DataFacts, NetworkFacts, PortableTicket, TicketFacts, portable_ticket
from ticketdiet.tickets.portable_files import load_ticket, save_ticket
from ticketdiet.tickets.portable_folder import export_ticket

ENDINGS = (".safetensors", ".pt")
INPUTS = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def ticket_of(module, mask, name="resnet8", width=4, **facts):
    network = NetworkFacts(name=name, num_classes=3, in_channels=1, image_size=8, width=width)
    known = TicketFacts(network=network, density=density(mask), kept=count_kept(mask), **facts)
    return PortableTicket(module, mask, known)


@pytest.fixture
def sparse():
    """A trained-looking sparse network with facts of every kind."""
    module = build_model("resnet8", num_classes=3, in_channels=1, image_size=8, width=4, seed=3).eval()
    mask = random_mask(prunable_shapes(module), 0.1, 1)
    module.load_state_dict(apply_mask(module.state_dict(), mask))
    data = DataFacts(
        name="digits", class_names=("a", "b|c", "<d>"), mean=(0.5,), std=(0.25,), fingerprints={"test": "ab"}
    )
    facts = {"data": data, "metrics": {"test": {"accuracy": 0.75, "loss": 0.5}}, "origin": {"address": "0" * 24}}
    return ticket_of(module, mask, **facts, training={"steps": 12})


@pytest.fixture
def compacted(sparse):
    smaller = compact(sparse.module)
    return PortableTicket(smaller.module, smaller.mask, sparse.facts.model_copy(update={"compacted": True}))


def logits(ticket):
    with torch.no_grad():
        return ticket.module(INPUTS)


def test_a_network_trained_without_a_store_becomes_a_ticket(tmp_path):
    module = build_model("resnet8", num_classes=3, in_channels=1, image_size=8, width=4, seed=3)
    images = Images(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 2]), ("a", "b", "c"), (0.5,), (0.25,))
    mask = random_mask(prunable_shapes(module), 0.1, 1)
    network = NetworkFacts(name="resnet8", num_classes=3, in_channels=1, image_size=8, width=4)
    ticket = portable_ticket(module, mask, network, images=images, metrics={"test": {"accuracy": 0.5}})
    export_ticket(tmp_path, ticket)
    found = load_ticket(tmp_path)
    assert module.training
    module.load_state_dict(apply_mask(module.state_dict(), mask))
    with torch.no_grad():
        assert torch.equal(logits(found), module.eval()(INPUTS))
    assert (found.facts.density, found.facts.kept) == (density(mask), count_kept(mask))
    assert (found.facts.data.mean, found.facts.data.class_names) == ((0.5,), ("a", "b", "c"))
    with pytest.raises(UserError, match="matches no weight"):
        portable_ticket(module, {"no.weight": torch.ones(1)}, network)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("which", ["sparse", "compacted"])
def test_what_is_read_is_what_was_written(request, tmp_path, which, ending):
    ticket = request.getfixturevalue(which)
    save_ticket(tmp_path / f"some{ending}", ticket)
    found = load_ticket(tmp_path / f"some{ending}")
    assert torch.equal(logits(found), logits(ticket))
    assert found.facts == ticket.facts
    assert found.mask.keys() == ticket.mask.keys()
    assert all(torch.equal(found.mask[name], ticket.mask[name]) for name in found.mask)
    assert not found.module.training
    assert all(parameter.requires_grad for parameter in found.module.parameters())


def test_a_safetensors_file_has_plain_names_and_its_facts_as_json(tmp_path, sparse):
    save_ticket(tmp_path / "t.safetensors", sparse)
    with safe_open(tmp_path / "t.safetensors", "np") as opened:
        names, facts = set(opened.keys()), json.loads(opened.metadata()["ticketdiet"])
        kept = opened.get_tensor("mask.conv.weight")
    assert {f"weights.{name}" for name in sparse.module.state_dict()} <= names
    assert np.array_equal(kept, sparse.mask["conv.weight"].numpy())
    assert (facts["density"], facts["network"]["name"], facts["metrics"]["test"]["accuracy"]) == (
        sparse.facts.density,
        "resnet8",
        0.75,
    )


def test_a_torch_file_is_read_by_torch_without_unpickling(tmp_path, sparse):
    save_ticket(tmp_path / "t.pt", sparse)
    found = torch.load(tmp_path / "t.pt", weights_only=True)
    assert found.keys() == {"weights", "mask", "facts"}
    assert torch.equal(found["weights"]["fc.weight"], sparse.module.fc.weight)


class Trap:
    """Unpickling it makes a file."""

    def __reduce__(self):
        return os.mkdir, ("sprung",)


@pytest.mark.parametrize("protocol", ["torch", "pickle"])
def test_a_file_that_wants_to_run_code_is_refused_and_runs_nothing(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    if protocol == "torch":
        torch.save({"weights": {}, "mask": {}, "facts": Trap()}, "t.pt")
    else:
        (tmp_path / "t.pt").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(DataError, match="other objects than tensors"):
        load_ticket("t.pt")
    assert not (tmp_path / "sprung").exists()


def own(num_classes, in_channels, image_size):
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size**2, num_classes))


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_network_of_ones_own_needs_its_maker_and_is_never_imported_by_name(tmp_path, monkeypatch, ending):
    (tmp_path / "evil_nets.py").write_text("import os; os.mkdir('sprung')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = own(3, 1, 8).eval()
    ticket = ticket_of(module, dense_mask(module), name="evil_nets:make", width=None)
    save_ticket(f"t{ending}", ticket)
    with pytest.raises(UserError, match=r"'evil_nets:make', which a file must not import[\s\S]*make=function"):
        load_ticket(f"t{ending}")
    assert torch.equal(logits(load_ticket(f"t{ending}", make=own)), logits(ticket))
    assert "evil_nets" not in sys.modules
    assert not (tmp_path / "sprung").exists()


def test_a_maker_of_another_network_is_refused(tmp_path):
    module = own(3, 1, 8)
    save_ticket(tmp_path / "t.pt", ticket_of(module, dense_mask(module), name="nets:make", width=None))
    with pytest.raises(DataError, match=r"tensor '0\.bias' in .* is not that of the network 'nets:make'"):
        load_ticket(tmp_path / "t.pt", make=lambda num_classes: nn.Sequential(nn.Linear(64, num_classes)))


def test_a_maker_for_a_network_of_this_package_is_refused(tmp_path, sparse):
    save_ticket(tmp_path / "t.pt", sparse)
    with pytest.raises(UserError, match="Got make="):
        load_ticket(tmp_path / "t.pt", make=own)


def changed(path, sparse, **network):
    """Write a ticket whose facts say another network."""
    facts = sparse.facts.model_copy(update={"network": sparse.facts.network.model_copy(update=network)})
    save_ticket(path, PortableTicket(sparse.module, sparse.mask, facts))


@pytest.mark.parametrize(
    ("network", "error", "words"),
    [
        ({"width": 5}, DataError, "is not that of the network 'resnet8'"),
        ({"num_classes": 4}, DataError, r"'fc\.bias'"),
        ({"name": "resnet14"}, DataError, r"'blocks\.1\.bn1\.bias'"),
        ({"name": "resnet9"}, UnknownName, "9 is not 6n"),
        ({"name": "lenet_300_100", "image_size": 10**6, "in_channels": 10**6}, UserError, "Storage size"),
    ],
)
def test_facts_of_another_network_are_refused_before_memory_is_taken(tmp_path, sparse, network, error, words):
    changed(tmp_path / "t.safetensors", sparse, **network)
    with pytest.raises(error, match=words):
        load_ticket(tmp_path / "t.safetensors")


def test_layers_of_a_compacted_network_that_do_not_fit_each_other_are_refused(tmp_path, compacted):
    state = compacted.module.state_dict()
    state["fc.weight"] = state["fc.weight"][:, 1:]
    tensors = {f"weights.{name}": value.contiguous() for name, value in state.items()}
    save_file(tensors, tmp_path / "t.safetensors", {"ticketdiet": compacted.facts.model_dump_json()})
    with pytest.raises(DataError, match="do not fit each other"):
        load_ticket(tmp_path / "t.safetensors")


def test_a_mask_that_the_facts_do_not_count_is_refused(tmp_path, sparse):
    facts = sparse.facts.model_copy(update={"kept": 3})
    save_ticket(tmp_path / "t.pt", PortableTicket(sparse.module, sparse.mask, facts))
    with pytest.raises(DataError, match="its facts say 3"):
        load_ticket(tmp_path / "t.pt")


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (None, "cannot be read as a ticket"),
        ({"ticketdiet": "{"}, "cannot be read as a ticket"),
        ({"ticketdiet": "[" * 100_000}, "cannot be read as a ticket"),
        ({"ticketdiet": "{}"}, "facts .* are not those of a ticket: network is"),
        ({"ticketdiet": json.dumps({"format": 2})}, "are not those of a ticket: format is 2"),
    ],
)
def test_files_without_facts_are_refused(tmp_path, metadata, words):
    save_file({"weights.w": torch.zeros(1)}, tmp_path / "t.safetensors", metadata)
    with pytest.raises(DataError, match=words):
        load_ticket(tmp_path / "t.safetensors")


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"PK\x03\x04" + b"0" * 50])
@pytest.mark.parametrize("ending", ENDINGS)
def test_damaged_files_are_refused(tmp_path, ending, content):
    (tmp_path / f"t{ending}").write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be read|is damaged"):
        load_ticket(tmp_path / f"t{ending}")


@pytest.mark.parametrize(
    "weights",
    [
        [torch.zeros(1)],
        {"w": 1.0},
        {1: torch.zeros(1)},
        {"w": torch.zeros(2, 2).to_sparse()},
        {"w": torch.zeros(2, device="meta")},
    ],
)
def test_a_torch_file_of_other_things_than_plain_tensors_by_name_is_refused(tmp_path, sparse, weights):
    facts = sparse.facts.model_dump(mode="json")
    torch.save({"weights": weights, "mask": {}, "facts": facts}, tmp_path / "t.pt")
    with pytest.raises(DataError, match="plain tensors by name"):
        load_ticket(tmp_path / "t.pt")


def test_a_cut_file_is_refused(tmp_path, sparse):
    for ending in ENDINGS:
        save_ticket(tmp_path / f"t{ending}", sparse)
        whole = (tmp_path / f"t{ending}").read_bytes()
        (tmp_path / f"t{ending}").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match="cannot be read"):
            load_ticket(tmp_path / f"t{ending}")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The bytes of a small ticket in each format, and a place for changed ones."""
    module = own(3, 1, 8).eval()
    ticket = ticket_of(module, dense_mask(module), name="nets:make", width=None)
    folder = tmp_path_factory.mktemp("written")
    for ending in ENDINGS:
        save_ticket(folder / f"t{ending}", ticket)
    return folder, {ending: (folder / f"t{ending}").read_bytes() for ending in ENDINGS}


@settings(max_examples=50)
@given(st.sampled_from(ENDINGS), st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=4))
def test_changed_bytes_give_a_ticket_or_a_refusal_and_nothing_else(written, ending, place, new):
    folder, files = written
    content = bytearray(files[ending])
    start = int(place * len(content))
    content[start : start + len(new)] = new
    (folder / f"changed{ending}").write_bytes(content)
    with suppress(UserError):
        assert load_ticket(folder / f"changed{ending}", make=own).module is not None


def test_missing_files_pipes_and_other_endings_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.pt")
    for path, words in (("no.pt", "No such file"), ("pipe.pt", "Not a regular file"), ("t.onnx", "ONNX runtimes")):
        with pytest.raises(DataError, match=words):
            load_ticket(tmp_path / path)
    with pytest.raises(DataError, match="holds no ticket"):
        load_ticket(tmp_path)


@pytest.mark.parametrize(("format", "name"), [("safetensors", "ticket.safetensors"), ("torch", "ticket.pt")])
def test_a_folder_has_the_ticket_and_its_card(tmp_path, sparse, format, name):
    files = export_ticket(tmp_path / "new" / "folder", sparse, format)
    assert [file.name for file in files] == [name, "README.md"]
    assert torch.equal(logits(load_ticket(tmp_path / "new" / "folder")), logits(sparse))
    assert f"`{name}`" in files[-1].read_text()


def test_another_format_is_refused(tmp_path, sparse):
    with pytest.raises(UnknownName, match="ticket format 'h5'"):
        export_ticket(tmp_path, sparse, "h5")  # type: ignore[arg-type]


def test_onnx_without_its_extra_names_the_extra_before_anything_is_written(tmp_path, sparse, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"pip install 'ticketdiet\[onnx\]'"):
        export_ticket(tmp_path / "t", sparse, "onnx")
    assert not (tmp_path / "t").exists()


def test_onnx_gives_the_same_logits_for_any_batch_in_another_runtime(tmp_path, sparse):
    pytest.importorskip("onnxscript")
    onnx = pytest.importorskip("onnx")
    reference = importlib.import_module("onnx.reference")
    files = export_ticket(tmp_path, sparse, "onnx")
    assert [file.name for file in files] == ["ticket.onnx", "ticket.safetensors", "README.md"]
    model = onnx.load(str(files[0]))
    onnx.checker.check_model(model)
    found = reference.ReferenceEvaluator(model).run(None, {"images": INPUTS.numpy()})[0]
    np.testing.assert_allclose(found, logits(sparse).numpy(), rtol=1e-4, atol=1e-5)
    facts = {entry.key: entry.value for entry in model.metadata_props}["ticketdiet"]
    assert TicketFacts.model_validate_json(facts) == sparse.facts


def test_the_card_says_what_a_reader_needs(sparse):
    text = model_card(sparse, ["ticket.pt"])
    for part in (
        "density 0.1",
        "1 x 8 x 8",
        "3 classes",
        "| test | 0.75 | 0.5 |",
        "td.load_ticket(",
        "(0.5)",
        "(0.25)",
    ):
        assert part in text
    assert '"steps": 12' in text
    assert "arxiv.org/abs/2206.01278" in text


def test_the_card_escapes_what_users_named(sparse):
    nasty = "[x](javascript:alert(1)) <script> `a` | b\n# heading"
    facts = sparse.facts.model_copy(
        update={
            "network": sparse.facts.network.model_copy(update={"name": f"{nasty}:make"}),
            "data": DataFacts(name=nasty, class_names=(nasty,), fingerprints={nasty: "`x`\n# y"}),
            "metrics": {nasty: {nasty: 1.0}},
            "training": {"note": "```\n# out"},
        }
    )
    text = model_card(PortableTicket(sparse.module, sparse.mask, facts), ["ticket.pt"])
    outside = [line for line in text.splitlines() if not line.startswith((" ", '"', "{", "}"))]
    assert not [line for line in outside if "<script>" in line.replace("\\<", "") or "](javascript" in line]
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert all(line.startswith(("# \\[x\\]", "## ")) for line in headings)
    assert sum(line.startswith("```") for line in text.splitlines()) % 2 == 0
    assert escaped("a\nb|c") == "a b\\|c"


def test_loading_needs_no_user_module(tmp_path, sparse, monkeypatch):
    save_ticket(tmp_path / "t.safetensors", sparse)
    imported = []
    before = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", lambda name, *rest: imported.append(name) or before(name, *rest))
    load_ticket(tmp_path / "t.safetensors")
    assert not [name for name in imported if name.split(".")[0] in ("nets", "evil_nets", "__main__")]
