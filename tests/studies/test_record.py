import gzip
import os

import numpy as np
import pytest

from ticketdiet.core.errors import DataError, UnknownName
from ticketdiet.data.images import load_images
from ticketdiet.studies import record
from ticketdiet.studies.load import parse_study
from ticketdiet.studies.plan import plan_study
from ticketdiet.studies.record import (
    known_facts,
    record_plan,
    recorded_plan,
    recorded_study,
    study_digest,
    study_records,
)


def path_of(store, study):
    return f"{store.url}/studies/{study.study}.{study_digest(study)}.json.gz"


def test_a_plan_is_read_back_as_it_was_recorded(every_kind, store):
    record_plan(store, every_kind)
    found = recorded_plan(store, every_kind.study)
    assert found.study == every_kind.study
    assert list(found.stages) == list(every_kind.stages)
    for address, stage in every_kind.stages.items():
        again = found.stages[address]
        assert (type(again), again.fields()) == (type(stage), stage.fields())
    assert found.facts == every_kind.facts
    assert found.warnings == every_kind.warnings


def test_the_labels_of_every_split_are_recorded(plan_tiny, store):
    plan = plan_tiny()
    record_plan(store, plan)
    labels = recorded_plan(store, plan.study).labels[plan.study.dataset]
    images = load_images("digits", limit=96)
    assert {split: found.tolist() for split, found in labels.items()} == {
        split: split_images.labels.tolist() for split, split_images in images.named().items()
    }
    assert labels["train"].dtype == np.int64


def test_another_study_is_another_record(plan_tiny, store):
    record_plan(store, plan_tiny())
    assert recorded_plan(store, plan_tiny("seed=1").study) is None
    record_plan(store, plan_tiny("seed=1"))
    assert len(store.records.list()) == 2


def test_a_study_is_found_by_its_name_as_it_was_run_last(plan_tiny, store):
    first, second = plan_tiny(), plan_tiny("seed=1")
    for number, plan in enumerate((first, second)):
        record_plan(store, plan)
        os.utime(path_of(store, plan.study), (number, number))
    assert recorded_study(store, "tiny").study.seed == 1
    with pytest.raises(UnknownName, match="tiny"):
        recorded_study(store, "other")


def test_a_plan_that_another_study_asked_for_is_not_found_by_name(plan_tiny, store):
    asked, whole = plan_tiny("arms.all@4.pretrain.steps=2"), plan_tiny()
    record_plan(store, asked, of=whole.study)
    with pytest.raises(UnknownName):
        recorded_study(store, "tiny")
    (found,) = study_records(store)
    assert (found.of, found.digest) == (study_digest(whole.study), study_digest(asked.study))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: b"\x00" * 100,
        lambda data: gzip.compress(b"[" * 100_000),
        lambda data: gzip.compress(b'{"format": 1}'),
        lambda data: gzip.compress(gzip.decompress(data).replace(b'"replicate": 0', b'"replicate": 7')),
        lambda data: gzip.compress(gzip.decompress(data).replace(b'"version": ', b'"version": 9')),
    ],
    ids=["cut", "empty", "no gzip", "nested", "without keys", "altered", "of another version"],
)
def test_a_record_that_cannot_be_believed_is_as_good_as_absent(plan_tiny, store, damage):
    plan = plan_tiny()
    record_plan(store, plan)
    path = path_of(store, plan.study)
    with open(path, "rb") as file:
        data = file.read()
    with open(path, "wb") as file:
        file.write(damage(data))
    assert recorded_plan(store, plan.study) is None
    assert list(study_records(store)) == []


def test_facts_are_taken_from_the_record_only_when_the_data_are_gone(plan_tiny, store, monkeypatch):
    plan = plan_tiny()
    assert known_facts(plan.study, store) == {}
    record_plan(store, plan)
    assert known_facts(plan.study, store) == {}

    def gone(dataset):
        raise DataError(f"{dataset.name} is gone.")

    monkeypatch.setattr(record, "dataset_facts", gone)
    assert known_facts(plan.study, store) == dict(plan.facts)
    study = parse_study(plan.study.model_dump_json())
    assert list(plan_study(study, known_facts(study, store)).stages) == list(plan.stages)
