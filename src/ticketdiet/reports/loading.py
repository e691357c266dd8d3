"""A study by its name: from a file, from those that are built in, or from what a store has recorded."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ticketdiet.core.errors import NoStore, UnknownName, UserError
from ticketdiet.reports.study import Study
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.load import builtin_names, is_study, load_spec, only_arms
from ticketdiet.studies.plan import Plan
from ticketdiet.studies.record import recorded_study

DEFAULT_STORE = "runs"


def load_study(
    study: str | os.PathLike[str],
    settings: Sequence[str] = (),
    *,
    store: str | os.PathLike[str] = DEFAULT_STORE,
    arms: Sequence[str] | None = None,
) -> Study:
    """Return a study to plan, run and read.

    Args:
        study: Path of a YAML file, name of a built-in study, or name of a study that was run on ``store``.
        settings: Overrides such as ``"training.steps=400"``.
        store: Where the results are, or will be: a folder, or any URL that fsspec knows.
        arms: Names of the arms to run and read; default all.

    Raises:
        StudyError: When the file or an override is not legal; every problem is listed with its path.
        UnknownName: When ``study`` is none of the three, or has no such arm.
        UserError: When ``settings`` would change a study that is read from the store.
    """
    name, url = os.fspath(study), os.fspath(store)
    recorded = None
    if is_study(name):
        spec = load_spec(name, settings)
    else:
        recorded = _from_store(name, url)
        spec = recorded.study
        if settings:
            raise UserError(
                f"The study {name!r} comes from the store {url}, and {settings[0]!r} would change it.",
                expected="no settings for a study as it was run",
                way_out="name the study's file instead",
            )
    if arms is not None:
        only_arms(spec, arms)
    return Study(spec, url, None if arms is None else tuple(arms), recorded)


def _from_store(name: str, url: str) -> Plan:
    try:
        return recorded_study(ResultStore.open(url, create=False), name)
    except NoStore:
        raise UnknownName.of("study", name, builtin_names()) from None
