"""A study in Python: load it, run it, and read what the store holds of it.

>>> study = td.load_study("quickstart", store="runs")  # doctest: +SKIP
>>> study.run()  # doctest: +SKIP
>>> study.rows().query("metric == 'accuracy'")  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from torch import Tensor, nn

from ticketdiet.core.errors import NoStore, UnknownName
from ticketdiet.core.values import Scores
from ticketdiet.reports.completeness import DRAWN
from ticketdiet.reports.progress import RunView
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.executors.base import Executor, ExecutorKind, RunOptions
from ticketdiet.studies.executors.catalog import find_executor
from ticketdiet.studies.forecast import forecaster
from ticketdiet.studies.loggers.base import Logger
from ticketdiet.studies.loggers.observer import LoggingObserver
from ticketdiet.studies.plan import Plan, plan_study
from ticketdiet.studies.record import record_plan, recorded_plan
from ticketdiet.studies.run import RunObserver, RunOutcome, run_plan
from ticketdiet.studies.spec import StudySpec
from ticketdiet.studies.stages.masked import MaskedTraining
from ticketdiet.studies.stored_networks import build_initial
from ticketdiet.tickets.rewinding import rewind

if TYPE_CHECKING:  # what makes tables and figures takes a second to import, and a run needs none of it
    import pandas as pd
    from matplotlib.figure import Figure

    from ticketdiet.reports.accounting import Accounting
    from ticketdiet.reports.diet_report import ChosenSubset
    from ticketdiet.reports.families import FamilyResult
    from ticketdiet.reports.reading import StudyResults
    from ticketdiet.reports.status import StudyStatus


@dataclass(frozen=True, eq=False)
class Study:
    """A study and the store of its results. Make one with :func:`ticketdiet.load_study`.

    Reading works while the study runs, elsewhere too: what is not finished is left out of the tables. Everything is
    read from the store, which has recorded the study and the facts about its data, so that the data set itself is not
    needed.

    Attributes:
        spec: What the study file says, overrides applied.
        url: Where the results are: a folder, or any URL that fsspec knows.
        arms: Names of the arms that are run and read; None for all.
        recorded: The plan as the store knows it, for a study that was loaded from there; otherwise None.
    """

    spec: StudySpec
    url: str
    arms: tuple[str, ...] | None = None
    recorded: Plan | None = None

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.spec.study

    @property
    def plan(self) -> Plan:
        """All stages of the study, as it was run last on the store; as its data ask for when it was not run yet."""
        return self._limited(self._recorded() or self.recorded or plan_study(self.spec))

    def plan_on_data(self) -> Plan:
        """Return the plan of the study on its data as they are now, which is what :meth:`run` makes.

        Raises:
            UserError: When the study does not fit its data, or these cannot be read.
        """
        return self._limited(plan_study(self.spec))

    @cached_property
    def store(self) -> ResultStore:
        """The store of the results.

        Raises:
            NoStore: When there is none yet.
        """
        return ResultStore.open(self.url, create=False)

    def run(
        self,
        *,
        workers: int | None = None,
        workers_per_device: int | None = None,
        devices: Sequence[str] | str = "auto",
        devices_per_stage: int | None = None,
        threads: int | None = None,
        executor: Executor | ExecutorKind | str | None = None,
        observer: RunObserver | None = None,
        loggers: Sequence[Logger] = (),
    ) -> RunOutcome:
        """Make what is missing of the study, and show how it goes.

        Args:
            workers: Processes; default one per core on the CPU, or one per GPU.
            workers_per_device: Processes on each device; default one per GPU.
            devices: torch devices, given to the workers in turn; ``"auto"`` for a GPU, if any, ``"all"`` for every GPU.
            devices_per_stage: Devices that share the batches of each stage; default one.
            threads: Threads per worker; default ``OMP_NUM_THREADS``, or else its fraction of the cores.
            executor: Where the work is done instead: ``"slurm"``, for example, or a name in the machine file.
            observer: Is told how it goes, instead of a progress bar.
            loggers: Are told the numbers of every stage that this run makes; they are closed at the end.

        Returns:
            How many stages were made, and how many were there.

        Raises:
            UserError: When the study does not fit its data, or the executor cannot be started as asked.
            StagesFailed: When stages could not be made; all others were.
        """
        place = find_executor(executor) if isinstance(executor, str) else executor
        asked = RunOptions(
            workers=workers,
            workers_per_device=workers_per_device,
            devices=(devices,) if isinstance(devices, str) else tuple(devices),
            devices_per_stage=devices_per_stage,
            threads=threads,
        )
        advise, whole = forecaster(place, asked), plan_study(self.spec)
        plan, store = self._limited(whole), ResultStore.open(self.url)
        if plan is not whole:  # the run records what it makes, which is only a part of the study
            record_plan(store, whole)
        with (
            RunView(advise=advise) if observer is None else nullcontext(observer) as watching,
            closing(LoggingObserver(watching, store, loggers)) as logging,
        ):
            return run_plan(
                plan, store, of=self.spec, executor=place, observer=logging if loggers else watching, **vars(asked)
            )

    def status(self) -> StudyStatus:
        """Return what is done, what runs and where, what failed, and how long the rest takes; notebooks show tables."""
        from ticketdiet.reports.status import StatusReader

        return StatusReader(self.plan, self.url).read(self._store_if_any())

    def results(self, *, whole: Sequence[str] = ()) -> StudyResults:
        """Return what the store holds of the study, and what is missing or damaged.

        Args:
            whole: Kinds of stage of which every byte is checked, for whoever goes on to read their arrays.
        """
        from ticketdiet.reports.reading import read_study

        return read_study(self.plan, self.store, whole=whole)

    def rows(self) -> pd.DataFrame:
        """Read every measurement as tidy rows; see :func:`~ticketdiet.reports.reading.read_rows` for the columns."""
        return self.results().rows

    def compare(
        self,
        arm: str,
        baseline: str,
        *,
        at: float | None = None,
        level: int | None = None,
        metric: str = "accuracy",
        split: str = "test",
        other: Study | None = None,
    ) -> pd.DataFrame:
        """Compare two arms, paired by replicate; :func:`~ticketdiet.reports.statistics.compare` names the columns.

        Args:
            arm: The arm to judge.
            baseline: The arm that is subtracted from it.
            at: Only this density; the nearest that was measured counts, if it is within 2 %.
            level: Only this level, from 0.
            metric: What to compare, by its name in the rows.
            split: The split on which it was measured.
            other: The study that has the baseline, if it is another one. Replicates then pair by their number; those
                of studies with another seed share no randomness, so that pairing them removes no noise.

        Returns:
            One row per level: interval, n, p-values, outcome and reason.

        Raises:
            UnknownName: When a study has no such arm.
            UserError: When there is nothing to compare.
        """
        from ticketdiet.reports.statistics import compare

        self._check_arm(arm)
        (other or self)._check_arm(baseline)
        others = None if other is None else other.rows()
        return compare(
            self.rows(), arm=arm, baseline=baseline, at=at, level=level, metric=metric, split=split, others=others
        )

    def cost(self, level: int | None = None) -> Accounting:
        """Count what every arm takes, phase by phase, and what its diet saved; nothing needs to have run.

        Args:
            level: Count what leads to the networks of this level alone; by default, of all levels.

        Returns:
            Rows by arm, replicate and phase; ``saved`` compares them with a baseline arm.

        Raises:
            UserError: When no arm has such a level.
        """
        from ticketdiet.reports.accounting import account

        return account(self.plan, self._store_if_any(), level=level)

    def scores(self, name: str, replicate: int = 0) -> Scores:
        """Read a score.

        Args:
            name: Its name in the study.
            replicate: Whose score it is, where the study has one per replicate.

        Returns:
            The matrix (models, n), high means hard.

        Raises:
            UnknownName: When the study has no such score.
            UserError: When it is not finished yet.
        """
        from ticketdiet.reports.diet_report import read_scores

        return read_scores(self.plan, self.store, name, replicate)

    def subset(self, arm: str, replicate: int = 0) -> ChosenSubset:
        """Read which examples the pre-training of an arm sees.

        Args:
            arm: Name of the arm.
            replicate: From 0.

        Returns:
            The subset: ``indices`` is int64 (size,).

        Raises:
            UnknownName: When the study has no such arm.
            UserError: For an arm without pre-training, or a subset that is not chosen yet.
        """
        from ticketdiet.reports.diet_report import read_subset

        return read_subset(self.plan, self.store, arm, replicate)

    def network(self, arm: str, replicate: int = 0, level: int | None = None) -> nn.Module:
        """Load the network of an arm, trained: removed weights are 0.

        Args:
            arm: Name of the arm.
            replicate: From 0.
            level: From 0, which is dense; default the sparsest.

        Returns:
            The module on the CPU, in eval mode. Its mask is :meth:`mask`.

        Raises:
            UnknownName: When the study has no such arm.
            UserError: When it has no such replicate or level, or the network is not trained yet.
        """
        stage = self.trained(arm, replicate, level)
        model = build_initial(stage)
        rewind(model, self.store.tensors(stage.address, "weights"))
        return model.eval()

    def mask(self, arm: str, replicate: int = 0, level: int | None = None) -> dict[str, Tensor]:
        """Read the mask of the network of an arm: name -> uint8 tensor; arguments and errors as :meth:`network`."""
        return self.store.tensors(self.trained(arm, replicate, level).address, "mask")

    def point(self, arm: str, replicate: int = 0) -> dict[str, Tensor]:
        """Read the weights at the rewinding point of an arm; arguments and errors as :meth:`network`."""
        return self.store.tensors(self.trained(arm, replicate, 0).point, "weights")

    def family(self, arm: str, replicate: int = 0) -> FamilyResult:
        """Return the barriers among the dense children of an arm.

        Args:
            arm: Name of the arm.
            replicate: From 0.

        Raises:
            UnknownName: When the study has no such arm.
            UserError: When the study has no children, or the barriers are not measured yet.
        """
        from ticketdiet.reports.families import find_family

        self._check_arm(arm)
        found = self.results()
        return find_family(found.plan, found.store, arm, replicate)

    def figure_names(self) -> list[str]:
        """Names of the figures that the results allow."""
        from ticketdiet.reports.drawing import draw_figures

        return [name for name, _ in draw_figures(self.results(whole=DRAWN))]

    def figure(self, name: str) -> Figure:
        """Return a figure.

        Args:
            name: One of :meth:`figure_names`, for example ``"accuracy"``.

        Raises:
            UnknownName: When there is none of that name, or the results do not allow it.
        """
        from ticketdiet.reports.drawing import draw_figure

        return draw_figure(self.results(whole=DRAWN), name)

    def _limited(self, whole: Plan) -> Plan:
        return whole if self.arms is None else whole.only(self.arms)

    def _store_if_any(self) -> ResultStore | None:
        with suppress(NoStore):
            return self.store
        return None

    def _recorded(self) -> Plan | None:
        store = self._store_if_any()
        return None if store is None else recorded_plan(store, self.spec)

    def _check_arm(self, arm: str) -> None:
        if arm not in self.spec.arms:
            raise UnknownName.of("arm", arm, self.spec.arms)

    def trained(self, arm: str, replicate: int = 0, level: int | None = None) -> MaskedTraining:
        """Return the stage that trained the network of an arm; arguments and errors as :meth:`network`."""
        from ticketdiet.reports.diet_report import require_trained

        self._check_arm(arm)
        return require_trained(self.plan, self.store, arm, replicate, level)
