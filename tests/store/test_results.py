"""A store keeps what it was given, to the bit, and says plainly when it cannot."""

import hashlib
import itertools
import os
import pickle
import uuid
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import safe_open

from ticketdiet.core.addresses import address_of
from ticketdiet.core.errors import DamagedResult, UserError
from ticketdiet.store.results import ResultStore

OTHER = "fedcba987654321001234567"
PLAIN: dict[str, Any] = {"kind": "x", "version": 1, "spec": {}, "inputs": {}}
LEVEL: dict[str, Any] = {"kind": "level", "version": 1, "spec": {"lr": 0.1}, "inputs": {"rewind": OTHER}}
ADDRESS = address_of(**LEVEL)


@pytest.fixture(params=["folder", "memory"])
def store(request, tmp_path):
    url = tmp_path / "store" if request.param == "folder" else f"memory://{uuid.uuid4().hex}"
    return ResultStore.open(url)


@pytest.fixture
def folder(tmp_path):
    return ResultStore.open(tmp_path / "store")


def put(store, address=ADDRESS, value=1.0, identity=LEVEL):
    store.write(
        address,
        **identity,
        tensors={"weights": {"fc.weight": torch.full((4, 3), value), "steps": torch.tensor(7)}},
        documents={"metrics": {"accuracy": 0.5}},
        provenance={"device": "cpu"},
    )


def result_folder(store, address=ADDRESS):
    return os.path.join(store.url, "results", address[:2], address)


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and bytes_of(a) == bytes_of(b)


def bytes_of(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def test_a_result_comes_back_as_it_was_written(store):
    assert store.check(ADDRESS).state == "missing"
    put(store)
    assert store.check(ADDRESS).state == "done"
    assert store.has(ADDRESS)
    assert torch.equal(store.tensors(ADDRESS, "weights")["fc.weight"], torch.ones(4, 3))
    assert store.document(ADDRESS, "metrics") == {"accuracy": 0.5}
    assert store.addresses() == [ADDRESS]
    assert store.verify() == []


def test_the_manifest_says_what_the_result_is_and_names_true_checksums(folder):
    put(folder)
    manifest = folder.manifest(ADDRESS)
    assert (manifest.address, manifest.kind, manifest.spec) == (ADDRESS, "level", {"lr": 0.1})
    assert (manifest.inputs, manifest.provenance) == ({"rewind": OTHER}, {"device": "cpu"})
    assert sorted(manifest.files) == ["metrics.json", "weights.safetensors"]
    for name, record in manifest.files.items():
        with open(f"{result_folder(folder)}/{name}", "rb") as file:
            content = file.read()
        assert record.sha256 == hashlib.sha256(content).hexdigest()
        assert record.bytes == len(content)


def test_weights_are_plain_safetensors_that_other_tools_read(folder):
    put(folder)
    with safe_open(f"{result_folder(folder)}/weights.safetensors", framework="np") as file:
        assert file.get_tensor("fc.weight").tolist() == [[1.0] * 3] * 4


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(3.5),
        torch.tensor(True),
        torch.zeros(0, 3),
        torch.arange(12, dtype=torch.int64).reshape(3, 4).T,
        torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        torch.tensor([0, 1, 255], dtype=torch.uint8),
        torch.tensor([float("nan"), float("inf"), -0.0]),
        torch.randn(5).bfloat16(),
        torch.ones(3, requires_grad=True),
        torch.ones(1).expand(4, 5),
    ],
    ids=["0-dim", "bool", "empty", "transposed", "channels-last", "uint8", "nan", "bfloat16", "grad", "expanded"],
)
def test_dtype_shape_and_bits_of_a_tensor_are_kept(store, tensor):
    store.write(address_of(**PLAIN), **PLAIN, tensors={"arrays": {"t": tensor}})
    assert same_bits(store.tensors(address_of(**PLAIN), "arrays")["t"], tensor.detach())


ARRAYS = st.dictionaries(
    st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__" and name.isprintable()),
    hnp.arrays(
        st.sampled_from(["float32", "float64", "float16", "uint8", "int64", "bool", "int16"]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    ),
    max_size=4,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arrays=ARRAYS, document=st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_any_tensors_and_documents_come_back(arrays, document):
    store = ResultStore.open(f"memory://{uuid.uuid4().hex}")
    tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    address = address_of(**PLAIN)
    store.write(address, **PLAIN, tensors={"a": tensors}, documents={"d": document})
    found = store.tensors(address, "a")
    assert found.keys() == tensors.keys()
    assert all(same_bits(found[name], tensors[name]) for name in tensors)
    assert store.document(address, "d") == document
    store.save_partial(OTHER, tensors, document)
    partial = store.load_partial(OTHER)
    assert partial.document == document
    assert all(same_bits(partial.tensors[name], tensors[name]) for name in tensors)


def test_tensors_that_share_memory_are_stored_each_on_its_own(store):
    base = torch.arange(6.0)
    address = address_of(**PLAIN)
    store.write(address, **PLAIN, tensors={"w": {"all": base, "head": base[:2], "twin": base}})
    assert store.tensors(address, "w", ["head"])["head"].tolist() == [0.0, 1.0]


def test_only_the_named_tensors_come_back(store):
    put(store)
    assert list(store.tensors(ADDRESS, "weights", ["steps"])) == ["steps"]
    with pytest.raises(UserError, match=r"no tensor 'nope' in weights\.safetensors(.|\n)*fc\.weight, steps"):
        store.tensors(ADDRESS, "weights", ["nope"])


def test_a_file_that_a_result_does_not_hold_is_the_callers_mistake(store):
    put(store)
    with pytest.raises(UserError, match=r"has no file scores\.safetensors"):
        store.tensors(ADDRESS, "scores")


def test_reading_a_result_that_is_not_there_names_it(store):
    with pytest.raises(DamagedResult, match=f"result {ADDRESS} .* is not there"):
        store.document(ADDRESS, "metrics")


def test_the_first_writer_of_an_address_wins(store):
    put(store, value=1.0)
    put(store, value=2.0)
    assert store.tensors(ADDRESS, "weights")["fc.weight"][0, 0] == 1.0


@pytest.mark.parametrize("address", ["", "../../etc/passwd", "0123", ADDRESS.upper(), ADDRESS + "\n", "g" * 24])
def test_what_is_not_an_address_never_becomes_a_path(store, address):
    with pytest.raises(UserError, match="is not an address"):
        put(store, address)
    with pytest.raises(UserError, match="is not an address"):
        store.has(address)


def test_the_first_digits_find_a_result_when_they_fit_one_only(store):
    identities = {address_of(**found): found for found in (LEVEL | {"version": number} for number in range(40))}
    twins = next(pair for pair in itertools.combinations(identities, 2) if pair[0][:2] == pair[1][:2])
    for address in twins:
        put(store, address, identity=identities[address])
    shared = twins[0][: next(n for n in range(24) if twins[0][n] != twins[1][n])]
    assert store.resolve(twins[0][: len(shared) + 1].upper()) == twins[0]
    with pytest.raises(UserError, match=f"2 stored results begin with '{shared}'"):
        store.resolve(shared)
    with pytest.raises(UserError, match="No stored results begin with 'zz'"):
        store.resolve("zz")


def test_an_address_is_the_hash_of_what_is_kept_at_it(store):
    with pytest.raises(UserError, match=f"cannot be stored at {OTHER}(.|\\n)*{ADDRESS}"):
        put(store, OTHER)
    assert store.addresses() == []


def test_a_discarded_result_is_missing_and_can_be_written_again(store):
    put(store, value=1.0)
    store.discard(ADDRESS)
    assert store.check(ADDRESS).state == "missing"
    store.discard(ADDRESS)
    put(store, value=2.0)
    assert store.tensors(ADDRESS, "weights")["fc.weight"][0, 0] == 2.0


def test_a_store_travels_to_another_process(store):
    put(store)
    assert pickle.loads(pickle.dumps(store)).has(ADDRESS)  # noqa: S301


class TestPartialStates:
    def test_the_last_state_replaces_the_one_before(self, store):
        assert store.load_partial(ADDRESS) is None
        assert store.partial_document(ADDRESS) is None
        for step in (1, 2):
            store.save_partial(ADDRESS, {"w": torch.tensor(float(step))}, {"step": step})
            assert store.partial_document(ADDRESS) == {"step": step}
        partial = store.load_partial(ADDRESS)
        assert (partial.tensors["w"].item(), partial.document) == (2.0, {"step": 2})
        assert not store.has(ADDRESS)

    def test_finishing_the_stage_or_dropping_the_state_forgets_it(self, store):
        for finish in (lambda: put(store), lambda: store.drop_partial(ADDRESS)):
            store.save_partial(ADDRESS, {}, {"step": 1})
            finish()
            assert store.load_partial(ADDRESS) is None
        store.drop_partial(ADDRESS)

    def test_a_state_that_was_cut_or_altered_anywhere_is_refused(self, folder):
        folder.save_partial(ADDRESS, {"w": torch.arange(3.0), "mask": torch.tensor([True])}, {"step": 123})
        path = f"{folder.url}/partial/{ADDRESS}.safetensors"
        with open(path, "rb") as file:
            whole = file.read()
        altered = [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in range(len(whole))]
        for data in [whole[:i] for i in range(len(whole))] + altered:
            with open(path, "wb") as file:
                file.write(data)
            assert folder.load_partial(ADDRESS) is None
