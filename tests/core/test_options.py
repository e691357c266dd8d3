import pytest
from pydantic import Field, ValidationError

from ticketdiet.core.errors import UnknownName, UserError
from ticketdiet.core.options import BaseOptions, Configurable, make
from ticketdiet.core.registry import Registry


class Plain(Configurable):
    kind = "spice"


class HotPepper(Plain):
    class Options(BaseOptions):
        heat: float = Field(default=1.0, ge=0, description="How hot.")
        colour: str = "red"


class Salt(Plain):
    class Options(BaseOptions):
        grams: int = Field(description="How much salt.")


def test_options_that_are_not_given_have_their_defaults():
    assert HotPepper({"heat": 2}).options == HotPepper.Options(heat=2.0, colour="red")
    assert HotPepper().options == HotPepper.Options()


def test_options_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        HotPepper().options.heat = 3.0


@pytest.mark.parametrize(
    ("owner", "options", "words"),
    [
        (HotPepper, {"haet": 1}, r"spice 'hot pepper' has no option 'haet'.*among: heat, colour.*did you mean 'heat'"),
        (HotPepper, {"zzz": 1}, r"has no option 'zzz'.*leave zzz out"),
        (Plain, {"heat": 1}, r"spice 'plain' has no option 'heat'.*expected: no options"),
        (HotPepper, {"heat": -1}, r"got -1 for its option 'heat'.*a value greater than or equal to 0.*correct heat"),
        (HotPepper, {"heat": "very"}, r"got 'very' for its option 'heat'.*expected: a valid number"),
        (Salt, {}, r"lacks its option 'grams'.*How much salt.*give grams"),
    ],
)
def test_a_wrong_option_is_refused_with_what_came_what_was_expected_and_the_way_out(owner, options, words):
    with pytest.raises(UserError, match=f"(?s){words}"):
        owner(options)
    with pytest.raises(UserError, match=f"(?s){words}"):
        owner.read_options(options)


def test_what_a_registry_knows_is_made_by_name_and_called_by_it_in_messages():
    spices = Registry("spice")
    spices.register("chilli")(HotPepper)
    assert make(spices, "chilli", {"heat": 3}).options.heat == 3
    with pytest.raises(UserError, match="spice 'chilli' has no option 'sweet'"):
        make(spices, "chilli", {"sweet": 1})
    with pytest.raises(UnknownName, match="unknown spice 'curry'"):
        make(spices, "curry")
