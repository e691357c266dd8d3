import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import ticketdiet as td
from ticketdiet.cli.main import app
from ticketdiet.core.errors import TicketDietError
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.stages.child import Child
from ticketdiet.studies.stages.level import Level
from ticketdiet.tickets.structure import is_n_of_m


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_file, plan_tiny, run_tiny):
    """A finished tiny study of 2:4 tickets with children, and its file."""
    folder = tmp_path_factory.mktemp("export")
    tiny_file(folder)
    settings = ["pruning.criterion=n_of_m", "arms={all@4: {pretrain: {steps: 4}}}", "scores={}", "children=2"]
    plan = plan_tiny(*settings)
    run_tiny(plan, ResultStore.open(folder / "runs"))
    return folder, plan, settings


@pytest.fixture
def command(place):
    def call(*arguments):
        return CliRunner().invoke(app, [*map(str, arguments), "--store", str(place[0] / "runs")])

    return call


def level(plan, number):
    return next(stage for stage in plan.of(Level) if stage.level == number)


def test_a_network_is_exported_by_the_beginning_of_its_address(place, command, tmp_path):
    folder, plan, _ = place
    address = level(plan, 2).address
    result = command("export", address[:8], "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert "resnet8, density 0.25 (1,241 weights kept)" in result.output
    ticket = td.load_ticket(tmp_path)
    study = td.load_study("tiny", store=folder / "runs")
    weights = study.network("all@4", level=2).state_dict()
    assert all(torch.equal(ticket.weights[name], value) for name, value in weights.items())
    mask = study.mask("all@4", level=2)
    assert all(torch.equal(ticket.mask[name], kept) for name, kept in mask.items())
    assert is_n_of_m(ticket.mask, 2, 4)


def test_the_facts_are_those_of_the_rows_and_the_data(place, command, tmp_path):
    folder, plan, _ = place
    address = level(plan, 1).address
    assert command("export", address, "--out", tmp_path).exit_code == 0
    facts = td.load_ticket(tmp_path).facts
    rows = td.load_study("tiny", store=folder / "runs").rows().query("address == @address and step == 12")
    for split in ("train", "test"):
        values = {row.metric: row.value for row in rows[rows["split"] == split].itertuples()}
        assert facts.metrics[split] == {name: values[name] for name in ("accuracy", "loss")}
    images = td.load_images("digits", limit=96)
    assert (facts.data.name, facts.data.mean, facts.data.std) == ("digits", images.train.mean, images.train.std)
    assert facts.data.fingerprints["train"] == images.train.fingerprint
    assert (facts.origin["study"], facts.origin["arm"], facts.training["level"]) == ("tiny", "all@4", 1)
    assert facts.training["cut"]["criterion_options"] == {"n": 2, "m": 4}
    assert td.evaluate(td.load_ticket(tmp_path).module, images.test).accuracy == facts.metrics["test"]["accuracy"]


def test_a_study_and_an_arm_name_a_network_too(place, command, tmp_path):
    folder, plan, settings = place
    overrides = [part for setting in settings for part in ("--set", setting)]
    result = command("export", folder / "tiny.yaml", "all@4", "--level", 1, "--out", tmp_path / "a", *overrides)
    assert result.exit_code == 0, result.output
    assert td.load_ticket(tmp_path / "a").facts.origin["address"] == level(plan, 1).address
    assert command("export", "tiny", "all@4", "--out", tmp_path / "b").exit_code == 0
    assert td.load_ticket(tmp_path / "b").facts.origin["address"] == level(plan, 2).address


def test_compact_leaves_the_outputs_and_says_so(place, command, tmp_path):
    folder, plan, _ = place
    address = level(plan, 2).address
    store = ResultStore.open(folder / "runs", create=False)
    assert command("export", address, "--compact", "--to", "torch", "--out", tmp_path).exit_code == 0
    found, whole = td.load_ticket(tmp_path), td.stored_ticket(store, address)
    images = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(found.module(images), whole.module(images), rtol=1e-4, atol=1e-5)
    assert found.facts.compacted
    assert not whole.facts.compacted
    assert "dead channels were removed" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("kind", ["pretrain", "child"])
def test_rewinding_points_and_children_are_dense_tickets(place, command, tmp_path, kind):
    _, plan, _ = place
    stage = level(plan, 0).point if kind == "pretrain" else next(iter(plan.of(Child))).address
    result = command("export", stage, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    ticket = td.load_ticket(tmp_path)
    assert (ticket.facts.density, ticket.facts.origin["kind"]) == (1.0, kind)


def test_without_a_record_of_the_study_the_data_are_unknown(place, tmp_path):
    folder, plan, _ = place
    store = ResultStore.open(tmp_path / "copy")
    address = level(plan, 0).address
    source = folder / "runs" / "results" / address[:2] / address
    target = tmp_path / "copy" / "results" / address[:2]
    target.mkdir(parents=True)
    for file in source.iterdir():
        (target / address).mkdir(exist_ok=True)
        (target / address / file.name).write_bytes(file.read_bytes())
    facts = td.stored_ticket(store, address).facts
    assert (facts.data.name, facts.data.mean, "study" in facts.origin) == ("", (), False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("tiny",), "name the arm after the study"),
        (("ffffffff",), "No stored results begin with 'ffffffff'"),
        (("abc", "--level", 1), "Got --level with an address"),
        (("tiny", "all@5"), "unknown arm 'all@5'"),
        (("tiny", "all@4", "--level", 7), "has no level 7"),
    ],
)
def test_what_names_no_network_is_refused(command, tmp_path, arguments, words):
    error = command("export", *arguments, "--out", tmp_path / "t").exception
    assert isinstance(error, TicketDietError)
    assert words in str(error)
    assert not (tmp_path / "t").exists()


def test_a_network_of_open_lth_is_imported_as_a_ticket(tmp_path):
    module = td.build_model("resnet8", width=4, image_size=16)
    torch.save(module.state_dict(), tmp_path / "model_ep160_it0.pth")
    mask = {name: (torch.rand(kept.shape) < 0.2).int() for name, kept in td.dense_mask(module).items()}
    torch.save(mask, tmp_path / "mask.pth")
    arguments = ["import", tmp_path, "--from", "open_lth", "--image-size", 16, "--out", tmp_path / "ticket"]
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    ticket = td.load_ticket(tmp_path / "ticket")
    kept = sum(int(one.sum()) for one in mask.values())
    assert ticket.facts.kept == kept
    assert f"({kept:,} weights kept)" in result.output
    assert ticket.facts.origin["imported_from"] == "facebookresearch/open_lth"
    assert ticket.facts.network.image_size == 16


def test_a_card_has_the_numbers_and_plain_json(place, command, tmp_path):
    _, plan, _ = place
    assert command("export", level(plan, 1).address, "--out", tmp_path).exit_code == 0
    text = (tmp_path / "README.md").read_text()
    blocks = [part.split("```")[0] for part in text.split("```json\n")[1:]]
    training, origin = map(json.loads, blocks)
    assert training["recipe"]["lr"] == 0.05
    assert origin["address"] == level(plan, 1).address
    assert np.isclose(
        float(text.split("| test | ")[1].split(" ")[0]), td.load_ticket(tmp_path).facts.metrics["test"]["accuracy"]
    )
