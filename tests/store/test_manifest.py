"""A manifest is read as a manifest of its own address, or refused in words; no bytes at all end in anything else."""

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ticketdiet.core.addresses import address_of
from ticketdiet.core.errors import DamagedResult
from ticketdiet.store.manifest import MOST_BYTES, FileRecord, Manifest, ManifestError, parse_manifest
from ticketdiet.store.results import ResultStore

IDENTITY: dict[str, Any] = {
    "kind": "level",
    "version": 2,
    "spec": {"lr": 0.1, "model": {"name": "resnet8", "width": None}, "seeds": [1, 2]},
    "inputs": {"point": "fedcba987654321001234567"},
}
ADDRESS = address_of(**IDENTITY)
PROVENANCE = {"seconds": 1.5, "machine": {"threads": 1}}
WHOLE = Manifest(
    ADDRESS, **IDENTITY, provenance=PROVENANCE, files={"rows.json": FileRecord("rows.json", 2, "0" * 64, 7, 8)}
)


def sealed(body):
    """A manifest with whatever is in ``body``, and the checksum right."""
    body = {key: value for key, value in body.items() if key != "checksum"}
    text = json.dumps(body, sort_keys=True)
    return json.dumps(body | {"checksum": hashlib.sha256(text.encode()).hexdigest()}).encode()


def body_of(found):
    return json.loads(found.to_bytes())


def test_what_was_written_is_read():
    assert parse_manifest(WHOLE.to_bytes(), ADDRESS) == WHOLE
    assert parse_manifest(sealed(body_of(WHOLE)), ADDRESS) == WHOLE


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_bytes_that_are_no_manifest_are_refused(data):
    with pytest.raises(ManifestError):
        parse_manifest(data, ADDRESS)


def places(node, path=()):
    """Paths of everything in a JSON value."""
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def altered(body, path, value, how):
    """``body`` with ``value`` instead of what is at ``path``, or beside it, or with nothing there."""
    body = copy.deepcopy(body)
    *way, last = path
    node = body
    for key in way:
        node = node[key]
    if how == "remove":
        del node[last]
    elif how == "add" and isinstance(node, dict):
        node[f"{last}x"] = value
    else:
        node[last] = value
    return body


@given(
    path=st.sampled_from([path for path in places(body_of(WHOLE)) if path]),
    value=JSON,
    how=st.sampled_from(["replace", "remove", "add"]),
)
def test_a_manifest_changed_at_any_place_with_its_checksum_made_right_is_of_its_address_or_refused(path, value, how):
    body = altered(body_of(WHOLE), path, value, how)
    try:
        found = parse_manifest(sealed(body), ADDRESS)
    except ManifestError:
        return
    assert {name: getattr(found, name) for name in IDENTITY} == IDENTITY
    for record in found.files.values():
        assert record.path == "rows.json"
        assert type(record.bytes) is int
        assert record.bytes >= 0


FORGED = {
    "another spec": {"spec": {"lr": 0.2}},
    "another kind": {"kind": "child"},
    "another version": {"version": 1},
    "other inputs": {"inputs": {}},
    "another format": {"format": 1},
    "a format that is no number": {"format": "2"},
    "a truth value for a number": {"version": True},
    "an input that is no address": {"inputs": {"point": "../../etc"}},
    "a key that nobody knows": {"more": 1},
    "no dictionary of files": {"files": ["rows.json"]},
    "a kind for the terminal": {"kind": "\x1b[2J"},
}


@pytest.mark.parametrize("change", FORGED.values(), ids=FORGED.keys())
def test_a_forged_manifest_with_right_checksums_is_refused(change):
    with pytest.raises(ManifestError):
        parse_manifest(sealed(body_of(WHOLE) | change), ADDRESS)


def test_a_forged_manifest_says_whose_it_is():
    forged = body_of(WHOLE) | {"version": 3}
    with pytest.raises(ManifestError, match=f"are those of {address_of(**IDENTITY | {'version': 3})}"):
        parse_manifest(sealed(forged), ADDRESS)


@pytest.mark.parametrize(
    "path", ["../rows.json", "/etc/passwd", "a/rows.json", "..", "", "rows.json\n", "manifest.json", "other.json"]
)
def test_a_file_lies_in_the_folder_of_its_result_under_its_own_name(path):
    body = body_of(WHOLE)
    body["files"]["rows.json"]["path"] = path
    with pytest.raises(ManifestError):
        parse_manifest(sealed(body), ADDRESS)
    body = body_of(WHOLE)
    body["files"] = {path: body["files"]["rows.json"] | {"path": path}}
    if path != "other.json":
        with pytest.raises(ManifestError):
            parse_manifest(sealed(body), ADDRESS)


DEEP = b"[" * 100_000 + b"]" * 100_000
TEXT = WHOLE.to_bytes()
HOSTILE = {
    "nested": DEEP,
    "nested in the spec": TEXT.replace(b"0.1", DEEP),
    "an integer of 5 000 digits": TEXT.replace(b"0.1", b"9" * 5000),
    "a format of 5 000 digits": TEXT.replace(b'"format": 2', b'"format": ' + b"9" * 5000),
    "not a number": TEXT.replace(b"0.1", b"NaN"),
    "infinity": TEXT.replace(b"0.1", b"1e999"),
    "a key twice": TEXT.replace(b'"lr": 0.1', b'"lr": 0.2, "lr": 0.1'),
    "a lone surrogate": TEXT.replace(b'"level"', b'"\\ud800"'),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_manifest_is_a_damaged_result(data, store):
    with pytest.raises(ManifestError):
        parse_manifest(data, ADDRESS)
    path_of(store, "manifest.json").write_bytes(data)
    assert store.check(ADDRESS).state == "damaged"
    assert [problem.address for problem in store.verify()] == [ADDRESS]
    with pytest.raises(DamagedResult):
        store.document(ADDRESS, "rows")


def test_a_huge_manifest_is_not_read(store):
    with open(path_of(store, "manifest.json"), "r+b") as file:
        file.truncate(1 << 40)
    assert store.check(ADDRESS).reason.endswith(f"manifest.json has more than {MOST_BYTES} bytes")


@pytest.mark.parametrize(
    "data", [DEEP, b"9" * 5000, b"\xff", b"", b"{"], ids=["nested", "digits", "no text", "empty", "cut"]
)
def test_a_document_that_cannot_be_read_is_a_damaged_result_even_if_its_checksum_is_right(data, store):
    path_of(store, "rows.json").write_bytes(data)
    reseal(store, "rows.json", data)
    assert store.inspect(ADDRESS).state == "done"
    with pytest.raises(DamagedResult, match=r"rows\.json cannot be read"):
        store.document(ADDRESS, "rows")


def test_a_partial_state_of_another_stage_is_not_gone_on_from(store):
    other = "fedcba987654321001234567"
    store.save_partial(other, {"w": torch.ones(2)}, {"step": 3})
    partial = Path(store.url, "partial")
    (partial / f"{other}.safetensors").rename(partial / f"{ADDRESS}.safetensors")
    assert store.load_partial(ADDRESS) is None


def test_a_number_in_the_spec_that_json_does_not_keep_is_refused_when_it_is_written(store):
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.write(ADDRESS, **IDENTITY | {"spec": {"lr": float("nan")}})


@pytest.fixture
def store(tmp_path):
    store = ResultStore.open(tmp_path / "store")
    store.write(ADDRESS, **IDENTITY, tensors={"weights": {"w": torch.ones(3)}}, documents={"rows": [{"value": 1.0}]})
    return store


def path_of(store, name):
    return Path(store.url, "results", ADDRESS[:2], ADDRESS, name)


def reseal(store, name, data):
    """Write the manifest anew so that it names the checksum of ``data``."""
    path = path_of(store, "manifest.json")
    body = json.loads(path.read_bytes())
    body["files"][name] |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    path.write_bytes(sealed(body))
