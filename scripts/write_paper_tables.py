"""Writes the tables of docs/paper.md: what each claim takes, computed by planning it, and the rules that the code asks.

Usage:
    python scripts/write_paper_tables.py           # rewrite the tables
    python scripts/write_paper_tables.py --check   # exit 1 when they are not up to date
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from markers import rewrite
from ticketdiet.data.cache import ImageFacts, SplitFacts
from ticketdiet.paper.claims.catalog import chosen_claims
from ticketdiet.paper.overview import ClaimCost, claim_costs
from ticketdiet.paper.running import PaperPlan, plan_claims
from ticketdiet.paper.setting import Setting, load_setting, recipe_names, scale_names
from ticketdiet.studies.time_left import duration

PAGE = Path(__file__).parents[1] / "docs" / "paper.md"
COUNTS = {"cifar10": (50_000, 10_000, 10), "cifar100": (50_000, 10_000, 100), "cinic10": (180_000, 90_000, 10)}
DEFAULT = "cifar10-resnet20"


def planned(setting: Setting) -> PaperPlan:
    """Plan all claims on facts that need no images: counts and shapes, with made-up fingerprints."""
    claims = chosen_claims()
    dataset = claims[0].study(setting).dataset
    train, test, classes = COUNTS[setting.recipe.partition("-")[0]]
    size = dataset.resolution or 32
    splits = {
        name: SplitFacts(name, count, (count // classes,) * classes)
        for name, count in (("train", train), ("test", test))
    }
    names = tuple(str(number) for number in range(classes))
    facts = ImageFacts(dataset.name, "none", splits, (3, size, size), names, (0.5,) * 3, (0.25,) * 3)
    return plan_claims(claims, setting, {dataset: facts})


def lines_of_claims() -> Iterator[str]:
    """Yield the table of the default recipe: one row per claim and scale."""
    yield "| claim | scale | arms | replicates | stages | steps | operations | one H200, about |"
    yield "|---|---|---|---|---|---|---|---|"
    for scale in scale_names():
        for cost in claim_costs(planned(load_setting(DEFAULT, scale))):
            yield row(cost, scale)


def lines_of_recipes() -> Iterator[str]:
    """Yield the table of all recipes: what all claims take together."""
    yield "| recipe | scale | arms | replicates | stages | steps | operations | one H200, about |"
    yield "|---|---|---|---|---|---|---|---|"
    for recipe in recipe_names():
        cost = claim_costs(planned(load_setting(recipe, "full")))[-1]
        yield row(cost, "full", recipe)


def row(cost: ClaimCost, scale: str, name: str = "") -> str:
    """Return a row of a table."""
    first = name or (cost.claim if cost.claim == "together" else f"{cost.claim}: {cost.title}")
    counts = " | ".join(f"{number:,}" for number in (cost.arms, cost.replicates, cost.stages, cost.cost.steps))
    time = duration(cost.h200_seconds)
    return f"| {first} | {scale} | {counts} | {cost.cost.flops:.2g} | {time} |"


def rules() -> str:
    """Return the rules of the default recipe at the scale mini, with the sentence of each claim."""
    setting = load_setting(DEFAULT, "mini")
    parts = []
    for claim in chosen_claims():
        controls = [question.text for question in claim.questions(setting) if not question.decides]
        beside = f" Beside the rule, it is asked whether {'; and whether '.join(controls)}." if controls else ""
        parts.append(f"**{claim.name}. {claim.title}.** {claim.statement} {claim.rule(setting)}{beside}")
    return "\n\n".join(parts)


def generated() -> dict[str, str]:
    """Return everything that is written between markers, by name."""
    return {"claims": "\n".join(lines_of_claims()), "recipes": "\n".join(lines_of_recipes()), "rules": rules()}


if __name__ == "__main__":
    sys.exit(rewrite(PAGE, generated(), __doc__))
