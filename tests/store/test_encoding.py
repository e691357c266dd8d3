"""Tensors, documents and partial states as bytes: they come back as they were, or are refused in words."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ticketdiet.core.errors import UserError
from ticketdiet.store import encoding
from ticketdiet.store.encoding import (
    USUAL_HEADER,
    Partial,
    decode_document,
    decode_partial,
    decode_partial_document,
    decode_tensors,
    encode_document,
    encode_partial,
    encode_tensors,
)

ADDRESS = "0123456789abcdef01234567"
DEEP = b"[" * 100_000 + b"]" * 100_000


def test_tensors_come_back_sorted_by_name_whatever_their_strides():
    turned = torch.arange(6.0).reshape(2, 3).T
    found = decode_tensors(encode_tensors({"b": turned, "a": turned[:1]}))
    assert list(found) == ["a", "b"]
    assert torch.equal(found["b"], turned)


def test_a_tensor_that_is_not_dense_is_refused():
    with pytest.raises(UserError, match=r"cannot be stored(.|\n)*dense tensors"):
        encode_tensors({"w": torch.eye(2).to_sparse()})


def test_documents_keep_numbers_that_are_not_finite():
    first, second = decode_document(encode_document([math.inf, math.nan]))
    assert first == math.inf
    assert math.isnan(second)


def test_a_document_nested_too_deeply_is_a_value_error():
    with pytest.raises(ValueError, match="nested too deeply"):
        decode_document(DEEP)


def test_a_partial_state_comes_back_for_its_own_stage_only():
    partial = Partial({"w": torch.ones(2, dtype=torch.bfloat16)}, {"step": 3})
    data = encode_partial(partial, ADDRESS)
    found = decode_partial(data, ADDRESS)
    assert (found.document, found.tensors["w"].dtype) == ({"step": 3}, torch.bfloat16)
    assert decode_partial(data, ADDRESS[::-1]) is None


@given(st.binary(max_size=64) | st.just(b"\x40" + b"\0" * 7 + DEEP[:64]))
def test_tensors_that_cannot_be_read_are_a_value_error_in_words(data):
    with pytest.raises(ValueError, match="it contains no tensors"):
        encoding.decode_tensors(data)


@pytest.mark.parametrize("tensors", [0, 1, 2000])
def test_the_document_of_a_partial_state_is_read_without_its_tensors(tensors):
    state = {
        f"a tensor with a long name, which fills the header, {number}": torch.ones(99) for number in range(tensors)
    }
    data, asked = encode_partial(Partial(state, {"step": 3}), ADDRESS), []
    assert decode_partial_document(lambda count: asked.append(count) or data[:count]) == {"step": 3}
    header = 8 + int.from_bytes(data[:8], "little")
    assert asked == ([USUAL_HEADER] if header <= USUAL_HEADER else [USUAL_HEADER, header])


@pytest.mark.parametrize(
    "data", [b"", b"1234", b"\xff" * 100_000, b"\x10" + 7 * b"\0" + b'{"a": 1}', encode_tensors({})]
)
def test_what_is_no_partial_state_has_no_document(data):
    assert decode_partial_document(lambda count: data[:count]) is None


def test_a_partial_state_nested_too_deeply_is_none(monkeypatch):
    monkeypatch.setattr(json, "dumps", lambda document: DEEP.decode())
    data = encode_partial(Partial({"w": torch.ones(2)}, None), ADDRESS)
    monkeypatch.undo()
    assert decode_partial(data, ADDRESS) is None
