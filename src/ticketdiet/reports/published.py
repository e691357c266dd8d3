"""The published curves of arXiv 2206.01278 beside our own: which belong together, and how far apart they are.

``published.csv`` holds test accuracy against density as the figures of the paper show it, read back from the vector
figures and printed arrays of github.com/mansheej/lth_diet at 604c379 (error below 1e-6). Its standard deviations are
population ones (ddof = 0); here they are turned into sample ones (ddof = 1), as everywhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import pandas as pd

from ticketdiet.reports.statistics import summarise
from ticketdiet.studies.spec import Arm, StudySpec

FILE = "published.csv"
_DATASETS = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}
_CURVES = {"random": "random", "easiest": "easy", "hardest": "hard"}
_NEAR = 0.02  # densities differ by the rounding to whole weights, and by the threshold rule
_ERRORS_WITHIN = 2.0


@dataclass(frozen=True, eq=False)
class PublishedCurve:
    """A published curve of test accuracy against density.

    Attributes:
        dataset: ``"CIFAR-10"``, ``"CIFAR-100"`` or ``"CINIC-10"``.
        network: For example ``"ResNet-20"``.
        curve: ``"all_data"``, ``"random"``, ``"easy"`` or ``"hard"``.
        pretrain_steps: k.
        k_is_known: Whether the repository states k; otherwise it was inferred.
        subset_size: Number of examples; None for all data.
        levels: int64 (levels,).
        densities: float64 (levels,), fraction of weights kept.
        means: float64 (levels,), test accuracy in [0, 1].
        stds: float64 (levels,), sample standard deviation over replicates; NaN for one replicate.
        replicates: Number of replicates.
        source: File of the authors' repository.
    """

    dataset: str
    network: str
    curve: str
    pretrain_steps: int
    k_is_known: bool
    subset_size: int | None
    levels: np.ndarray
    densities: np.ndarray
    means: np.ndarray
    stds: np.ndarray
    replicates: int
    source: str

    @property
    def label(self) -> str:
        """The curve in words."""
        what = "all data" if self.subset_size is None else f"{self.curve} {self.subset_size}"
        about = "" if self.k_is_known else " (k inferred)"
        return f"published: {what}, k = {self.pretrain_steps}{about}"


@dataclass(frozen=True)
class Distance:
    """How far the accuracies of an arm are from a published curve, at the densities that both have.

    Attributes:
        arm: Name of the arm.
        curve: Label of the curve.
        points: Number of densities that both have.
        mean: Mean of our accuracy minus the published one.
        largest: The difference that is largest without its sign, with its sign.
        within: Fraction of the points within two standard errors of the difference, of those with a spread; NaN when
            none has one.
        n: Fewest replicates that one of our points rests on.
        published_n: Number of published replicates.
    """

    arm: str
    curve: str
    points: int
    mean: float
    largest: float
    within: float
    n: int
    published_n: int


@cache
def published_curves() -> tuple[PublishedCurve, ...]:
    """Return every published curve without label noise."""
    with (resources.files(__package__) / FILE).open(encoding="utf-8") as file:
        rows = pd.read_csv(file)
    rows = rows[rows["curve"] != "dense"]
    keys = ["dataset", "network", "curve", "pretrain_steps", "subset_size"]
    return tuple(_curve(group) for _, group in rows.groupby(keys, dropna=False, sort=False))


def _curve(group: pd.DataFrame) -> PublishedCurve:
    group, first = group.sort_values("level"), group.iloc[0]
    n = int(first["replicates"])
    factor = np.sqrt(n / (n - 1)) if n > 1 else np.nan
    return PublishedCurve(
        dataset=str(first["dataset"]),
        network=str(first["network"]),
        curve=str(first["curve"]),
        pretrain_steps=int(first["pretrain_steps"]),
        k_is_known=first["pretrain_steps_known"] == "yes",
        subset_size=None if pd.isna(first["subset_size"]) else int(first["subset_size"]),
        levels=group["level"].to_numpy(np.int64),
        densities=group["density"].to_numpy(np.float64),
        means=group["mean_accuracy"].to_numpy(np.float64),
        stds=group["std_accuracy"].to_numpy(np.float64) * factor,
        replicates=n,
        source=str(first["source"]),
    )


def curves_of(study: StudySpec) -> dict[str, PublishedCurve]:
    """Return the published curve of every arm that has one: data, network, subset and k agree, and labels are right.

    Args:
        study: A study; images that were pooled or limited, and networks of another width, have no published curve.

    Returns:
        Name of the arm -> its curve, in the order of the arms.
    """
    found: dict[str, PublishedCurve] = {}
    for name in study.arms:
        curve = _curve_of(study, study.arm(name))
        if curve is not None:
            found[name] = curve
    return found


def _curve_of(study: StudySpec, arm: Arm) -> PublishedCurve | None:
    wanted = (_dataset_of(study), _network_of(arm), _kind_of(study, arm), arm.pretrain.steps, _size_of(arm))
    plain = arm.label_noise.is_none and not arm.ticket.is_control and arm.search is None
    if not plain or arm.pretrain.objective != "labels" or arm.pretrain.dataset is not None:
        return None
    for curve in published_curves():
        if wanted == (curve.dataset, curve.network, curve.curve, curve.pretrain_steps, curve.subset_size):
            return curve
    return None


def _dataset_of(study: StudySpec) -> str | None:
    data = study.dataset
    if data.resolution is not None or data.limit is not None or data.validation:
        return None
    name = data.name.partition("?")[0].lower()
    if "cinic" in name:
        return "CINIC-10"
    plain = name.rpartition("/")[2].removesuffix("-jpeg")
    return _DATASETS.get(plain.rpartition(":")[2])


def _network_of(arm: Arm) -> str | None:
    name = arm.model.name
    return f"ResNet-{name.removeprefix('resnet')}" if name.startswith("resnet") and arm.model.width is None else None


def _kind_of(study: StudySpec, arm: Arm) -> str | None:
    subset = arm.pretrain.subset
    if arm.pretrain.steps == 0 or subset.is_everything:
        return "all_data"
    if subset.like is not None or subset.classes is not None:
        return None
    if subset.kind != "random" and (subset.balanced or not _is_published_score(study, subset.score)):
        return None
    return _CURVES.get(subset.kind)


def _is_published_score(study: StudySpec, name: str | None) -> bool:
    score = study.scores.get(name or "")
    return score is not None and score.kind == "el2n" and not score.permuted


def _size_of(arm: Arm) -> int | None:
    return None if arm.pretrain.steps == 0 else arm.pretrain.subset.size


def distance(rows: pd.DataFrame, arm: str, curve: PublishedCurve) -> Distance | None:
    """Return how far an arm is from a published curve.

    Args:
        rows: Tidy rows with test accuracies.
        arm: Name of the arm.
        curve: A published curve.

    Returns:
        None when they have no density in common, within 2 %.

    Raises:
        UserError: When no test accuracy has been measured.
    """
    summary = summarise(rows)
    ours = summary[summary["arm"] == arm]
    differences, errors = [], []
    for density, mean, std, n in zip(ours["density"], ours["mean"], ours["std"], ours["n"], strict=True):
        at = int(np.argmin(np.abs(np.log(curve.densities / density))))
        if abs(curve.densities[at] / density - 1) <= _NEAR:
            differences.append(mean - curve.means[at])
            errors.append(np.sqrt(std**2 / n + curve.stds[at] ** 2 / curve.replicates))
    if not differences:
        return None
    each, spread = np.array(differences), np.array(errors)
    known = np.isfinite(spread)
    within = float(np.mean(np.abs(each[known]) <= _ERRORS_WITHIN * spread[known])) if known.any() else float("nan")
    largest = float(each[np.argmax(np.abs(each))])
    fewest = int(ours["n"].min())
    return Distance(arm, curve.label, len(each), float(each.mean()), largest, within, fewest, curve.replicates)
