"""The claims at one setting and one store: plan them, run them, and judge what is there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from ticketdiet.core.errors import NoStore
from ticketdiet.paper.claim import Claim
from ticketdiet.paper.evidence import evidence_rows, pooled, read_rows_file
from ticketdiet.paper.judge import judge
from ticketdiet.paper.running import PaperPlan, plan_claims
from ticketdiet.paper.setting import Setting
from ticketdiet.reports.completeness import DRAWN
from ticketdiet.reports.reading import StudyResults, read_study
from ticketdiet.reports.verdict import Verdict
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.executors.base import ExecutorKind
from ticketdiet.studies.plan import Plan
from ticketdiet.studies.record import record_plan
from ticketdiet.studies.run import RunObserver, RunOutcome, run_plan


@dataclass(frozen=True, eq=False)
class Paper:
    """Claims of the paper, the setting in which they are asked, and where the results are.

    Attributes:
        claims: Which claims, in the order of the paper.
        setting: Network, data and scale.
        url: The store: a folder, or any URL that fsspec knows.
    """

    claims: tuple[Claim, ...]
    setting: Setting
    url: str

    @cached_property
    def planned(self) -> PaperPlan:
        """The plans of the claims' studies.

        Raises:
            UserError: When the data cannot be read, or a study does not fit them.
        """
        return plan_claims(self.claims, self.setting)

    def run(
        self,
        replicates: Collection[int] | None = None,
        *,
        workers: int | None = None,
        devices: Sequence[str] = ("cpu",),
        threads: int | None = None,
        executor: ExecutorKind | str | None = None,
        observer: RunObserver | None = None,
    ) -> RunOutcome:
        """Make what is missing, replicate by replicate, and record every study.

        Args:
            replicates: Only these, from 0; by default all.
            workers: Processes; by default one per core or GPU.
            devices: Names of torch devices, given to the workers in turn; ``"all"`` is every GPU.
            threads: Threads per worker.
            executor: Where the work is done instead of in processes on this machine.
            observer: Is told how it goes.

        Returns:
            How many stages were made, and how many were there.

        Raises:
            StagesFailed: When stages could not be made; all others were.
        """
        store, whole = ResultStore.open(self.url), self.planned.together()
        for own in self.planned.plans:
            record_plan(store, own)
        plan = whole if replicates is None else self.planned.together(replicates)
        return run_plan(
            plan,
            store,
            whole=whole,
            executor=executor,
            workers=workers,
            devices=devices,
            threads=threads,
            observer=observer,
        )

    def results(self, plan: Plan) -> StudyResults | None:
        """Return what the store holds of a plan; None when there is no store yet."""
        try:
            return read_study(plan, ResultStore.open(self.url, create=False), whole=DRAWN)
        except NoStore:
            return None

    def rows(self, files: Iterable[Path] = ()) -> pd.DataFrame:
        """Return the evidence of all claims together: that of the store, and of files from other machines.

        Args:
            files: CSV files of rows; a replicate of an arm that is further in the store, or in an earlier file, is not
                taken from them.

        Returns:
            Tidy rows, as :func:`~ticketdiet.paper.evidence.evidence_rows` gives them.

        Raises:
            DataError: When a file cannot be read.
        """
        name = f"paper-{self.setting.name}"
        found = self.results(self.planned.together())
        here = [] if found is None else [evidence_rows(found)]
        return pooled([*here, *(read_rows_file(path) for path in files)], name)


def judge_claims(claims: Sequence[Claim], setting: Setting, rows: pd.DataFrame) -> list[Verdict]:
    """Judge claims on the same rows, each by its rule."""
    return [judge(claim, setting, rows) for claim in claims]
