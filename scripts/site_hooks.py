"""What MkDocs does besides rendering ``docs/``: the hooks of the documentation site (``mkdocs.yml``).

- README, changelog, contributing guide and security policy are pages too, from the files at the root.
- Links are written for readers of the repository. On the site they lead to the pages that those files became.
- The pages of the Python API hold every name of ``ticketdiet.__all__``, grouped by the package it lives in.
- Formulas become MathML while the site is built, so that reading them needs no script and no network.
- The build fails when a page would load anything from another host.
"""

from __future__ import annotations

import ast
import html
import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import griffe
from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

import ticketdiet

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
ROOT_PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
ROOT_FILES = ("CITATION.cff", "LICENSE")
# The pages of the API: title, what it is about, and the packages whose exported names stand there.
API_PAGES = {
    "images-and-networks": (
        "Images and networks",
        "Data sets in memory, the choice of a subset, and networks by name.",
        ("core", "data", "models"),
    ),
    "training-and-scores": (
        "Training and scores",
        "The training loop and its recipe, evaluation, and scores of single examples.",
        ("training", "scores"),
    ),
    "tickets": ("Tickets", "Masks, pruning, rewinding, and the whole search for a network of your own.", ("tickets",)),
    "landscape": ("Landscape", "What lies between two networks.", ("landscape",)),
    "studies-and-results": (
        "Studies and results",
        "Studies from YAML, their plans, the store that keeps their results, and the results as a table.",
        ("studies", "store", "reports", "page"),
    ),
}

CODE = r"^ *```.*?^ *```$|`[^`\n]+`"
LINK = re.compile(rf"(?P<code>{CODE})|\]\((?P<target>(?![a-z]+:)[^)\s#]+)(?P<anchor>#[^)\s]*)?\)", re.M | re.S)
INLINE_FORMULA = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.S)
BLOCK_FORMULA = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.S)
CONTENTS = re.compile(r'<ul>(?=\s*(?:<li>(?:\s*<a href="#[^"]*">[^<]*</a>\s*·?)+\s*</li>\s*)+</ul>)')
CELL_CODE = re.compile(r"(?<=<td><code>)[^<]+(?=</code>)")
ROLE = re.compile(r":(?:func|class|meth|mod|attr):<code>~?([\w.]+)</code>")
# Elements that load what they name; a link that a reader may click does not.
FETCHED = re.compile(r'<(?:script|img|iframe|source|video)\b[^>]*\bsrc="((?:https?:)?//[^"]+)"', re.I)
FETCHED_LINK = re.compile(
    r'<link\b(?=[^>]*\brel="(?:stylesheet|preconnect|preload|icon)")[^>]*\bhref="((?:https?:)?//[^"]+)"'
)
FETCHED_STYLE = re.compile(r"(?:url\(|@import\s+)['\"]?((?:https?:)?//[^)'\"]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that do not lie in ``docs/``."""
    for name, uri in ROOT_PAGES.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / name)))
    for name in ROOT_FILES:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    for name, text in api_pages(ticketdiet._HOMES).items():
        files.append(File.generated(config, f"api/{name}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Point links at the pages of the site."""
    if page.file.abs_src_path is None:  # written by on_files, for the site
        return markdown
    return with_site_links(markdown, source=Path(page.file.abs_src_path), uri=page.file.src_uri)


def on_page_content(html: str, page: Page, **_: object) -> str:
    """Make formulas MathML and roles of docstrings links, and prepare lists and tables for narrow screens."""
    html = CONTENTS.sub('<ul class="contents">', html)
    html = CELL_CODE.sub(lambda found: found[0].replace(".", ".<wbr>"), html)
    return with_links_for_roles(with_mathml(html, page.file.src_uri))


def on_post_build(config: MkDocsConfig) -> None:
    """Write the search index for pages opened as files; fail when a page loads something from another host."""
    search = Path(config.site_dir) / "search"
    index = (search / "search_index.json").read_text(encoding="utf-8")
    (search / "search_index.js").write_text(f"var __index = {index}", encoding="utf-8")
    found = [f"{name} loads {url}" for name, url in fetched_by(Path(config.site_dir))]
    if found:
        raise PluginError("The site has to be readable without a network:\n" + "\n".join(found))


def with_site_links(markdown: str, *, source: Path, uri: str) -> str:
    """Rewrite relative links of a file of the repository for the page that it becomes.

    Args:
        markdown: The text of the file; code in it stays as it is.
        source: Where the file lies.
        uri: Where its page lies among the sources of the site, for example ``api/tickets.md``.

    Returns:
        The text with links between pages of the site.
    """

    def replaced(found: re.Match[str]) -> str:
        if found["code"]:
            return found[0]
        target = site_uri((source.parent / found["target"]).resolve())
        if target is None:
            return found[0]  # the strict build says what is wrong with it
        relative = posixpath.relpath(target, posixpath.dirname(uri) or ".")
        return f"]({relative}{found['anchor'] or ''})"

    return LINK.sub(replaced, markdown)


def site_uri(path: Path) -> str | None:
    """Return where a file or folder of the repository lies among the sources of the site; None when it is not there."""
    if path.is_dir():
        path = path / "README.md"
    name = os.path.relpath(path, ROOT).replace(os.sep, "/")
    if name in ROOT_PAGES:
        return ROOT_PAGES[name]
    if name in ROOT_FILES:
        return name
    return name.removeprefix("docs/") if name.startswith("docs/") else None


def api_pages(homes: Mapping[str, str]) -> dict[str, str]:
    """Write the pages of the Python API.

    Args:
        homes: Exported names, each with the module it lives in, below the package.

    Returns:
        The Markdown of every page, by the page's path.

    Raises:
        PluginError: When a name lives in a package that has no page.
    """
    paged = {package for _, _, packages in API_PAGES.values() for package in packages}
    for name, home in homes.items():
        if home.split(".")[0] not in paged:
            raise PluginError(f"ticketdiet.{name} lives in {home}; add that package to API_PAGES in {__file__}.")
    return {page: _api_page(*entry, homes) for page, entry in API_PAGES.items()}


def _api_page(title: str, about: str, packages: tuple[str, ...], homes: Mapping[str, str]) -> str:
    names = [name for package in packages for name, home in homes.items() if home.split(".")[0] == package]
    directives = "".join(f"\n::: ticketdiet.{name}\n" for name in names)
    return f"# {title}\n\n{about} `import ticketdiet as td` gives every name of this page.\n{directives}"


def with_mathml(text: str, where: str = "") -> str:
    """Replace the formulas that ``pymdownx.arithmatex`` marked in ``text`` (HTML) by MathML.

    Args:
        text: HTML of a page.
        where: What to call the page in messages.

    Returns:
        The HTML without TeX.

    Raises:
        PluginError: When a formula holds a command that the converter does not know.
    """

    def converted(source: str, display: str) -> str:
        formula = html.unescape(source).strip()
        mathml = convert(formula, display=display)
        unknown = re.search(r"\\[A-Za-z]+", re.sub(r"<[^>]*>", " ", mathml))
        if unknown:
            raise PluginError(f"{where}: the formula {formula} has the unknown command {unknown[0]}.")
        return mathml

    text = BLOCK_FORMULA.sub(lambda found: f'<div class="math-block">{converted(found[1], "block")}</div>', text)
    return INLINE_FORMULA.sub(lambda found: converted(found[1], "inline"), text)


def with_links_for_roles(text: str) -> str:
    """Replace roles of docstrings, as ``:func:`~package.name```, by links where the site has the name."""
    return ROLE.sub(
        lambda found: f'<autoref identifier="{found[1]}" optional><code>{found[1].split(".")[-1]}</code></autoref>',
        text,
    )


def fetched_by(site: Path) -> Iterator[tuple[str, str]]:
    """Yield each file of a built site with what it loads from another host."""
    for path in sorted(site.rglob("*")):
        patterns = {".html": (FETCHED, FETCHED_LINK, FETCHED_STYLE), ".css": (FETCHED_STYLE,)}.get(path.suffix, ())
        text = path.read_text(encoding="utf-8") if patterns else ""
        for pattern in patterns:
            for url in pattern.findall(text):
                yield str(path.relative_to(site)), url


class FieldDescriptions(griffe.Extension):
    """Lists the fields of a pydantic model in the docstring of its class, by the descriptions that they carry."""

    def on_class(self, *, cls: griffe.Class, **_: object) -> None:
        """Add a section on the attributes where fields have descriptions."""
        lines = [f"    {name}: {text}" for name, text in _described_fields(cls)]
        if lines and cls.docstring is not None:
            cls.docstring.value += "\n\nAttributes:\n" + "\n".join(lines)


def _described_fields(cls: griffe.Class) -> Iterator[tuple[str, str]]:
    """Yield the fields that are a ``Field(description=...)``, each with its description and default."""
    for name, field in cls.attributes.items():
        call = field.value
        if isinstance(call, griffe.ExprCall) and str(call.function) == "Field":
            given = {part.name: part.value for part in call.arguments if isinstance(part, griffe.ExprKeyword)}
            if "description" in given:
                default = f" Default: `{given['default']}`." if "default" in given else ""
                yield name, ast.literal_eval(str(given["description"])) + default
