"""Settings are the recipes of the paper, and scales change what they name."""

import pytest
import yaml

from ticketdiet.core.errors import UnknownName, UserError
from ticketdiet.paper.claims.catalog import CLAIMS, chosen_claims
from ticketdiet.paper.setting import load_setting, recipe_names, scale_names
from ticketdiet.studies.load import load_spec, parse_study
from ticketdiet.studies.yaml_text import write_yaml

ALL = [
    (recipe, scale)
    for recipe in recipe_names()
    for scale in scale_names()
    if scale != "mini" or recipe in ("cifar10-resnet20", "cifar100-resnet32", "cinic10-resnet56")
]


@pytest.mark.parametrize(("recipe", "scale"), ALL)
@pytest.mark.parametrize("claim", list(CLAIMS))
def test_every_claim_is_a_legal_study_at_every_setting(recipe, scale, claim):
    setting = load_setting(recipe, scale)
    study = CLAIMS[claim].study(setting)
    assert study.study == f"{claim.lower()}-{recipe}-{scale}"
    assert parse_study(write_yaml(study.model_dump(mode="json", exclude_unset=True))) == study


@pytest.mark.parametrize(("recipe", "scale"), ALL)
@pytest.mark.parametrize("claim", list(CLAIMS))
def test_questions_are_about_arms_that_the_study_has(recipe, scale, claim, rows_of):
    setting = load_setting(recipe, scale)
    arms = set(CLAIMS[claim].arms(setting))
    asked = {
        word.strip(",.")
        for question in CLAIMS[claim].questions(setting)
        for word in question.text.split()
        if "@" in word
    }
    assert asked <= arms


def test_the_full_setting_is_the_built_in_study_of_the_paper():
    built_in, setting = load_spec("cifar10-resnet20"), load_setting("cifar10-resnet20", "full")
    ours = CLAIMS["C3"].study(setting)
    assert ours.training == built_in.training
    assert (ours.model, ours.pruning) == (built_in.model, built_in.pruning)
    assert ours.arms["easiest3200@200"] == built_in.arms["easiest3200@200"]
    assert ours.scores["el2n"].model_copy(update={"per_replicate": False}) == built_in.scores["el2n"]


def test_the_short_scale_has_a_tenth_of_the_steps_and_no_other_k():
    full, short = (load_setting("cinic10-resnet56", scale) for scale in ("full", "short"))
    assert short.study["training"]["steps"] * 10 == full.study["training"]["steps"]
    assert short.study["training"]["milestones"] == [1562, 2344]
    assert short.score["steps"] * 10 == full.score["steps"]
    assert (short.early, short.late) == (full.early, full.late)


@pytest.mark.parametrize(
    ("recipe", "scale", "density", "level"),
    [
        ("cifar10-resnet20", "full", 0.107, 10),
        ("cifar10-resnet20", "mini", 0.0352, 5),
        ("cifar10-resnet20", "mini", 2, 0),
    ],
)
def test_the_judged_level_follows_from_the_pruning_and_from_no_result(recipe, scale, density, level):
    setting = load_setting(recipe, scale)
    assert setting.level(density) == level
    assert setting.density(setting.level(density)) == pytest.approx(min(density, 1), rel=0.01)


def test_data_can_lie_elsewhere_and_nothing_else_changes():
    setting = load_setting()
    moved = setting.with_dataset("parquet:there")
    assert moved.study["dataset"] == {"name": "parquet:there", "resolution": 16}
    assert moved.study["training"] == setting.study["training"]
    assert setting.study["dataset"]["name"] == "cifar10"


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(UnknownName, match="cifar10-resnet20"):
        load_setting("cifar10-resnet21")
    with pytest.raises(UnknownName, match="mini"):
        load_setting(scale="medium")
    with pytest.raises(UserError, match="no scale 'mini'"):
        load_setting("cifar10-vgg16", "mini")
    with pytest.raises(UnknownName, match="C7"):
        chosen_claims(["C8"])


def test_claims_come_in_the_order_of_the_paper():
    assert [claim.name for claim in chosen_claims(["c3", "C1"])] == ["C1", "C3"]
    assert [claim.name for claim in chosen_claims()] == [f"C{number}" for number in range(1, 8)]


def test_settings_name_no_key_twice():
    from importlib import resources

    text = (resources.files("ticketdiet.paper") / "settings.yaml").read_text(encoding="utf-8")
    assert set(yaml.safe_load(text)) == {"recipes", "scales"}
