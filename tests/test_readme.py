"""The README tells the truth: its Python runs, its studies are legal, its commands and files exist.

A block after a line ``<!-- not run: REASON -->`` is only compiled. The others run in order, in one namespace, in an
empty folder.
"""

import re
import shlex
from pathlib import Path

import pytest

from ticketdiet.cli.main import app
from ticketdiet.studies.load import parse_study

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?P<skip><!-- not run: [^\n]+ -->\n+)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.M | re.S)


def blocks(*kinds):
    return [found for found in BLOCK.finditer(README) if found["kind"] in kinds]


def test_every_python_block_compiles_and_those_not_marked_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__readme__"}
    for found in blocks("python"):
        line = README[: found.start("text")].count("\n")
        code = compile("\n" * line + found["text"], "README.md", "exec", dont_inherit=True)
        if not found["skip"]:
            exec(code, namespace)


def test_every_study_is_legal():
    for found in blocks("yaml", "yml"):
        if re.search(r"^study:", found["text"], re.M) and not found["skip"]:
            parse_study(found["text"], source="README.md")


def test_every_command_exists():
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    known |= {group.name for group in app.registered_groups}
    for found in blocks("console", "bash", "sh", "shell", "text"):
        for line in found["text"].splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True) if "ticketdiet " in line else []
            if words[:1] == ["ticketdiet"] and not words[1].startswith("-"):
                assert words[1] in known, line


@pytest.mark.parametrize("target", re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", README) or ["README.md"])
def test_every_file_it_links_to_exists(target):
    assert (ROOT / target).exists()
