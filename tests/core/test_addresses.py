import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketdiet.core.addresses import address_of, canonical_json

SPEC = {"steps": 400, "model": "resnet20"}
INPUTS = {"point": "ab"}


def test_an_address_is_the_start_of_the_sha_256_of_plain_json():
    text = '{"inputs":{"point":"ab"},"kind":"level","spec":{"model":"resnet20","steps":400},"version":1}'
    assert address_of("level", 1, SPEC, INPUTS) == hashlib.sha256(text.encode()).hexdigest()[:24]


def test_golden_address():
    """Stored results are found by these digits: they must never change."""
    assert address_of("level", 1, SPEC, INPUTS) == "dbc730ce7b52e24c59af9c2e"


def test_the_order_of_keys_is_irrelevant_at_every_depth():
    one = {"a": {"x": 1, "y": [1, 2]}, "b": 2}
    other = {"b": 2, "a": {"y": [1, 2], "x": 1}}
    assert address_of("level", 1, one, {}) == address_of("level", 1, other, {})


def test_the_order_of_a_list_matters():
    assert address_of("level", 1, {"ignore": ["a", "b"]}, {}) != address_of("level", 1, {"ignore": ["b", "a"]}, {})


@pytest.mark.parametrize(
    "other",
    [
        ("child", 1, SPEC, INPUTS),
        ("level", 2, SPEC, INPUTS),
        ("level", 1, SPEC | {"steps": 401}, INPUTS),
        ("level", 1, SPEC | {"steps": "400"}, INPUTS),
        ("level", 1, SPEC | {"rule": None}, INPUTS),
        ("level", 1, SPEC, {"point": "ac"}),
        ("level", 1, SPEC, {"previous": "ab"}),
        ("level", 1, SPEC, {}),
    ],
)
def test_whatever_can_change_a_number_changes_the_address(other):
    assert address_of(*other) != address_of("level", 1, SPEC, INPUTS)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_equals_nothing_has_no_address(value):
    with pytest.raises(ValueError, match="JSON compliant"):
        address_of("level", 1, {"lr": [0.1, value]}, {})


def test_what_is_not_json_is_refused():
    with pytest.raises(TypeError):
        canonical_json({"lr": object()})


def test_text_beyond_ascii_is_written_in_ascii():
    assert canonical_json({"é": "ü"}) == '{"\\u00e9":"\\u00fc"}'


@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.text(), st.booleans(), st.none())))
def test_an_address_is_24_hexadecimal_digits(spec):
    address = address_of("level", 1, spec, {})
    assert len(address) == 24
    assert set(address) <= set("0123456789abcdef")
