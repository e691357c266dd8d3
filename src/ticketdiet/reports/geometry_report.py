"""Geometry along the way of a study, from its saved weights and masks, as tidy rows. Only reads.

How far networks went from their initialisation and rewinding point, how their signs changed, the angle between the ways
of children, and what masks of replicates and arms have in common.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from ticketdiet.core.errors import UserError
from ticketdiet.core.values import Mask, Weights
from ticketdiet.landscape.family import PARENT
from ticketdiet.landscape.geometry import MaskOverlap, angle_between, distance, mask_overlap, sign_changes
from ticketdiet.reports.completeness import Results
from ticketdiet.studies.network import Network
from ticketdiet.studies.plan import Plan
from ticketdiet.studies.stage import Stage, Use
from ticketdiet.studies.stages.barrier import BarrierStage
from ticketdiet.studies.stages.masked import MaskedTraining
from ticketdiet.studies.stages.pretrain import Pretrain
from ticketdiet.studies.stored_networks import build_initial
from ticketdiet.tickets.masks import density

COLUMNS = ("study", "arm", "replicate", "level", "density", "metric", "against", "tensor", "value", "address")
WITH_WEIGHTS = (Pretrain, MaskedTraining)
Row = dict[str, Any]


def geometry_rows(plan: Plan, store: Results, *, by_tensor: bool = False) -> pd.DataFrame:
    """Measure the geometry of the finished networks of a study.

    Metrics are ``distance`` (Euclidean), ``relative_distance`` (over the norm of where it started), ``cosine`` and
    ``sign_changes`` (a fraction) of rewinding points and levels against ``initialisation``, and of levels also against
    their rewinding ``point``, over the kept weights and all other parameters; ``angle`` in degrees between the ways of
    two members of a family from their point; ``mask_overlap`` (fraction of the sparser mask's weights that the other
    keeps too), ``mask_overlap_by_chance_layerwise`` (what it would be on average for random masks that keep as many
    weights in each layer), ``mask_overlap_by_chance_uniform`` (for a mask that is random over the whole network) and
    ``mask_jaccard`` of a level against the same level of another replicate or arm.

    Args:
        plan: The study's stages.
        store: Where their results are; networks that are not finished, or whose rewinding point or family is not, are
            passed over.
        by_tensor: Sign changes and overlaps also of each tensor.

    Returns:
        Columns ``study arm replicate level density metric against tensor value address``; ``tensor`` is empty for the
        whole network. Networks that several arms have in common appear once for each.

    Raises:
        UserError: When no level is finished.
        DamagedResult: When a result does not match its checksums.
    """
    report = _Report(plan, store, by_tensor)
    done = {address: stage for address, stage in plan.stages.items() if report.can_read(stage)}
    levels = [stage for stage in done.values() if isinstance(stage, MaskedTraining)]
    if not levels:
        raise UserError(
            f"The store {store.url} has no level of {plan.study.study}.",
            expected="at least one finished level",
            way_out="run the study on this store first: `ticketdiet run STUDY`",
        )
    rows = [row for stage in done.values() if isinstance(stage, WITH_WEIGHTS) for row in report.ways(stage)]
    rows += [row for stage in done.values() if isinstance(stage, BarrierStage) for row in report.angles(stage)]
    rows += [row for number in _numbers(levels) for row in report.overlaps(number, levels)]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"replicate": "Int64", "level": "Int64"})


class _Report:
    def __init__(self, plan: Plan, store: Results, by_tensor: bool) -> None:
        self._plan, self._store, self._by_tensor = plan, store, by_tensor
        self._beginnings: dict[tuple[Network, int], Weights] = {}

    def can_read(self, stage: Stage) -> bool:
        """Whether a stage is finished, and so is what it is measured against."""
        networks = stage.inputs.values() if isinstance(stage, BarrierStage) else [stage.address]
        points = [self._plan.stages[network].inputs.get("point", network) for network in networks]
        return all(map(self._store.has, {stage.address, *networks, *points}))

    def ways(self, stage: Pretrain | MaskedTraining) -> Iterator[Row]:
        """Distances and signs of one network against where it started."""
        weights, mask = self._store.tensors(stage.address, "weights"), self._mask(stage)
        origins = {"initialisation": self._beginning(stage)}
        if isinstance(stage, MaskedTraining):
            origins["point"] = self._store.tensors(stage.point, "weights")
        for against, origin in origins.items():
            found, signs = distance(origin, weights, mask=mask), sign_changes(origin, weights, mask=mask)
            values = {
                ("distance", ""): found.l2,
                ("relative_distance", ""): found.relative,
                ("cosine", ""): found.cosine,
                ("sign_changes", ""): signs.fraction,
            }
            if self._by_tensor:
                values |= {("sign_changes", tensor): fraction for tensor, fraction in signs.by_tensor.items()}
            for use in _users(stage):
                yield from self._rows(stage, use, mask, against, values)

    def angles(self, stage: BarrierStage) -> Iterator[Row]:
        """Angles between the ways of all pairs of a family from their rewinding point."""
        if not stage.family:
            return
        parent = self._plan.stages[stage.networks[PARENT]]
        assert isinstance(parent, MaskedTraining)
        mask, point = self._mask(parent), self._store.tensors(parent.point, "weights")
        members = {role: self._store.tensors(address, "weights") for role, address in stage.networks.items()}
        for a, b in itertools.combinations(members, 2):
            values = {("angle", ""): angle_between(point, members[a], members[b], mask=mask)}
            for use in _users(stage):
                yield from self._rows(stage, use, mask, f"{a}-{b}", values)

    def overlaps(self, number: int, levels: list[MaskedTraining]) -> Iterator[Row]:
        """Overlap of each mask of one level with those of other replicates of its arm, and of other arms."""
        own = [(use, stage) for stage in levels for use in _users(stage) if use.level == number and number > 0]
        masks = {stage.address: self._store.tensors(stage.address, "mask") for _, stage in own}
        found: dict[tuple[str, str], MaskOverlap] = {}
        for (use, stage), (other, other_stage) in itertools.combinations(own, 2):
            if (use.arm == other.arm) == (use.replicate == other.replicate):
                continue
            a, b = stage.address, other_stage.address
            if not _same_names(masks[a], masks[b]):
                continue
            if (a, b) not in found:
                found[a, b] = mask_overlap(masks[a], masks[b])
            against = f"replicate {other.replicate}" if use.arm == other.arm else f"arm {other.arm}"
            yield from self._rows(stage, use, masks[a], against, self._overlap_values(found[a, b]))

    def _overlap_values(self, found: MaskOverlap) -> dict[tuple[str, str], float]:
        parts = {"": found.overall} | (dict(found.by_tensor) if self._by_tensor else {})
        return {
            (metric, tensor): value
            for tensor, part in parts.items()
            for metric, value in (
                ("mask_overlap", part.fraction),
                ("mask_overlap_by_chance_layerwise", part.fraction_by_chance_layerwise),
                *([] if tensor else [("mask_overlap_by_chance_uniform", part.fraction_by_chance_uniform)]),
                ("mask_jaccard", part.jaccard),
            )
        }

    def _rows(
        self, stage: Stage, use: Use, mask: Mask | None, against: str, values: Mapping[tuple[str, str], float]
    ) -> Iterator[Row]:
        who = {
            "study": self._plan.study.study,
            "arm": use.arm,
            "replicate": use.replicate,
            "level": use.level if use.level >= 0 else None,
            "density": 1.0 if mask is None else density(mask),
            "against": against,
            "address": stage.address,
        }
        for (metric, tensor), value in values.items():
            yield who | {"metric": metric, "tensor": tensor, "value": value}

    def _mask(self, stage: Stage) -> Mask | None:
        return self._store.tensors(stage.address, "mask") if isinstance(stage, MaskedTraining) else None

    def _beginning(self, stage: Pretrain | MaskedTraining) -> Weights:
        key = stage.network, stage.replicate
        if key not in self._beginnings:
            self._beginnings[key] = build_initial(stage).state_dict()
        return self._beginnings[key]


def _users(stage: Stage) -> list[Use]:
    """Users whose own result it is, not those that only pass through it."""
    return [use for use in stage.uses if not use.through]


def _numbers(levels: list[MaskedTraining]) -> list[int]:
    return sorted({use.level for stage in levels for use in _users(stage)})


def _same_names(a: Mask, b: Mask) -> bool:
    """Whether two masks are of one shape: arms may have different models."""
    return {name: kept.shape for name, kept in a.items()} == {name: kept.shape for name, kept in b.items()}
