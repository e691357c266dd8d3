"""The images of a study, for tables and figures: their labels as the store recorded them, or loaded again."""

from __future__ import annotations

from ticketdiet.core.errors import check_known
from ticketdiet.core.values import Images
from ticketdiet.studies.datasets import check_fingerprints, labels_only, load_dataset
from ticketdiet.studies.plan import Plan
from ticketdiet.studies.schema import DatasetSpec


def labelled_images(plan: Plan, split: str = "train", dataset: DatasetSpec | None = None) -> Images:
    """Return the images of a split of a study: without pixels where the store has recorded their labels.

    Args:
        plan: The study's stages.
        split: ``"train"``, ``"test"`` or ``"validation"``.
        dataset: Another data set of the study; default its own.

    Raises:
        UnknownName: For a split that the data set does not have.
        DataError: When the images have to be loaded and cannot be, or are no longer those of the study.
    """
    chosen = dataset or plan.study.dataset
    known = plan.labels.get(chosen)
    if known is None:
        return loaded_images(plan, split, chosen)
    check_known("split", split, known)
    return labels_only(known[split], plan.facts[chosen], split)


def loaded_images(plan: Plan, split: str = "train", dataset: DatasetSpec | None = None) -> Images:
    """Return the images of a split of a study with their pixels; arguments and errors as :func:`labelled_images`."""
    chosen = dataset or plan.study.dataset
    splits = load_dataset(chosen)
    named = splits.named()
    check_known("split", split, named)
    facts = plan.facts.get(chosen)
    if facts is not None:
        check_fingerprints(splits, {split: facts.fingerprints[split]}, chosen.name)
    return named[split]
