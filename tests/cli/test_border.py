"""What surrounds a command: arguments that are no text, and output that cannot be written."""

import errno
import os
import subprocess
import sys

import pytest

from ticketdiet.cli import border
from ticketdiet.core.errors import StoreError, UserError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs a shell and devices")


def shell(line, **environment):
    return subprocess.run(
        ["/bin/sh", "-c", line.replace("ticketdiet", f"{sys.executable} -m ticketdiet")],
        capture_output=True,
        env=os.environ | environment,
        check=False,
    )


@pytest.mark.parametrize("line", ["ticketdiet studies >&-", "ticketdiet studies >&- 2>&-", "ticketdiet studies 2>&-"])
def test_closed_output_is_no_mistake(line):
    done = shell(line)
    assert done.returncode == 0
    assert done.stderr == b""


def test_a_full_disk_behind_unbuffered_output_is_one_line_too():
    done = shell("ticketdiet studies > /dev/full", PYTHONUNBUFFERED="1")
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)


def test_a_full_disk_behind_the_output_is_one_line():
    done = shell("ticketdiet studies > /dev/full", PYTHONUNBUFFERED="")
    assert done.returncode == 1
    assert done.stderr == b"error: the output cannot be written: No space left on device.\n"


def test_a_reader_who_leaves_early_is_no_traceback():
    done = shell("ticketdiet studies show mini-cifar | true; ticketdiet studies | true")
    assert done.stderr == b""


def test_an_argument_that_is_no_text_is_refused():
    done = shell(r"ticketdiet plan $(printf 'caf\351.yaml')")
    assert done.returncode == 2
    assert b"argument 2 is not UTF-8: 'caf\\udce9.yaml'" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_variable_that_is_no_text_is_refused():
    done = shell("ticketdiet verify", TICKETDIET_STORE="caf\udce9")
    assert done.returncode == 2
    assert b"TICKETDIET_STORE is not UTF-8" in done.stderr


def test_output_without_the_character_is_written_all_the_same(tmp_path):
    (tmp_path / "study.yaml").write_text(
        "study: x\ndescription: caf\u00e9\ndataset: {name: \u4e2d}\narms: {a: {}}", "utf-8"
    )
    done = shell(f"ticketdiet plan {tmp_path}/study.yaml", PYTHONIOENCODING="latin-1")
    assert done.returncode == 2
    assert b"unknown dataset '\\u4e2d'" in done.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UserError("x"), 2),
        (StoreError("x"), 1),
        (FileNotFoundError(errno.ENOENT, "No such file", "/nowhere"), 2),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 5000), 2),
        (OSError(errno.ECONNREFUSED, "Connection refused", "/nowhere"), None),
        (OSError("without a number"), None),
        (FileNotFoundError(errno.ENOENT, "No such file", border.__file__), None),
        (FileNotFoundError(errno.ENOENT, "No such file", pytest.__file__), None),
        (FileNotFoundError(errno.ENOENT, "No such file"), None),
        (ValueError("embedded null byte"), None),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), None),
        (ZeroDivisionError(), None),
    ],
)
def test_only_what_a_user_can_put_right_is_translated(error, code, capsys):
    assert border.exit_code_of(error) == code
    said = capsys.readouterr().err
    assert said.startswith("error: ") is (code is not None)
    assert len(said) < 1000


def test_a_long_line_is_cut_in_its_middle(capsys):
    border.exit_code_of(UserError("a" * 100_000 + "z", expected="b"))
    said = capsys.readouterr().err
    assert len(said) < 2200
    assert "z\n  expected: b" in said


def test_what_an_object_in_a_cycle_has_still_to_write_is_written_when_the_process_ends(tmp_path):
    """As that of a network or a logger of the user's, imported while the command ran."""
    script = (
        "import sys\n"
        "from ticketdiet.cli.main import main\n"
        "class Notes:\n"
        "    def __init__(self, path):\n"
        "        self.itself, self.file = self, open(path, 'w')\n"
        "        self.file.write('kept')\n"
        "notes = Notes(sys.argv.pop())\n"
        "main()\n"
    )
    subprocess.run([sys.executable, "-c", script, "--version", str(tmp_path / "notes")], check=True)
    assert (tmp_path / "notes").read_text() == "kept"
