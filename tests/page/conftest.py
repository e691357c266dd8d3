"""A small study with two replicates and children, run once, and a reader of the pages that are made of it."""

import importlib.util
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ticketdiet.page.inputs import StudyInput
from ticketdiet.reports.completeness import DRAWN
from ticketdiet.reports.loading import load_study
from ticketdiet.store.results import ResultStore

SETTINGS = ("replicates=2", "children=2")
VOID = {"meta", "link", "br", "img", "input", "hr"}


@dataclass
class Page(HTMLParser):
    """What a page is made of: its elements in order, and its text."""

    elements: list = field(default_factory=list)  # (tag, attributes)
    scripts: list = field(default_factory=list)
    styles: list = field(default_factory=list)
    words: list = field(default_factory=list)
    open_tags: list = field(default_factory=list)

    def __post_init__(self):
        super().__init__()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open_tags.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open_tags, f"</{tag}> closes nothing"
        assert self.open_tags.pop() == tag

    def handle_data(self, data):
        inside = self.open_tags[-1] if self.open_tags else ""
        {"script": self.scripts, "style": self.styles}.get(inside, self.words).append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def values(self, name):
        return [attributes[name] for _, attributes in self.elements if name in attributes]


@pytest.fixture(scope="session")
def read_page():
    """Parses a page and refuses one whose elements are not closed in order."""

    def read(text):
        page = Page()
        page.feed(text)
        page.close()
        assert not page.open_tags
        return page

    return read


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Chromium; tests that ask for it are skipped where it is not installed."""
    spec = importlib.util.spec_from_file_location("page_browser", Path(__file__).with_name("browser.py"))
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not module.CHROMIUM:
        pytest.skip("needs Chromium: apt-get install chromium")
    found = module.Browser(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.fixture(scope="session")
def studied(tmp_path_factory, plan_tiny, run_tiny):
    """The finished study."""
    url = tmp_path_factory.mktemp("page") / "store"
    run_tiny(plan_tiny(*SETTINGS), ResultStore.open(url))
    return load_study("tiny", store=url)


@pytest.fixture(scope="session")
def study_input(studied):
    """The finished study as the sections take it."""
    return StudyInput(studied.results(whole=DRAWN), "tiny")


@pytest.fixture(scope="session")
def gallery(study_input):
    """Its figures, drawn once."""
    from ticketdiet.page.figures import draw_gallery

    return draw_gallery(study_input.results, "tiny")


@pytest.fixture(scope="session")
def page_text(studied):
    """The page of the finished study."""
    from ticketdiet.page.report import report_page

    return report_page(studied)
