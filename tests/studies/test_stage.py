"""What a stage is known by: its identity, its inputs, and nothing that cannot change a number."""

import dataclasses
import json
from typing import Any

import pytest

from ticketdiet.core.addresses import address_of
from ticketdiet.studies.network import Cost
from ticketdiet.studies.schema import DatasetSpec
from ticketdiet.studies.stage import Stage, Use
from ticketdiet.studies.stages.catalog import KINDS
from ticketdiet.studies.stages.child import Child
from ticketdiet.training.recipe import Recipe

ELSEWHERE = DatasetSpec(name="npz:/elsewhere/images.npz")
ASIDE: dict[str, Any] = {
    "dataset": ELSEWHERE,
    "uses": (Use("another@9", 3, 2, through=True),),
    "cost": Cost(1, 2, 3),
    "path": "/elsewhere/file.npy",
}
ADDRESS = "0123456789abcdef01234567"


@pytest.fixture(params=list(KINDS))
def stage(request, every_kind):
    """The last stage of each kind: a level with a level before it, a subset with a score."""
    return every_kind.of(KINDS[request.param])[-1]


def input_names(stage):
    return {field.name for field in dataclasses.fields(stage) if field.metadata.get("sort") == "input"}


def changed(value):
    """Every value that differs from ``value`` in one place."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from (dataclasses.replace(value, **{field.name: v}) for v in changed(getattr(value, field.name)))
    elif isinstance(value, Recipe):
        others = {"steps": 13, "batch_size": 7, "lr": 0.3, "momentum": 0.1, "flip": True, "precision": "bfloat16"}
        yield from (value.model_copy(update={key: other}) for key, other in others.items())
    elif isinstance(value, dict):
        yield {**value, "another": 1}
        for key, inner in value.items():
            yield {other: value[other] for other in value if other != key}
            yield from ({**value, key: v} for v in changed(inner))
    elif isinstance(value, tuple):
        yield (*value, *value[-1:], "another")
        yield from ([value[:-1]] if value else [])
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield value + 1
    elif isinstance(value, str):
        yield value + "x"
    else:
        assert value is None
        yield 1


def test_every_field_is_of_one_sort(stage):
    names = [field.name for field in dataclasses.fields(stage)]
    assert sorted([*stage.identity, *input_names(stage), *ASIDE]) == sorted(names)


def test_the_address_is_the_hash_of_kind_version_identity_and_inputs(stage):
    assert stage.address == address_of(stage.kind, stage.version, stage.identity, stage.inputs)
    assert json.loads(json.dumps(stage.identity)) == stage.identity


def test_changing_anything_in_the_identity_changes_the_address(stage):
    tried = 0
    for name in stage.identity:
        for value in changed(getattr(stage, name)):
            assert dataclasses.replace(stage, **{name: value}).address != stage.address, (name, value)
            tried += 1
    assert tried >= len(stage.identity)


def test_changing_an_input_changes_the_address(stage):
    for name in input_names(stage):
        value = getattr(stage, name)
        other: object = (*value, ADDRESS) if isinstance(value, tuple) else ADDRESS
        other = {**value, "another": ADDRESS} if isinstance(value, dict) else other
        assert dataclasses.replace(stage, **{name: other}).address != stage.address, name


def test_changing_what_cannot_change_a_number_leaves_the_address(stage):
    for name, value in ASIDE.items():
        assert getattr(stage, name) != value
        assert dataclasses.replace(stage, **{name: value}).address == stage.address, name


def test_another_version_of_a_kind_has_other_addresses(stage, monkeypatch):
    before = stage.address
    monkeypatch.setattr(type(stage), "version", stage.version + 1)
    assert dataclasses.replace(stage).address != before


def test_a_stage_is_the_same_after_a_round_trip_through_json(stage):
    again = type(stage).of_fields(json.loads(json.dumps(stage.fields())))
    assert again.fields() == stage.fields()
    assert (again.address, again.inputs, again.label) == (stage.address, stage.inputs, stage.label)
    assert (again.dataset, again.uses, again.cost, again.path) == (stage.dataset, stage.uses, stage.cost, stage.path)


def test_every_stage_of_a_plan_is_read_back_from_the_manifest_of_its_result(every_kind, store):
    for stage in every_kind.stages.values():
        about = {"kind": stage.kind, "version": stage.version, "spec": stage.identity, "inputs": stage.inputs}
        store.write(stage.address, **about, documents={"rows": []})
        again = KINDS[stage.kind].of_manifest(store.manifest(stage.address), ELSEWHERE)
        assert type(again) is type(stage)
        assert (again.address, again.dataset, again.uses) == (stage.address, ELSEWHERE, ())
        assert (again.identity, again.inputs) == (stage.identity, stage.inputs)


@pytest.mark.parametrize("change", [{"nonsense": 1}, {"data": 3}, {"data": None}])
def test_fields_that_are_not_those_of_the_kind_are_refused(stage, change):
    with pytest.raises(ValueError, match=f"not the fields of a stage of kind '{stage.kind}'"):
        type(stage).of_fields({**stage.fields(), **change})


def test_a_missing_field_is_refused_unless_it_cannot_change_a_number(stage):
    for name in {*stage.identity, *input_names(stage), "dataset"}:
        fields = {key: value for key, value in stage.fields().items() if key != name}
        with pytest.raises(ValueError, match=f"(?s)not the fields of a stage.*{name}"):
            type(stage).of_fields(fields)
    identity = {**stage.fields(), "dataset": ELSEWHERE}
    for name in ("uses", "cost", "path"):
        del identity[name]
    assert type(stage).of_fields(identity).address == stage.address


def test_inputs_of_several_have_numbered_roles_or_roles_of_their_own(every_kind):
    (score,) = [stage for stage in every_kind.of(KINDS["score"]) if stage.score == "el2n"]
    assert score.inputs == {"model000": score.model[0], "model001": score.model[1]}
    family = every_kind.of(KINDS["barrier"])[0]
    assert family.inputs == family.networks
    assert list(family.inputs) == ["parent", "child1", "child2"]


def test_an_input_that_is_absent_has_no_role(every_kind):
    dense, pruned = every_kind.of(KINDS["level"])[:2]
    assert set(dense.inputs) == {"point"}
    assert pruned.inputs == {"point": pruned.point, "previous": dense.address}


def test_a_label_says_kind_arm_replicate_and_level(every_kind):
    child = every_kind.of(Child)[0]
    assert child.label == "child · none@0 · replicate 0 · level 0"
    control = every_kind.of(KINDS["sparse_training"])[0]
    assert control.label == "sparse training · control@4 · replicate 0 · level 1"
    unused = dataclasses.replace(control, uses=())
    assert unused.label == f"sparse training {control.address[:8]}"


def test_a_stage_is_of_one_of_the_kinds_of_the_catalog(every_kind):
    assert {type(stage) for stage in every_kind.stages.values()} == set(KINDS.values())
    assert all(issubclass(kind, Stage) and kind.kind == name for name, kind in KINDS.items())
