"""Section 7: what could be wrong. Missing and damaged stages, warnings, spread, precision, and machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from scipy.special import stdtrit

from ticketdiet.core.errors import StoreError
from ticketdiet.page.inputs import StudyInput
from ticketdiet.reports.machines import Arithmetic, mixed_machines
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.stage import TrainingStage

MOST_NAMED = 12
FEW = 6  # replicates: the exact test of fewer cannot reach p = 0.05


@dataclass(frozen=True)
class Caveat:
    """One thing to know before believing a number.

    Attributes:
        title: What it is about.
        text: What to know, in sentences.
        items: Which stages or arms, one a line; may be empty.
        is_problem: Whether it is a shortcoming of these results; otherwise it holds for every such study.
    """

    title: str
    text: str
    items: tuple[str, ...] = ()
    is_problem: bool = False


@dataclass(frozen=True)
class CaveatSection:
    """Everything that could be wrong.

    Attributes:
        caveats: Those that are problems of these results come first.
        done: Number of stages whose results can be used.
        total: Number of stages.
    """

    caveats: tuple[Caveat, ...]
    done: int
    total: int


def caveat_section(
    study: StudyInput, store: ResultStore, reasons: dict[str, str], empty: tuple[str, ...]
) -> CaveatSection:
    """Return what could be wrong with the results of a study.

    Args:
        study: The study.
        store: Where its results are, for the machines in their manifests.
        reasons: Why figures could not be drawn, by name.
        empty: Layers without a weight, each in one sentence.
    """
    state = study.results.state
    caveats = [*_unfinished(study), *_warnings(study, empty), *_figures(reasons), *_spread(study), *_precision(study)]
    caveats += _machines(study, store)
    ordered = sorted(caveats, key=lambda caveat: not caveat.is_problem)
    return CaveatSection(tuple(ordered), len(state.sound), len(state.stages))


def _unfinished(study: StudyInput) -> Iterator[Caveat]:
    state, total = study.results.state, len(study.results.state.stages)
    if state.missing:
        text = f"{len(state.missing)} of {total} stages have no result yet. Everything on this page is of the others."
        labels = [f"{state.stages[address].label} ({address})" for address in state.missing]
        yield Caveat("Missing stages", text, _some(labels), is_problem=True)
    if state.damaged:
        text = f"{len(state.damaged)} of {total} results do not match their checksums. They are left out."
        labels = [f"{state.stages[address].label} ({address}): {why}" for address, why in state.damaged.items()]
        yield Caveat("Damaged results", text, _some(labels), is_problem=True)
    if state.is_complete:
        yield Caveat("Completeness", f"All {total} stages of the study are finished, and none is damaged.")


def _warnings(study: StudyInput, empty: tuple[str, ...]) -> Iterator[Caveat]:
    warnings = study.results.plan.warnings
    if warnings:
        yield Caveat(
            "Warnings about the study", "The plan of the study warns of this:", tuple(warnings), is_problem=True
        )
    if empty:
        text = f"In {len(empty)} case{'s' * (len(empty) > 1)} a mask leaves a layer no weight."
        yield Caveat("Empty layers", text, _some(list(empty)), is_problem=True)


def _figures(reasons: dict[str, str]) -> Iterator[Caveat]:
    if reasons:
        items = tuple(f"{name}: {reason}" for name, reason in reasons.items())
        yield Caveat("Figures that are left out", "The results do not allow these figures yet:", items, is_problem=True)


def _spread(study: StudyInput) -> Iterator[Caveat]:
    replicates = study.results.plan.study.replicates
    if replicates == 1:
        text = "There is one replicate, so there is neither a spread nor an interval, and no difference can be judged."
        yield Caveat("Spread", text, is_problem=True)
    else:
        reach = float(stdtrit(replicates - 1, 0.975))
        text = (
            f"There are {replicates} replicates. Spreads are sample standard deviations (ddof = 1) over them, and "
            f"intervals of means are Student's t: with {replicates} replicates they reach {reach:.1f} standard errors "
            "to either side, and with many 2.0. An undecided difference is no proof of equality."
        )
        yield Caveat("Spread", text, is_problem=replicates < FEW)
    yield Caveat(
        "Many comparisons",
        "The p-values that decide are corrected for the number of arms in one comparison, and not for the number of "
        "comparisons. Intervals are not corrected: of twenty arms that make no difference, one lies beyond its 95 % "
        "interval on average.",
    )


def _precision(study: StudyInput) -> Iterator[Caveat]:
    stages = study.results.plan.of(TrainingStage)
    used = Counter(stage.recipe.precision for stage in stages)
    if not used:
        return
    text = f"All {sum(used.values())} trainings compute in {next(iter(used))}."
    if len(used) > 1:
        text = "Trainings compute in " + " and ".join(f"{name} ({count})" for name, count in used.items()) + "."
    yield Caveat("Precision", text, is_problem=len(used) > 1)


def _machines(study: StudyInput, store: ResultStore) -> Iterator[Caveat]:
    plan = study.results.plan
    mixed = mixed_machines(plan, store)
    if mixed:
        first, *lines = mixed.splitlines()
        text = first[:1].upper() + first[1:].rstrip(":") + "."
        yield Caveat("Machines", text, tuple(line.strip() for line in lines), is_problem=True)
        return
    for address in plan.stages:
        try:
            made = str(Arithmetic.of(store.manifest(address).provenance))
        except StoreError:
            continue
        text = f"All results were made in one way: {made}. On other machines the same study gives other draws from the "
        yield Caveat("Machines", f"{text}same distribution.")
        return


def _some(items: list[str]) -> tuple[str, ...]:
    more = len(items) - MOST_NAMED
    return tuple(items[:MOST_NAMED]) + ((f"and {more} more",) if more > 0 else ())
