"""What a study may come to as a whole: a plan that nobody could run is refused before it is drawn up.

Single keys have their limits in the schema. Here they are multiplied: replicates, arms, levels, children and models;
and chains of arms are followed, whose subsets depend on each other.
"""

from __future__ import annotations

from collections.abc import Mapping

from ticketdiet.core.errors import StudyError
from ticketdiet.studies.spec import StudySpec
from ticketdiet.studies.subset_spec import SubsetSpec

MOST_STAGES = 50_000
MOST_LINKS = 20  # arms whose subsets depend on one another, in a row


def check_size(study: StudySpec) -> None:
    """Refuse a study of too many stages, or with too long a chain of subsets.

    Raises:
        StudyError: With what makes it so large.
    """
    for arm in study.arms:
        _check_chain(study, arm)
    by_arm = {arm: study.replicates * (_visits(study, arm) + _stages(study, arm)) for arm in study.arms}
    by_score = {
        name: (1 + score.models) * (study.replicates if score.per_replicate else 1)
        for name, score in study.scores.items()
    }
    total = sum(by_arm.values()) + sum(by_score.values())
    if total > MOST_STAGES:
        raise StudyError(
            f"{study.study} would have about {total:,} stages: {_largest(study, by_arm, by_score)}.",
            expected=f"at most {MOST_STAGES:,} stages",
            way_out="give fewer replicates, pruning.levels, children, scores.NAME.models or arms; or several studies, "
            "which have their stages in common in one store",
        )


def _stages(study: StudySpec, arm: str) -> int:
    """Stages of one replicate of an arm, no fewer than there will be: those shared with other arms are included."""
    resolved = study.arm(arm)
    ticket, levels = resolved.ticket, resolved.pruning.levels
    searched = levels if ticket.needs_search else 0
    families = len(study.measure.levels) if study.children else 0
    own = levels + 2 if ticket.is_control or resolved.search is not None else 0
    successive = levels if study.measure.successive_levels else 0
    metrics = (levels + 1) * len(study.measure.metrics)
    return 3 + searched + own + successive + metrics + families * (study.children + 1)


def _next_arms(study: StudySpec, arm: str) -> list[tuple[str, bool]]:
    """The arms that the subsets of ``arm`` depend on, and whether on the barriers of all their replicates."""
    spec = study.arms[arm]
    subsets = [spec.pretrain.subset, *([] if spec.search is None else [spec.search.subset])]
    return [found for subset in subsets if (found := _next_arm(study, subset)) is not None]


def _next_arm(study: StudySpec, subset: SubsetSpec) -> tuple[str, bool] | None:
    if subset.like is not None:
        return subset.like, False
    name = subset.score or (next(iter(study.scores)) if len(study.scores) == 1 else None)
    score = study.scores.get(name) if name is not None else None
    if score is None or score.kind != "barrier" or score.arm not in study.arms:
        return None
    return score.arm, True


def _check_chain(study: StudySpec, arm: str) -> None:
    """Follow the arms that subsets depend on, all of one distance at a time; planning finds circles."""
    here, seen, links = {arm}, {arm}, 1
    while here := {other for name in here for other, _ in _next_arms(study, name)} - seen:
        seen |= here
        links += 1
        if links > MOST_LINKS:
            raise StudyError(
                f"The subset of arms.{arm} depends on those of more than {MOST_LINKS} other arms, one after another.",
                expected=f"at most {MOST_LINKS} other arms",
                way_out="let fewer arms depend on each other by subset.like and scores of kind barrier",
            )


def _visits(study: StudySpec, arm: str, path: frozenset[str] = frozenset(), limit: int = MOST_STAGES) -> int:
    """How often planning one replicate's subset of ``arm`` plans the subset of some arm: families are planned whole."""
    visits, path = 0, path | {arm}
    for other, whole in _next_arms(study, arm):
        if other in path or visits > limit:
            continue
        times = study.replicates * (2 + study.children) if whole else 1
        visits += times * (1 + _visits(study, other, path, limit // times))
    return visits


def _largest(study: StudySpec, by_arm: Mapping[str, int], by_score: Mapping[str, int]) -> str:
    arm = max(by_arm, key=by_arm.__getitem__)
    parts = [
        f"{len(by_arm)} arm(s) of {study.replicates:,} replicate(s)",
        f"arms.{arm} has {study.arm(arm).pruning.levels:,} levels",
    ]
    parts += [f"{study.children} children at {len(study.measure.levels)} level(s)"] if study.children else []
    if by_score:
        score = max(by_score, key=by_score.__getitem__)
        parts.append(f"scores.{score} has {study.scores[score].models:,} models")
    return ", ".join(parts)
