"""Which stages share a job: short ones do, as long as their job takes no longer than the longest stage does alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ticketdiet.studies.stage import Stage

Chain = tuple[Stage, ...]
LEAST_WORK = 1e9  # floating-point operations that a stage counts as at least, for starting and reading


@dataclass
class _Bin:
    work: float = 0.0
    chains: list[Chain] = field(default_factory=list)

    @property
    def stages(self) -> int:
        return sum(map(len, self.chains))


def work_of(chain: Sequence[Stage]) -> float:
    """Floating-point operations of the stages of a chain."""
    return sum(max(LEAST_WORK, float(stage.cost.flops)) for stage in chain)


def pack(chains: Sequence[Chain], *, longest: float = 0.0, most_jobs: int, most_stages: int) -> list[list[Chain]]:
    """Divide chains among jobs, which work theirs one after another.

    Args:
        chains: Stages that need each other, in order.
        longest: Work that a job may have in any case: that of the longest chain of the run so far.
        most_jobs: Jobs to divide them among, at least 1. More chains go into each job where there are too few jobs;
            what does not fit at all is left out.
        most_stages: Stages of a job; a longer chain still goes into one.

    Returns:
        The chains of each job, those with the most work first.
    """
    by_work = sorted(chains, key=work_of, reverse=True)
    total = sum(map(work_of, by_work))
    limit = max(longest, total / most_jobs, max(map(work_of, by_work), default=0.0)) * (1 + 1e-9)
    jobs: list[_Bin] = []
    for chain in by_work:
        fits = [b for b in jobs if b.work + work_of(chain) <= limit and b.stages + len(chain) <= most_stages]
        if not fits and len(jobs) < most_jobs:
            jobs.append(_Bin())
            fits = jobs[-1:]
        elif not fits:  # more work than the rounding of bins allows: where there is the least
            fits = sorted((b for b in jobs if b.stages + len(chain) <= most_stages), key=lambda b: b.work)
        if fits:
            fits[0].work += work_of(chain)
            fits[0].chains.append(chain)
    return [job.chains for job in jobs]
