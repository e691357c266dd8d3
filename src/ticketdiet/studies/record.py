"""What a store knows of the studies that were run on it: each study, the facts about its data, and its whole plan.

A record is written before the first stage is worked. Tables and figures are made from it, so that they need no data
set on disk, and a store can be read wherever it is copied to.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from ticketdiet.core.addresses import canonical_json
from ticketdiet.core.collecting import without_collector
from ticketdiet.core.errors import DataError, StoreError, UnknownName
from ticketdiet.data.cache import ImageFacts
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.datasets import dataset_facts, load_dataset
from ticketdiet.studies.load import builtin_names
from ticketdiet.studies.plan import Plan
from ticketdiet.studies.schema import DatasetSpec
from ticketdiet.studies.spec import StudySpec
from ticketdiet.studies.stage_data import stage_of_data, stage_to_data

FORMAT = 1
_FACTS = TypeAdapter(ImageFacts)


@dataclass(frozen=True, eq=False)
class StudyRecord:
    """What a store says about a study that was run on it.

    Attributes:
        plan: The study and its stages.
        of: Digest of the study that it belongs to: its own, or that of the study whose rewinding point was searched.
        digest: Digest of the record itself.
        time: When it was written, ISO 8601 in UTC.
    """

    plan: Plan
    of: str
    digest: str
    time: str


@dataclass(frozen=True)
class RecordOutline:
    """What a record says to whoever only lists it; also one that another version of the stages wrote.

    Attributes:
        name: Name of the study.
        digest: Digest of the record.
        of: Digest of the study that it belongs to.
        time: When it was written, ISO 8601 in UTC; empty when the record cannot be read.
        addresses: Of its stages, in the order of the plan; empty when the record cannot be read.
    """

    name: str
    digest: str
    of: str
    time: str
    addresses: tuple[str, ...]


def study_digest(study: StudySpec) -> str:
    """Return what tells a study from all others, overrides included: 16 hexadecimal digits."""
    return hashlib.sha256(canonical_json(study.model_dump(mode="json")).encode()).hexdigest()[:16]


@without_collector()
def record_plan(store: ResultStore, plan: Plan, of: StudySpec | None = None) -> None:
    """Write down a plan that is about to be run.

    Args:
        store: Where its results will be kept.
        plan: The study and its stages.
        of: The study that asked for it, when that is another: a search for its rewinding point.
    """
    document = {
        "format": FORMAT,
        "of": study_digest(of or plan.study),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "study": plan.study.model_dump(mode="json"),
        "facts": [
            {
                "dataset": dataset.model_dump(mode="json"),
                "facts": _FACTS.dump_python(facts, mode="json"),
                "labels": _labels_of(plan, dataset),
            }
            for dataset, facts in plan.facts.items()
        ],
        "warnings": list(plan.warnings),
        "stages": [stage_to_data(stage) for stage in plan.stages.values()],
    }
    store.records.write(plan.study.study, study_digest(plan.study), document)


def summarise_plan(store: ResultStore, plan: Plan, *, again: bool = True) -> None:
    """Write the summary of a plan that was run to a remote store, so that its results are read with few requests.

    Args:
        store: Where its results are.
        plan: The study and its stages.
        again: Write it even where there is one.
    """
    with contextlib.suppress(StoreError):  # a reader without it only asks more often
        store.summarise(plan.study.study, study_digest(plan.study), plan.stages, again=again)


def recorded_plan(store: ResultStore, study: StudySpec) -> Plan | None:
    """Return the plan of ``study`` as it was run on ``store`` last.

    Returns:
        None when it was not run, or by another version of the stages, whose results cannot be told from others.
    """
    record = _read(store, study.study, study_digest(study))
    return None if record is None else record.plan


def recorded_study(store: ResultStore, name: str) -> Plan:
    """Return the plan of the study called ``name`` that was run on ``store`` last.

    Raises:
        UnknownName: When no such study was run on it.
    """
    for record in study_records(store):
        if record.plan.study.study == name and record.of == record.digest:
            return record.plan
    error = UnknownName.of("study", name, {*builtin_names(), *(known for known, _ in store.records.list())})
    raise error


def study_records(store: ResultStore) -> Iterator[StudyRecord]:
    """Yield every record that can be read, the one written last first."""
    for name, digest in store.records.list():
        record = _read(store, name, digest)
        if record is not None:
            yield record


def record_outlines(store: ResultStore) -> list[RecordOutline]:
    """Return an outline of every record, the one written last first."""
    return [_outline(name, digest, store.records.read(name, digest)) for name, digest in store.records.list()]


def _outline(name: str, digest: str, document: Any) -> RecordOutline:
    try:
        addresses = tuple(str(entry["address"]) for entry in document["stages"])
        return RecordOutline(name, digest, str(document["of"]), str(document["time"]), addresses)
    except (KeyError, TypeError):
        return RecordOutline(name, digest, digest, "", ())


def known_facts(study: StudySpec, store: ResultStore) -> dict[DatasetSpec, ImageFacts]:
    """Return the facts that ``store`` has recorded about the data of ``study``, for data that cannot be read any more.

    Data that are there are asked again: they may have changed.
    """
    plan = recorded_plan(store, study)
    if plan is None:
        return {}
    return {dataset: facts for dataset, facts in plan.facts.items() if not _is_readable(dataset)}


def _is_readable(dataset: DatasetSpec) -> bool:
    try:
        dataset_facts(dataset)
    except DataError:
        return False
    return True


@without_collector()
def _read(store: ResultStore, name: str, digest: str) -> StudyRecord | None:
    document = store.records.read(name, digest)
    try:
        if document is None or document["format"] != FORMAT:
            return None
        stages = [stage_of_data(entry) for entry in document["stages"]]
        facts = {
            DatasetSpec.model_validate(entry["dataset"]): _FACTS.validate_python(entry["facts"])
            for entry in document["facts"]
        }
        study = StudySpec.model_validate(document["study"])
        labels = {
            DatasetSpec.model_validate(entry["dataset"]): {
                split: _unpacked(text) for split, text in entry["labels"].items()
            }
            for entry in document["facts"]
        }
        by_address = {stage.address: stage for stage in stages}
        plan = Plan(study, by_address, facts, tuple(document["warnings"]), labels)
        return StudyRecord(plan, str(document["of"]), digest, str(document["time"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _labels_of(plan: Plan, dataset: DatasetSpec) -> dict[str, str]:
    known = plan.labels.get(dataset)
    if known is None:
        known = {name: images.labels.numpy() for name, images in load_dataset(dataset).named().items()}
    return {split: _packed(labels) for split, labels in known.items()}


def _packed(labels: np.ndarray) -> str:
    return base64.b64encode(labels.astype("<i4").tobytes()).decode()


def _unpacked(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype="<i4").astype(np.int64)
