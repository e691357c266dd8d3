"""Whether the other precision would be faster on this machine, in one line that `plan` and `run` print.

Precision is part of what a result is, so a study is never computed in another one than it asks for.
"""

from __future__ import annotations

from collections.abc import Collection

from ticketdiet.core.cpu import has_bfloat16
from ticketdiet.studies.executors.local import default_workers, threads_per_worker
from ticketdiet.studies.plan import Plan
from ticketdiet.studies.probing import examples_like, most_work, quietly, step_timer_of, total_cost, trainings_left
from ticketdiet.studies.stage import TrainingStage
from ticketdiet.studies.stages.pretrain import Pretrain
from ticketdiet.studies.stages.score_model import ScoreModel
from ticketdiet.training.precision import MOST_TIMES_AS_LONG, PROBE, Measure, StepTimes, time_precisions
from ticketdiet.training.recipe import Precision, Recipe

SECONDS_NOT_WORTH_A_WORD = 30.0
LEAST_GAIN = 1.25


def precision_advice(
    plan: Plan, left: Collection[str], *, device: str, workers: int | None = None, threads: int | None = None
) -> str:
    """Measure for about a second what the other precision would bring, where that matters.

    It matters on the CPU, where training is left that takes half a minute or more. Nothing is measured where a study
    asks for float32 and the CPU has nothing else. An error of the network is left for the run to report.

    Args:
        plan: The study's stages.
        left: Addresses of those still to be made.
        device: torch device of the run.
        workers: Processes of the run, by default as many as it chooses.
        threads: Threads of each, by default as many as the run chooses.

    Returns:
        One line for people, empty when there is nothing to say.
    """
    trainings = trainings_left(plan, left)
    if device != "cpu" or not trainings:
        return ""
    largest = most_work(trainings)
    recipe, computes = largest.recipe, has_bfloat16()
    if recipe.precision == "float32" and computes is False:
        return ""
    processes = workers or default_workers(plan, [device], threads=threads)
    work = examples_like(largest, total_cost(trainings)) / processes
    try:
        with quietly(threads or threads_per_worker(processes)):
            return _advice(step_timer_of(largest, recipe), recipe, work, computes, _key(plan, largest))
    except Exception:  # whatever a network of the user's raises: the run will say it
        return ""


def _advice(measure: Measure, recipe: Recipe, work: float, computes: bool | None, key: str) -> str:
    """Say it for a training by ``recipe`` of which ``work`` examples are left, per process."""
    asked = recipe.precision
    size = min(PROBE, recipe.batch_size)
    at_most = measure("float32", size) / size * (MOST_TIMES_AS_LONG[computes] if asked == "bfloat16" else 1)
    if at_most * work < SECONDS_NOT_WORTH_A_WORD:
        return ""
    found = time_precisions(measure, recipe.batch_size, computes_bfloat16=computes)
    if found is not None and found.of(asked) * work < SECONDS_NOT_WORTH_A_WORD:
        return ""
    return in_words(found, asked, computes, key)


def in_words(found: StepTimes | None, asked: Precision, computes_bfloat16: bool | None, key: str) -> str:
    """Say what the precision that was not asked for would bring.

    Args:
        found: Times in both; None when the network was too slow to measure.
        asked: The study's precision.
        computes_bfloat16: Whether the CPU computes in bfloat16, None when unknown.
        key: Key of the study that holds the precision.

    Returns:
        One or two sentences; empty when the other precision would not be much faster.
    """
    if asked == "float32":
        gain = 0.0 if found is None else found.float32 / found.bfloat16
        if gain < LEAST_GAIN:
            return ""
        return (
            f"bfloat16 is {gain:.1f} times as fast as float32 here. "
            f"--set {key}=bfloat16 would use it, and give other numbers."
        )
    slower = 0.0 if found is None else found.bfloat16 / found.float32
    if slower < LEAST_GAIN and (found is not None or computes_bfloat16 is not False):
        return ""
    times = "many" if found is None else f"{slower:.1f}" if slower < 10 else f"{slower:.0f}"
    because = ", because this CPU has no bfloat16 arithmetic" if computes_bfloat16 is False else ""
    return (
        f"bfloat16 takes {times} times as long as float32 here{because}. "
        f"--set {key}=float32 would be faster, and give other numbers."
    )


def _key(plan: Plan, stage: TrainingStage) -> str:
    """Key of the study that holds the precision of ``stage``."""
    study, name = plan.study, stage.uses[0].arm
    if isinstance(stage, ScoreModel):
        overrides = {f"scores.{name}.training": study.scores[name].training}
    else:
        arm = study.arms[name]
        own = {f"arms.{name}.pretrain.training": arm.pretrain.training} if isinstance(stage, Pretrain) else {}
        overrides = own | {f"arms.{name}.training": arm.training}
    return f"{next((path for path, changes in overrides.items() if 'precision' in changes), 'training')}.precision"
