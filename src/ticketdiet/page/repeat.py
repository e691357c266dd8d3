"""Section 8: how to repeat it. The command, the study as YAML, every address, versions, and what to cite."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ticketdiet.core.errors import StoreError
from ticketdiet.page.inputs import StudyInput
from ticketdiet.reports.completeness import StudyState
from ticketdiet.store.manifest import Manifest
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.load import builtin_names, load_spec
from ticketdiet.studies.record import study_digest
from ticketdiet.studies.spec import StudySpec
from ticketdiet.studies.yaml_text import write_yaml

BIBTEX = """\
@inproceedings{paul2022lottery,
  title     = {Lottery Tickets on a Data Diet: Finding Initializations with Sparse Trainable Networks},
  author    = {Paul, Mansheej and Larsen, Brett W. and Ganguli, Surya and Frankle, Jonathan and
               Dziugaite, Gintare Karolina},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {35},
  year      = {2022},
  note      = {arXiv:2206.01278}
}

@software{ticketdiet,
  title   = {ticketdiet: sparse trainable networks by iterative magnitude pruning},
  author  = {{The ticketdiet developers}},
  version = {VERSION},
  note    = {Apache-2.0}
}
"""


@dataclass(frozen=True)
class StageRow:
    """One stage in the list of addresses.

    Attributes:
        label: The stage in words.
        address: Of its result.
        state: ``"done"``, ``"missing"`` or ``"damaged"``.
    """

    label: str
    address: str
    state: str


@dataclass(frozen=True)
class RepeatSection:
    """What it takes to make the numbers again.

    Attributes:
        commands: For a shell, one a line.
        yaml: The study with everything that is not the default.
        digest: What tells this study from all others.
        stages: Every stage with its address.
        versions: "name version", with the number of results where several occur.
        times: When the first and the last result were made; "" when none is.
        bibtex: What to cite.
    """

    commands: str
    yaml: str
    digest: str
    stages: tuple[StageRow, ...]
    versions: tuple[str, ...]
    times: str
    bibtex: str


def repeat_section(study: StudyInput, store: ResultStore) -> RepeatSection:
    """Return how a study is repeated.

    Args:
        study: The study.
        store: Where its results are, for the versions in their manifests.
    """
    plan, state = study.results.plan, study.results.state
    manifests = [found for address in plan.stages if (found := _manifest(store, address)) is not None]
    versions = _versions(manifests)
    stages = tuple(
        StageRow(stage.label, address, "done" if address in state.sound else _lacking(state, address))
        for address, stage in plan.stages.items()
    )
    version = next((text.split()[1] for text in versions if text.startswith("ticketdiet ")), "")
    return RepeatSection(
        commands=_commands(plan.study),
        yaml=study_yaml(plan.study),
        digest=study_digest(plan.study),
        stages=stages,
        versions=versions,
        times=_times(manifests),
        bibtex=BIBTEX.replace("VERSION", version),
    )


def study_yaml(study: StudySpec) -> str:
    """Write a study as YAML, without what is the default anyway; reading it gives the same study."""
    return write_yaml(study.model_dump(mode="json", exclude_defaults=True))


def _commands(study: StudySpec) -> str:
    name = study.study
    built_in = name in builtin_names() and load_spec(name) == study
    source = name if built_in else f"{name}.yaml"
    lines = [] if built_in else [f"# {source} is the study below"]
    return "\n".join([*lines, "pip install ticketdiet", f"ticketdiet run {source}", f"ticketdiet report {source}"])


def _manifest(store: ResultStore, address: str) -> Manifest | None:
    try:
        return store.manifest(address)
    except StoreError:  # missing or damaged: the section on what could be wrong says so
        return None


def _lacking(state: StudyState, address: str) -> str:
    return "damaged" if address in state.damaged else "missing"


def _versions(manifests: list[Manifest]) -> tuple[str, ...]:
    found: dict[str, Counter[str]] = {}
    for manifest in manifests:
        versions = manifest.provenance.get("versions")
        for name, version in versions.items() if isinstance(versions, dict) else ():
            found.setdefault(str(name), Counter())[str(version)] += 1
    return tuple(
        f"{name} {version}" + (f" ({count} results)" if len(counts) > 1 else "")
        for name, counts in found.items()
        for version, count in counts.most_common()
    )


def _times(manifests: list[Manifest]) -> str:
    times = sorted(str(manifest.provenance.get("finished") or "") for manifest in manifests)
    known = [time for time in times if time]
    return f"{known[0]} to {known[-1]}" if known else ""
