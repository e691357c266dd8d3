"""The hooks of the documentation site: links, formulas, pages of the Python API, and nothing from another host.

That the whole site builds is checked by ``make docs``.
"""

import importlib.util
import re
import sys
from pathlib import Path

import griffe
import pytest
from mkdocs.exceptions import PluginError

import ticketdiet

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "scripts" / "site_hooks.py")
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.parametrize(
    ("source", "uri", "link", "expected"),
    [
        ("README.md", "index.md", "docs/methods.md#barriers", "methods.md#barriers"),
        ("README.md", "index.md", "docs/images/phases.svg", "images/phases.svg"),
        ("README.md", "index.md", "docs/results", "results/README.md"),
        ("README.md", "index.md", "CITATION.cff", "CITATION.cff"),
        ("README.md", "index.md", "#install", "#install"),
        ("README.md", "index.md", "https://arxiv.org/abs/2206.01278", "https://arxiv.org/abs/2206.01278"),
        ("docs/python.md", "python.md", "../README.md#install", "index.md#install"),
        ("docs/python.md", "python.md", "results/README.md", "results/README.md"),
        ("docs/dev/next.md", "dev/next.md", "../results/README.md", "../results/README.md"),
        ("docs/dev/design.md", "dev/design.md", "../../CONTRIBUTING.md", "../contributing.md"),
        ("docs/python.md", "python.md", "../src/ticketdiet", "../src/ticketdiet"),
    ],
)
def test_a_link_of_the_repository_leads_to_the_page_that_its_file_becomes(hooks, source, uri, link, expected):
    assert hooks.with_site_links(f"See [it]({link}).", source=ROOT / source, uri=uri) == f"See [it]({expected})."


def test_an_image_is_a_link_too(hooks):
    text = hooks.with_site_links("![A](docs/images/phases.svg)", source=ROOT / "README.md", uri="index.md")
    assert text == "![A](images/phases.svg)"


@pytest.mark.parametrize(
    "code", ["`f[0](README.md)`", "```python\nf[0](README.md)\n```", "```\n`\nf[0](README.md)\n```"]
)
def test_code_that_looks_like_a_link_stays_as_it_is(hooks, code):
    text = hooks.with_site_links(f"{code}\n\n[a](README.md)", source=ROOT / "README.md", uri="index.md")
    assert text == f"{code}\n\n[a](index.md)"


def test_formulas_become_mathml_inline_and_in_blocks(hooks):
    inline = hooks.with_mathml(r'a <span class="arithmatex">\(w_k &lt; 1\)</span> b')
    assert re.sub(r"<[^>]+>", "", inline).replace("&#x0003C;", "<").split() == ["a", "wk<1", "b"]
    assert re.search(r'<math [^>]*display="inline"', inline)
    assert "<msub><mi>w</mi><mi>k</mi></msub>" in inline
    block = hooks.with_mathml('<div class="arithmatex">\\[\n\\frac{1}{2}\n\\]</div>')
    assert re.search(r'<math [^>]*display="block"', block)
    assert "<mfrac><mrow><mn>1</mn></mrow><mrow><mn>2</mn></mrow></mfrac>" in block


def test_a_formula_with_an_unknown_command_stops_the_build(hooks):
    with pytest.raises(PluginError, match=r"methods\.md: .*unknown command \\fracc"):
        hooks.with_mathml(r'<span class="arithmatex">\(\fracc{1}{2}\)</span>', "methods.md")


def test_every_exported_name_stands_on_exactly_one_page_of_the_api(hooks):
    pages = "".join(hooks.api_pages(ticketdiet._HOMES).values())
    shown = re.findall(r"^::: ticketdiet\.(\w+)$", pages, re.MULTILINE)
    assert sorted(shown) == sorted(set(ticketdiet.__all__) - {"__version__"})


def test_every_page_of_the_api_is_in_the_navigation(hooks):
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert sorted(re.findall(r"api/([\w-]+)\.md", navigation)) == sorted(hooks.API_PAGES)


def test_a_name_in_a_package_without_a_page_stops_the_build(hooks):
    with pytest.raises(PluginError, match=r"ticketdiet\.draw lives in pictures\.pens"):
        hooks.api_pages({"draw": "pictures.pens"})


def test_a_role_of_a_docstring_becomes_a_link_with_the_short_name(hooks):
    linked = hooks.with_links_for_roles("<p>See :func:<code>~ticketdiet.models.build</code>.</p>")
    assert linked == '<p>See <autoref identifier="ticketdiet.models.build" optional><code>build</code></autoref>.</p>'


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.html", '<script src="https://example.org/a.js"></script>'),
        ("a.html", '<img alt="x" src="//example.org/a.png">'),
        ("a.html", '<link href="https://example.org/a.css" rel="stylesheet">'),
        ("a.html", "<style>@import url(https://example.org/a.css)</style>"),
        ("a.css", "@font-face{src:url('https://example.org/a.woff2')}"),
    ],
)
def test_what_a_page_loads_from_another_host_is_found(hooks, tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert [(file, url.partition("example.org")[1]) for file, url in hooks.fetched_by(tmp_path)] == [
        (name, "example.org")
    ]


def test_links_that_a_reader_may_follow_load_nothing(hooks, tmp_path):
    links = '<a href="https://example.org">x</a><link rel="canonical" href="https://example.org">'
    text = links + '<script src="a.js"></script>'
    (tmp_path / "a.html").write_text(text, encoding="utf-8")
    assert not list(hooks.fetched_by(tmp_path))


def test_fields_with_a_description_are_listed_with_their_defaults(hooks):
    source = (
        "from pydantic import BaseModel, Field\n"
        "class Part(BaseModel):\n"
        '    """A part."""\n'
        '    steps: int = Field(default=7, description="Steps of it.")\n'
        '    name: str = Field(description="What it is called.")\n'
        "    plain: int = 3\n"
    )
    extensions = griffe.Extensions(hooks.FieldDescriptions())
    with griffe.temporary_visited_package("parts", {"__init__.py": source}, extensions=extensions) as package:
        docstring = package["Part"].docstring.value
    assert docstring == "A part.\n\nAttributes:\n    steps: Steps of it. Default: `7`.\n    name: What it is called."
