"""Which claims a study is about: the study of a claim at a setting is known by its name and its arms."""

from __future__ import annotations

from collections.abc import Iterator

from ticketdiet.paper.claim import Claim
from ticketdiet.paper.claims.catalog import CLAIMS
from ticketdiet.paper.evidence import evidence_rows
from ticketdiet.paper.judge import judge
from ticketdiet.paper.setting import Setting, load_setting, recipe_names, scale_names
from ticketdiet.reports.reading import StudyResults
from ticketdiet.reports.verdict import Verdict
from ticketdiet.studies.spec import StudySpec


def verdicts_on(results: StudyResults) -> list[Verdict]:
    """Judge the claim that a study is about.

    Args:
        results: What the store holds of the study.

    Returns:
        One verdict, or none when the study is not that of a claim, or differs from it in what was trained.
    """
    spec = results.plan.study
    for claim, setting in _named(spec.study):
        if _is_same(claim.study(setting.with_replicates(spec.replicates)), spec):
            return [judge(claim, setting, evidence_rows(results))]
    return []


def _named(name: str) -> Iterator[tuple[Claim, Setting]]:
    for recipe in recipe_names():
        for scale in scale_names():
            for claim in CLAIMS.values():
                if name == f"{claim.name.lower()}-{recipe}-{scale}":
                    yield claim, load_setting(recipe, scale)


def _is_same(ours: StudySpec, theirs: StudySpec) -> bool:
    """Whether two studies train the same, wherever the data lie and whatever they are called."""
    plain = {"study": "", "description": "", "dataset": ours.dataset.model_copy(update={"name": "", "root": None})}
    moved = theirs.dataset.model_copy(update={"name": "", "root": None})
    return ours.model_copy(update=plain) == theirs.model_copy(update={**plain, "dataset": moved})
