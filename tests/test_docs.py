"""The documentation tells the truth: its tables are the schema's, its studies plan, its Python runs, its links lead on.

What only the README needs is in ``test_readme``. A block below ``<!-- not run -->`` (a reason may follow a colon)
is left alone. The others of a page are taken in order, in one empty folder: a Python block whose first line is
``# NAME.py`` is that file.
"""

import importlib
import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest
import typer

from ticketdiet.cli.main import app
from ticketdiet.studies.load import builtin_names, parse_study
from ticketdiet.studies.plan import plan_study

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
README = ROOT / "README.md"
BLOCK = re.compile(
    r"(?P<skip><!-- not run(?:: [^\n]+)? -->\n+)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
COMMANDS = vars(typer.main.get_command(app))["commands"]
SCRIPTS = ROOT / "scripts"


def named(page):
    return str(page.relative_to(ROOT))


def blocks(page, *kinds):
    found = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [block for block in found if block["kind"] in kinds and not block["skip"]]


def studies(page):
    return [block["text"] for block in blocks(page, "yaml") if re.search(r"^study:", block["text"], re.MULTILINE)]


def prose(page):
    return BLOCK.sub("", page.read_text(encoding="utf-8"))


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    """Run in an empty folder, and forget what was imported from it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def run_python(page, folder):
    namespace = {"__name__": "__docs__"}
    for block in blocks(page, "python"):
        line = page.read_text(encoding="utf-8")[: block.start("text")].count("\n")
        code = compile("\n" * line + block["text"], named(page), "exec", dont_inherit=True)
        module = re.match(r"# (\w+\.py)\n", block["text"])
        if module:
            (folder / module[1]).write_text(block["text"], encoding="utf-8")
        exec(code, namespace)


RUNNABLE = [page for page in PAGES if blocks(page, "python") and page.parent.name != "dev"]  # there: signatures only


@pytest.mark.parametrize("page", RUNNABLE, ids=named)
def test_the_python_of_a_page_runs_and_its_studies_plan(page, empty_folder):
    run_python(page, empty_folder)
    for text in studies(page):
        assert plan_study(parse_study(text, source=named(page))).stages


@pytest.mark.parametrize("page", [README, *PAGES], ids=named)
def test_every_study_is_legal(page):
    for text in studies(page):
        parse_study(text, source=named(page))


@pytest.fixture
def load_script(monkeypatch):
    """Loads a script that writes a page."""
    monkeypatch.syspath_prepend(SCRIPTS)

    def load(name):
        spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)  # dataclasses look themselves up
        spec.loader.exec_module(module)
        return module

    return load


@pytest.mark.parametrize("name", ["write_study_reference", "write_paper_tables"])
def test_generated_parts_of_pages_are_what_the_code_says(load_script, name):
    script = load_script(name)
    page = script.PAGE.read_text(encoding="utf-8")
    assert page == load_script("markers").filled(page, script.generated()), f"run python scripts/{name}.py"


def test_a_page_without_the_markers_of_a_part_is_refused(load_script):
    with pytest.raises(ValueError, match="begin generated: keys"):
        load_script("markers").filled("# Studies\n", {"keys": ""})


def commands_in(page):
    """``ticketdiet WORD ...`` in shell blocks and in inline code, without the name of the program."""
    lines = [
        line.removeprefix("$ ")
        for block in blocks(page, "sh", "console", "bash")
        for line in block["text"].splitlines()
    ]
    spoken = re.findall(r"`(ticketdiet [^`]+)`", prose(page).replace("\n", " "))
    split = [shlex.split(line, comments=True) for line in (*lines, *spoken)]
    return [words[1:] for words in split if words[:1] == ["ticketdiet"] and len(words) > 1]


def options_of(command):
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize("page", [README, *PAGES], ids=named)
def test_every_command_and_option_exists(page):
    for words in commands_in(page):
        if words[0].startswith("-"):
            continue
        assert words[0] in COMMANDS, f"ticketdiet {' '.join(words)}"
        command = COMMANDS[words[0]]
        known = options_of(command)
        inner = getattr(command, "commands", {})
        if len(words) > 1 and words[1] in inner:
            known |= options_of(inner[words[1]])
        for option in (word.partition("=")[0] for word in words if word.startswith("--")):
            assert option in known | {"--help"}, f"ticketdiet {' '.join(words)}"


@pytest.mark.parametrize("page", [README, *PAGES], ids=named)
def test_every_recipe_that_a_command_names_exists(page):
    for words in commands_in(page):
        if words[0] in ("run", "plan", "results", "figure") and len(words) > 1 and re.fullmatch("[a-z0-9-]+", words[1]):
            assert words[1] in builtin_names(), f"ticketdiet {' '.join(words)}"


def links(page):
    return re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", prose(page))


def anchors(page):
    """Anchors of headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    ("page", "link"),
    [(page, link) for page in PAGES for link in links(page)],
    ids=lambda value: getattr(value, "name", value),
)
def test_every_link_of_a_page_leads_somewhere(page, link):
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    assert target.exists()
    assert not anchor or anchor in anchors(target)


def registries():
    """Every registry of the package, by the path of its name."""
    found = {}
    for path in sorted((ROOT / "src" / "ticketdiet").rglob("*.py")):
        for name in re.findall(r"^([A-Z_]+): Registry\[", path.read_text(encoding="utf-8"), re.MULTILINE):
            module = ".".join(path.relative_to(ROOT / "src" / "ticketdiet").with_suffix("").parts)
            found[f"{module}.{name}"] = getattr(importlib.import_module(f"ticketdiet.{module}"), name)
    return found


def test_every_registry_is_on_the_page_on_extending_with_its_group_and_an_example():
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    assert len(registries()) >= 12
    for path, registry in registries().items():
        assert f"| `{path}` | `{registry.group}` |" in page
        assert re.search(rf"^with (.*, )?{path.rpartition('.')[2]}\.temporarily\(", page, re.MULTILINE)
