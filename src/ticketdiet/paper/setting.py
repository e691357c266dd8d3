"""A setting of the paper: one network on one data set at one scale, from ``settings.yaml``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from ticketdiet.core.errors import UserError, check_known
from ticketdiet.studies.spec import StudySpec
from ticketdiet.studies.yaml_text import parse_yaml

FILE = "settings.yaml"
SEED = 0


@dataclass(frozen=True)
class Setting:
    """The numbers that every claim takes its arms from.

    Attributes:
        recipe: Name of the recipe, for example ``"cifar10-resnet20"``.
        scale: ``"mini"``, ``"short"`` or ``"full"``.
        study: Data, network, training, pruning and replicates, as in a study file.
        score: The EL2N score, as in a study file.
        early: Step k at which subsets are compared.
        late: Step k by which pre-training on all data is enough.
        sweep: Further k of pre-training on all data.
        size: Size of the subsets that the rules are about.
        sizes: Other sizes that are run beside it.
        matching: Density at which sparse networks are asked to match the dense one (C1).
        sparse: Density at which arms are compared (C2 to C7).
    """

    recipe: str
    scale: str
    study: Mapping[str, Any]
    score: Mapping[str, Any]
    early: int
    late: int
    sweep: tuple[int, ...]
    size: int
    sizes: tuple[int, ...]
    matching: float
    sparse: float

    @property
    def name(self) -> str:
        """Recipe and scale in one word."""
        return f"{self.recipe}-{self.scale}"

    @property
    def steps(self) -> tuple[int, ...]:
        """Every k of pre-training on all data, ascending."""
        return tuple(sorted({*self.sweep, self.early, self.late}))

    @property
    def replicates(self) -> int:
        """Number of replicates."""
        return int(self.study["replicates"])

    def density(self, level: int) -> float:
        """Return the density of a level, up to the rounding to whole weights."""
        return float((1 - self.study["pruning"]["fraction"]) ** level)

    def level(self, density: float) -> int:
        """Return the level whose density is nearest to ``density``, by ratio."""
        levels = range(self.study["pruning"]["levels"] + 1)
        return min(levels, key=lambda level: abs(math.log(self.density(level) / density)))

    def with_replicates(self, replicates: int) -> Setting:
        """Return the setting with another number of replicates."""
        return Setting(**{**vars(self), "study": {**self.study, "replicates": replicates}})

    def with_dataset(self, name: str) -> Setting:
        """Return the setting on data of another source, such as ``parquet:PATH``."""
        return Setting(**{**vars(self), "study": _merged(self.study, {"dataset": {"name": name}})})


def recipe_names() -> list[str]:
    """Names of the recipes, the first being the default."""
    return list(_content()["recipes"])


def scale_names() -> list[str]:
    """Names of the scales."""
    return list(_content()["scales"])


def load_setting(recipe: str = "cifar10-resnet20", scale: str = "mini") -> Setting:
    """Return a setting.

    Args:
        recipe: One of :func:`recipe_names`.
        scale: One of :func:`scale_names`: ``full`` as published, ``short`` a tenth of the steps, ``mini`` for CPUs.

    Raises:
        UnknownName: For a recipe or scale that does not exist.
        UserError: When the recipe is too large for the scale.
    """
    content = _content()
    check_known("recipe", recipe, content["recipes"])
    check_known("scale", scale, content["scales"])
    override = dict(content["scales"][scale])
    only = override.pop("only", content["recipes"])
    if recipe not in only:
        raise UserError(
            f"The recipe {recipe!r} has no scale {scale!r}.",
            expected=f"one of: {', '.join(only)}",
            way_out="choose one of these, or another scale",
        )
    divisor = override.pop("divide_steps", 1)
    values = _divided(_merged(_recipe(recipe), override), divisor)
    values["score"] = {key: value for key, value in values["score"].items() if value is not None}
    return Setting(recipe, scale, **{**values, "sweep": tuple(values["sweep"]), "sizes": tuple(values["sizes"])})


@cache
def _content() -> dict[str, Any]:
    content: dict[str, Any] = parse_yaml((resources.files(__package__) / FILE).read_text(encoding="utf-8"), FILE)
    return content


def _recipe(name: str) -> dict[str, Any]:
    own = dict(_content()["recipes"][name])
    like = own.pop("like", None)
    return _merged({} if like is None else _recipe(like), own)


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay ``over`` on ``base``, key by key; neither is changed."""
    merged = dict(base)
    for key, value in over.items():
        inner = merged.get(key)
        merged[key] = _merged(inner, value) if isinstance(value, Mapping) and isinstance(inner, Mapping) else value
    return merged


def _divided(values: dict[str, Any], divisor: int) -> dict[str, Any]:
    """Divide the steps of all trainings; milestones that are counted in steps move with them."""
    if divisor == 1:
        return values
    training = dict(values["study"]["training"])
    training["steps"] //= divisor
    training["milestones"] = [at // divisor if isinstance(at, int) else at for at in training["milestones"]]
    score = {"steps": values["score"]["steps"] // divisor}
    return _merged(values, {"study": {"training": training}, "score": score})


def study_of(setting: Setting, name: str, arms: Mapping[str, Any], **further: Any) -> StudySpec:
    """Return the study of a setting with these arms.

    Args:
        setting: Where everything but the arms comes from.
        name: Name of the study.
        arms: Name -> arm, as in a study file.
        **further: Other keys of the study: ``children``, ``scores``, ``description``.
    """
    scores = {"el2n": {**setting.score, "per_replicate": True}, **further.pop("scores", {})}
    used = {arm.get("pretrain", {}).get("subset", {}).get("score") for arm in arms.values()}
    chosen = {score: spec for score, spec in scores.items() if score in used}
    return StudySpec.model_validate(
        {"study": name, **setting.study, "seed": SEED, "scores": chosen, "arms": dict(arms), **further}
    )
