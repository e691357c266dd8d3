"""Puts the sections together into one HTML file that loads nothing from anywhere.

Everything that a user gave is escaped, and the content security policy of the page allows one script and one style
sheet, by their hashes: whatever slips through is text.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ticketdiet.page.accuracy import AccuracySection, accuracy_section
from ticketdiet.page.barriers import MAKERS as BARRIERS
from ticketdiet.page.barriers import BarrierSection, barrier_section
from ticketdiet.page.caveats import CaveatSection, caveat_section
from ticketdiet.page.chart import listed
from ticketdiet.page.cost import CostSection, cost_section
from ticketdiet.page.figures import PageFigure, draw_gallery
from ticketdiet.page.images import MAKERS as IMAGES
from ticketdiet.page.images import ImageSection, image_section
from ticketdiet.page.inputs import StudyInput
from ticketdiet.page.masks import MAKERS as MASKS
from ticketdiet.page.masks import MaskSection, mask_section
from ticketdiet.page.repeat import RepeatSection, repeat_section
from ticketdiet.page.rows import RowSection, row_section
from ticketdiet.page.verdicts import VerdictsSection, verdicts_section
from ticketdiet.page.words import duration, energy, percent, significant
from ticketdiet.reports.reading import StudyResults
from ticketdiet.store.results import ResultStore

SECTIONS = (
    ("verdicts", "What came out"),
    ("accuracy", "Accuracy against density"),
    ("cost", "What it cost"),
    ("barriers", "Barriers"),
    ("images", "Images"),
    ("masks", "Masks"),
    ("caveats", "What could be wrong"),
    ("repeat", "How to repeat it"),
    ("rows", "The numbers"),
)


@dataclass(frozen=True, eq=False)
class StudyPart:
    """Everything that the page says of one study.

    Attributes:
        name: Of the study.
        anchor: What links call it.
        description: One line, by whoever wrote the study.
        facts: Data, network and size in a few words each.
        verdicts: Section 1.
        accuracy: Section 2.
        cost: Section 3.
        barriers: Section 4.
        images: Section 5.
        masks: Section 6.
        others: Figures that other packages register.
        caveats: Section 7.
        repeat: Section 8.
        rows: Section 9.
    """

    name: str
    anchor: str
    description: str
    facts: tuple[tuple[str, str], ...]
    verdicts: VerdictsSection
    accuracy: AccuracySection
    cost: CostSection
    barriers: BarrierSection
    images: ImageSection
    masks: MaskSection
    others: tuple[PageFigure, ...]
    caveats: CaveatSection
    repeat: RepeatSection
    rows: RowSection


def study_part(study: StudyInput, store: ResultStore) -> StudyPart:
    """Return everything that the page says of one study.

    Args:
        study: The study and what is known besides.
        store: Where its results are.
    """
    spec = study.results.plan.study
    gallery = draw_gallery(study.results, study.anchor)
    masks = mask_section(study, gallery)
    return StudyPart(
        name=spec.study,
        anchor=study.anchor,
        description=spec.description,
        facts=_facts(study.results),
        verdicts=verdicts_section(study),
        accuracy=accuracy_section(study, gallery),
        cost=cost_section(study, store),
        barriers=barrier_section(study, gallery),
        images=image_section(study, gallery),
        masks=masks,
        others=gallery.others({"accuracy", "pretraining", *BARRIERS, *IMAGES, *MASKS}),
        caveats=caveat_section(study, store, dict(gallery.reasons), masks.empty),
        repeat=repeat_section(study, store),
        rows=row_section(study),
    )


def render_page(parts: Sequence[StudyPart], *, live: bool = False) -> str:
    """Return the page as HTML.

    Args:
        parts: The studies, in the order of the page.
        live: Whether the page asks its server for changes, and loads itself again.
    """
    style, script = _asset("page.css"), _asset("page.js") + (_asset("live.js") if live else "")
    environment = Environment(
        loader=PackageLoader("ticketdiet.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"listed": listed, "duration": duration, "energy": energy}
    environment.filters |= {"number": significant, "percent": percent}
    policy = (
        f"default-src 'none'; img-src data: blob:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        f"base-uri 'none'; form-action 'none'" + ("; connect-src 'self'" if live else "")
    )
    return environment.get_template("page.html").render(
        parts=parts, sections=SECTIONS, style=Markup(style), script=Markup(script), policy=policy
    )


def _facts(found: StudyResults) -> tuple[tuple[str, str], ...]:
    spec = found.plan.study
    facts = found.plan.facts.get(spec.dataset)
    images = f" ({facts.splits['train'].count:,} training images)" if facts is not None else ""
    return (
        ("Data", f"{spec.dataset.name}{images}"),
        ("Network", spec.model.name),
        ("Training", f"{spec.training.steps:,} steps, batch size {spec.training.batch_size}"),
        ("Arms", str(len(spec.arms))),
        ("Replicates", str(spec.replicates)),
    )


def _asset(name: str) -> str:
    return (resources.files("ticketdiet.page") / "assets" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
