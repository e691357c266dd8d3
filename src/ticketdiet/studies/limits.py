"""What a study may come to as a whole: a plan that nobody could run is refused before it is drawn up.

Single keys have their limits in the schema. Here they are multiplied: replicates, arms, levels, children and models;
and chains of arms are followed, whose subsets depend on each other.
"""

from __future__ import annotations

from collections.abc import Mapping

from ticketdiet.core.errors import StudyError
from ticketdiet.studies.spec import StudySpec

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
    by_score = {name: 1 + study.replicates * score.models for name, score in study.scores.items()}
    total = sum(by_arm.values()) + sum(by_score.values())
    if total > MOST_STAGES:
        raise StudyError(
            f"{study.study} would have about {total:,} stages: {_largest(study, by_arm, by_score)}.",
            expected=f"at most {MOST_STAGES:,}",
            way_out="fewer replicates, pruning.levels, children, scores.NAME.models or arms; or several studies, which "
            "share their stages in one store",
        )


def _stages(study: StudySpec, arm: str) -> int:
    """Stages of one replicate of an arm, no fewer than there will be: those shared with other arms are included."""
    ticket, levels = study.arms[arm].ticket, study.arm_pruning(arm).levels
    searched = levels if ticket.needs_search else 0
    families = len(study.measure.levels) if study.children else 0
    controls = levels if ticket.is_control else 0
    successive = searched if study.measure.successive_levels else 0
    return 3 + searched + controls + successive + families * (study.children + 1)


def _next_arm(study: StudySpec, arm: str) -> tuple[str, bool] | None:
    """The arm that the subset of ``arm`` depends on, and whether on the barriers of all its replicates."""
    subset = study.arms[arm].pretrain.subset
    if subset.like is not None:
        return subset.like, False
    name = subset.score or (next(iter(study.scores)) if len(study.scores) == 1 else None)
    score = study.scores.get(name) if name is not None else None
    if score is None or score.kind != "barrier" or score.arm not in study.arms:
        return None
    return score.arm, True


def _check_chain(study: StudySpec, arm: str) -> None:
    chain = [arm]
    while (following := _next_arm(study, chain[-1])) is not None and following[0] not in chain:
        chain.append(following[0])
        if len(chain) > MOST_LINKS:
            raise StudyError(
                f"the subset of arms.{arm} depends on those of more than {MOST_LINKS} other arms, one after another.",
                expected=f"at most {MOST_LINKS}",
                way_out="let fewer arms depend on each other by subset.like and scores of kind barrier",
            )


def _visits(study: StudySpec, arm: str) -> int:
    """How often planning one replicate's subset of ``arm`` plans the subset of some arm: families are planned whole."""
    visits, times, seen = 0, 1, {arm}
    following = _next_arm(study, arm)
    while following is not None and following[0] not in seen:
        other, whole = following
        times *= study.replicates * (2 + study.children) if whole else 1
        visits += times
        seen.add(other)
        following = _next_arm(study, other)
    return visits


def _largest(study: StudySpec, by_arm: Mapping[str, int], by_score: Mapping[str, int]) -> str:
    arm = max(by_arm, key=by_arm.__getitem__)
    parts = [
        f"{len(by_arm)} arm(s) of {study.replicates:,} replicate(s)",
        f"arms.{arm} has {study.arm_pruning(arm).levels:,} levels",
    ]
    parts += [f"{study.children} children at {len(study.measure.levels)} level(s)"] if study.children else []
    if by_score:
        score = max(by_score, key=by_score.__getitem__)
        parts.append(f"scores.{score} has {study.scores[score].models:,} models")
    return ", ".join(parts)
