import os
import signal
import subprocess
import sys

import pytest

KEPT = (
    "Stopped. Finished stages are kept, and long trainings go on from their last saved state: "
    "run the same command again."
)
# A command that waits for a signal where it would work: no clock says when the signal may come.
WAITING = """
import importlib, signal, sys

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what runs in the background without it

def wait(*_, **__):
    print("waiting", flush=True)
    while True:
        signal.pause()

setattr(importlib.import_module("{module}"), "{function}", wait)
from ticketdiet.cli import main
sys.argv[0] = "ticketdiet"
main()
"""
SHOW = ("ticketdiet.data.images", "load_images", "data", "show", "digits")
FIND = ("ticketdiet.studies.find_rewind", "find_rewinding_point", "find-rewind", "quickstart")
RUN = ("ticketdiet.reports.study", "run_plan", "run", "quickstart")


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize(
    ("command", "number", "says"),
    [
        (SHOW, signal.SIGINT, "Stopped."),
        (FIND, signal.SIGINT, KEPT),
        (FIND, signal.SIGTERM, KEPT),
        (RUN, signal.SIGINT, KEPT),
        (RUN, signal.SIGTERM, KEPT),
    ],
)
def test_a_stopped_command_ends_with_code_1_and_one_line(tmp_path, command, number, says):
    module, function, *arguments = command
    script = WAITING.format(module=module, function=function)
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "waiting\n"
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 1
    assert (out, err.strip()) == ("", says)
