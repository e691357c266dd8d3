"""ticketdiet: sparse trainable networks by iterative magnitude pruning, from pre-training on a data diet.

Everything of use is here, and imported when first asked for: ``import ticketdiet`` alone imports neither torch nor
pandas, so that the command line answers at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ticketdiet.core.seeds import RunSeeds
    from ticketdiet.core.values import Images, ImageSplits, Scores
    from ticketdiet.data.images import load_images
    from ticketdiet.data.subsets import choose_subset
    from ticketdiet.landscape.barrier import Barrier
    from ticketdiet.landscape.measurement import measure_barrier
    from ticketdiet.models.build import build_model
    from ticketdiet.page.report import write_report
    from ticketdiet.reports.loading import load_study
    from ticketdiet.reports.reading import read_rows, read_study
    from ticketdiet.reports.statistics import compare, estimate, summarise
    from ticketdiet.reports.store_copy import copy_store
    from ticketdiet.reports.study import Study
    from ticketdiet.scores.catalog import score_names
    from ticketdiet.scores.driver import score_examples
    from ticketdiet.scores.recorder import TrainingRecorder
    from ticketdiet.store.results import ResultStore
    from ticketdiet.studies.exported import stored_ticket
    from ticketdiet.studies.find_rewind import find_rewinding_point
    from ticketdiet.studies.machine import tune_allocator
    from ticketdiet.studies.plan import plan_study
    from ticketdiet.studies.run import run_plan
    from ticketdiet.tickets.compact import Compacted, compact
    from ticketdiet.tickets.foreign import import_checkpoint
    from ticketdiet.tickets.masks import dense_mask, density
    from ticketdiet.tickets.portable import PortableTicket
    from ticketdiet.tickets.portable_files import load_ticket
    from ticketdiet.tickets.portable_folder import export_ticket
    from ticketdiet.tickets.pruning import prune
    from ticketdiet.tickets.rewinding import rewind
    from ticketdiet.tickets.search import TicketSearch, find_ticket
    from ticketdiet.training.evaluation import Evaluation, evaluate, predict_logits
    from ticketdiet.training.loop import Trained, train
    from ticketdiet.training.recipe import Recipe

__version__ = "0.1.0"

__all__ = [
    "Barrier",
    "Compacted",
    "Evaluation",
    "ImageSplits",
    "Images",
    "PortableTicket",
    "Recipe",
    "ResultStore",
    "RunSeeds",
    "Scores",
    "Study",
    "TicketSearch",
    "Trained",
    "TrainingRecorder",
    "__version__",
    "build_model",
    "choose_subset",
    "compact",
    "compare",
    "copy_store",
    "dense_mask",
    "density",
    "estimate",
    "evaluate",
    "export_ticket",
    "find_rewinding_point",
    "find_ticket",
    "import_checkpoint",
    "load_images",
    "load_study",
    "load_ticket",
    "measure_barrier",
    "plan_study",
    "predict_logits",
    "prune",
    "read_rows",
    "read_study",
    "rewind",
    "run_plan",
    "score_examples",
    "score_names",
    "stored_ticket",
    "summarise",
    "train",
    "tune_allocator",
    "write_report",
]

_HOMES = {
    "Barrier": "landscape.barrier",
    "Compacted": "tickets.compact",
    "Evaluation": "training.evaluation",
    "ImageSplits": "core.values",
    "Images": "core.values",
    "PortableTicket": "tickets.portable",
    "Recipe": "training.recipe",
    "ResultStore": "store.results",
    "RunSeeds": "core.seeds",
    "Scores": "core.values",
    "Study": "reports.study",
    "TicketSearch": "tickets.search",
    "Trained": "training.loop",
    "TrainingRecorder": "scores.recorder",
    "build_model": "models.build",
    "choose_subset": "data.subsets",
    "compact": "tickets.compact",
    "compare": "reports.statistics",
    "copy_store": "reports.store_copy",
    "dense_mask": "tickets.masks",
    "density": "tickets.masks",
    "estimate": "reports.statistics",
    "evaluate": "training.evaluation",
    "export_ticket": "tickets.portable_folder",
    "find_rewinding_point": "studies.find_rewind",
    "find_ticket": "tickets.search",
    "import_checkpoint": "tickets.foreign",
    "load_images": "data.images",
    "load_study": "reports.loading",
    "load_ticket": "tickets.portable_files",
    "measure_barrier": "landscape.measurement",
    "plan_study": "studies.plan",
    "predict_logits": "training.evaluation",
    "prune": "tickets.pruning",
    "read_rows": "reports.reading",
    "read_study": "reports.reading",
    "rewind": "tickets.rewinding",
    "run_plan": "studies.run",
    "score_examples": "scores.driver",
    "score_names": "scores.catalog",
    "stored_ticket": "studies.exported",
    "summarise": "reports.statistics",
    "train": "training.loop",
    "tune_allocator": "studies.machine",
    "write_report": "page.report",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value  # the next look finds it without coming here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
