import json
import os
import re
import shutil
import signal
import subprocess
import sys
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from ticketdiet.cli.main import app
from ticketdiet.core.errors import TicketDietError
from ticketdiet.store.results import ResultStore

SETTINGS = (
    "training.steps=6",
    "pruning.levels=1",
    "scores={}",
    "arms={none@0: {}, all@2: {pretrain: {steps: 2}}}",
)

NETWORK_THAT_SAYS_WHEN_IT_TRAINS = """
import torch
from torch import nn

class Says(nn.Linear):
    said = False

    def forward(self, x):
        if self.training and torch.is_grad_enabled() and not Says.said:
            Says.said = True
            print("training", flush=True)
        return super().forward(x.flatten(1))

def make(num_classes, in_channels, image_size):
    return Says(in_channels * image_size**2, num_classes)
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory, tiny_file):
    folder = tmp_path_factory.mktemp("cli")
    study = tiny_file(folder, *SETTINGS)
    result = command("run", study, "--store", folder / "runs", "--out", folder / "figures", "--workers", 1)
    return folder, result


def command(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def as_process(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "ticketdiet", *map(str, arguments)], capture_output=True, text=True, cwd=cwd, check=False
    )


def test_run_ends_with_a_table_where_results_lie_and_the_figure(done):
    folder, result = done
    assert result.exit_code == 0
    assert "test accuracy by density" in result.output
    assert str(folder / "runs") in result.output
    for suffix in ("png", "svg"):
        assert (folder / "figures" / f"accuracy.{suffix}").stat().st_size > 5000


def test_a_second_run_does_nothing_and_says_so(done):
    folder, _ = done
    result = command("run", folder / "tiny.yaml", "--store", folder / "runs", "--out", folder / "figures")
    assert result.exit_code == 0
    assert "Nothing to do: all 6 stages of tiny" in result.output


def test_plan_lists_every_stage_and_the_work_left(done):
    folder, _ = done
    result = command("plan", folder / "tiny.yaml", "--store", folder / "elsewhere", "--format", "json")
    plan = json.loads(result.output)
    assert len(plan["stages"]) == 6
    assert {"kind", "arm", "replicate", "level", "address", "state"} <= plan["stages"][0].keys()
    assert plan["left"]["steps"] == 2 + 6 + 6 + 4 + 4
    assert {stage["state"] for stage in plan["stages"]} == {"left"}
    assert not (folder / "elsewhere").exists()
    after = json.loads(command("plan", folder / "tiny.yaml", "--store", folder / "runs", "--format", "json").output)
    assert {stage["state"] for stage in after["stages"]} == {"done"}
    assert after["left"]["stages"] == 0


def test_run_and_plan_say_what_the_other_precision_would_bring_and_json_does_not(done, tmp_path, monkeypatch):
    folder, _ = done
    asked = []

    def advise(plan, left, **options):
        asked.append((plan.study.study, len(left), options))
        return "bfloat16 is 2.1 times as fast."

    monkeypatch.setattr("ticketdiet.studies.forecast.precision_advice", advise)
    monkeypatch.setattr("ticketdiet.studies.precision_advice.precision_advice", advise)
    arguments = (folder / "tiny.yaml", "--store", tmp_path / "runs")
    planned = command("plan", *arguments)
    assert "2.1 times" in planned.stderr
    assert "2.1 times" not in planned.stdout
    json.loads(command("plan", *arguments, "--format", "json").output)
    ran = command("run", *arguments, "--out", tmp_path / "figures", "--workers", 1, "--device", "cpu")
    assert "2.1 times" in ran.stderr
    assert asked[1:] == [("tiny", 6, {"device": "cpu", "workers": 1, "threads": None})]
    assert "2.1 times" not in command("run", *arguments, "--out", tmp_path / "figures").output


def test_a_plan_is_never_cut_and_fits_a_hundred_columns(done):
    folder, _ = done
    plan = as_process("plan", folder / "tiny.yaml", "--store", folder / "elsewhere").stdout
    assert "\u2026" not in plan
    heading, *rows, _ = plan.splitlines()
    assert heading.split() == ["kind", "arm", "replicate", "level", "address", "state", "steps"]
    assert len(rows) == 6
    assert all(re.search(r"(none@0|all@2) .*[0-9a-f]{24}  left +\d+$", row) for row in rows)
    quickstart = command("plan", "quickstart", "--store", folder / "elsewhere").output
    assert max(map(len, quickstart.splitlines()[:-1])) <= 100


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_sigterm_ends_a_run_like_ctrl_c(tmp_path, tiny_file, number, workers):
    (tmp_path / "says.py").write_text(NETWORK_THAT_SAYS_WHEN_IT_TRAINS)
    tiny_file(tmp_path, *SETTINGS, "training.steps=1000000", "model={name: 'says:make'}")
    # A shell starts what runs in the background without Ctrl-C, and processes inherit that.
    ctrl_c = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    script = f"{ctrl_c}; from ticketdiet.cli import main; main()"
    arguments = [sys.executable, "-c", script, "run", "tiny.yaml", "--workers", str(workers), "--device", "cpu"]
    with subprocess.Popen(arguments, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        try:
            assert run.stdout is not None
            assert run.stdout.readline().startswith("training")  # two workers may write at once
            run.send_signal(number)
            out, err = run.communicate(timeout=60)
        finally:
            run.kill()
    assert run.returncode == 1
    assert "Stopped. Finished stages are kept" in err
    assert not re.search("Traceback|resource_tracker|leaked", out + err)


def test_off_a_terminal_no_line_is_empty(done):
    folder, _ = done
    result = as_process("verify", "--store", folder / "runs")
    assert (result.stdout, result.stderr) == ("6 results, 0 damaged.\n", "")


def test_scores_are_listed_without_a_subcommand_too():
    assert command("scores").output == command("scores", "list").output
    assert "el2n" in command("scores").output


def test_set_works_in_plan_and_results_alike(done):
    folder, _ = done
    more = ("--set", "pruning.levels=2", "--store", folder / "runs")
    plan = json.loads(command("plan", folder / "tiny.yaml", "--format", "json", *more).output)
    assert sorted(stage["state"] for stage in plan["stages"]) == ["done"] * 6 + ["left"] * 2
    assert command("results", folder / "tiny.yaml", *more).exit_code == 0


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_results_are_tidy_rows_in_every_format(done, kind):
    folder, _ = done
    out = folder / f"rows.{kind}"
    result = command("results", folder / "tiny.yaml", "--store", folder / "runs", "--format", kind, "--out", out)
    assert result.exit_code == 0, result.output
    readers: dict[str, Any] = {"csv": pd.read_csv, "json": pd.read_json, "parquet": pd.read_parquet}
    rows = readers[kind](out)
    assert list(rows.columns)[:10] == [
        "study",
        "arm",
        "replicate",
        "level",
        "density",
        "step",
        "metric",
        "split",
        "value",
        "address",
    ]
    levels = rows[(rows.metric == "accuracy") & (rows.split == "test")].dropna(subset=["level"])
    assert len(levels) == 4


def test_results_show_the_columns_that_are_asked_for_those_of_the_machine_too(done):
    import torch

    folder, _ = done
    arguments = ("results", folder / "tiny.yaml", "--store", folder / "runs", "--format", "csv", "--columns")
    out = folder / "machine.csv"
    assert command(*arguments, "arm, level,value,threads,capability", "--out", out).exit_code == 0
    rows = pd.read_csv(out)
    assert list(rows.columns) == ["arm", "level", "value", "threads", "capability"]
    assert set(rows["capability"]) == {torch.backends.cpu.get_cpu_capability()}
    refused = as_process(*arguments, "arm,thread")
    assert refused.returncode == 2
    assert "unknown column 'thread'" in refused.stderr


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("run", ("--out", "figures")),
        ("results", ()),
        ("figure", ("--out", "figures")),
        ("compare", ("all@2", "none@0")),
    ],
)
def test_results_from_different_machines_are_warned_of_once_on_standard_error(done, tmp_path, monkeypatch, name, more):
    folder, _ = done
    monkeypatch.chdir(tmp_path)
    arguments = (name, folder / "tiny.yaml", *more, "--store", folder / "runs")
    assert "warning" not in command(*arguments).output
    monkeypatch.setattr("ticketdiet.reports.machines.mixed_machines", lambda plan, store: f"{plan.study.study} mixes")
    result = command(*arguments)
    assert result.exit_code == 0
    assert result.stderr.count("warning: tiny mixes") == 1
    assert "mixes" not in result.stdout


def test_arms_can_be_limited(done):
    folder, _ = done
    plan = command("plan", folder / "tiny.yaml", "--limit-arms", "all@2", "--format", "json")
    assert {stage["arm"] for stage in json.loads(plan.output)["stages"]} == {"all@2"}


def test_a_run_of_some_arms_records_the_whole_study(tmp_path, tiny_file, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_file(tmp_path, *SETTINGS)
    ran = command("run", "tiny.yaml", "--limit-arms", "all@2", "--workers", 1, "--threads", 1, "--out", "figures")
    assert "Made 3 stages" in ran.stdout
    read = command("results", "tiny", "--format", "csv")
    assert "tiny: 3 of 6 results are left out because they are missing" in read.stderr
    assert command("results", "tiny", "--limit-arms", "all@2", "--strict").exit_code == 0
    assert command("results", "tiny", "--strict").exit_code == 1
    assert re.search(r"^tiny .* 3 +6", command("studies", "--store", "runs").stdout, re.M)
    assert "Nothing to remove." in command("gc").stdout


def test_figures_are_listed_and_drawn_by_name(done, tmp_path):
    folder, _ = done
    arguments = ("figure", folder / "tiny.yaml", "--store", folder / "runs", "--out", tmp_path)
    assert command(*arguments, "--list").stdout == "accuracy\nlayer_density\n"
    assert not list(tmp_path.iterdir())
    assert command(*arguments, "--name", "accuracy").exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["accuracy.png", "accuracy.svg"]
    refused = as_process(*arguments, "--name", "accurcy")
    assert refused.returncode == 2
    assert "did you mean 'accuracy'?" in refused.stderr


def test_devices_and_threads_reach_the_workers(done, monkeypatch):
    from ticketdiet.studies.run import RunOutcome

    folder, _ = done
    asked = []
    monkeypatch.setattr("ticketdiet.studies.forecast.choose_devices", lambda names: names)
    monkeypatch.setattr("ticketdiet.reports.study.run_plan", lambda *_, **o: asked.append(o) or RunOutcome(0, 6))
    options = ("--device", "cuda:0,cuda:1", "--device", "cpu", "--threads", 2, "--workers", 3)
    arguments = ("run", folder / "tiny.yaml", "--store", folder / "runs", "--out", folder / "figures")
    assert command(*arguments, *options).exit_code == 0
    assert (asked[0]["devices"], asked[0]["threads"], asked[0]["workers"]) == (("cuda:0", "cuda:1", "cpu"), 2, 3)


def test_the_name_of_a_recorded_study_means_it_as_it_was_run_and_no_other(done):
    folder, _ = done
    where = ("--store", folder / "runs")
    by_file = command("results", folder / "tiny.yaml", *where, "--format", "csv").stdout
    assert command("results", "tiny", *where, "--format", "csv").stdout == by_file
    changed = as_process("results", "tiny", *where, "--set", "seed=1")
    assert changed.returncode == 2
    assert "name the study's file instead" in changed.stderr


def test_figure_draws_from_the_store_alone(done):
    folder, _ = done
    result = command("figure", folder / "tiny.yaml", "--store", folder / "runs", "--out", folder / "again")
    assert result.exit_code == 0
    assert (folder / "again" / "accuracy.png").read_bytes() == (folder / "figures" / "accuracy.png").read_bytes()


def test_verify_names_what_is_damaged(done, tmp_path):
    folder, _ = done
    shutil.copytree(folder / "runs", tmp_path / "runs")
    assert command("verify", "--store", tmp_path / "runs").exit_code == 0
    path = next((tmp_path / "runs").rglob("mask.safetensors"))
    path.write_bytes(path.read_bytes()[:-1])
    result = command("verify", "--store", tmp_path / "runs")
    assert result.exit_code == 1
    assert path.parent.name in result.output


def test_gc_asks_first_and_keeps_what_the_study_reaches(done, tmp_path):
    folder, _ = done
    shutil.copytree(folder / "runs", tmp_path / "runs")
    arguments = ("gc", folder / "tiny.yaml", "--store", tmp_path / "runs", "--set", "pruning.levels=0")
    refused = CliRunner().invoke(app, [str(a) for a in arguments], input="n\n")
    assert "To be removed: 2 results" in refused.output
    assert refused.exit_code == 1
    assert len(list((tmp_path / "runs").rglob("manifest.json"))) == 6
    assert command(*arguments, "--yes").exit_code == 0
    assert len(list((tmp_path / "runs").rglob("manifest.json"))) == 4


def test_gc_spares_what_a_running_command_needs_and_says_so(done, tmp_path):
    folder, _ = done
    shutil.copytree(folder / "runs", tmp_path / "runs")
    store = ResultStore.open(tmp_path / "runs")
    arguments = ("gc", folder / "tiny.yaml", "--store", tmp_path / "runs", "--set", "pruning.levels=0", "--yes")
    with store.drive(store.addresses()):
        result = command(*arguments)
    assert f"process {os.getpid()} on " in result.output
    assert "is at work on" in result.output
    assert "2 results stay that only it needs" in result.output
    assert "Nothing to remove." in result.output
    assert len(store.addresses()) == 6
    assert "Removed 2 results and 0 leftovers." in command(*arguments).output


def test_gc_through_a_link_removes_nothing_and_names_it(done, tmp_path):
    folder, _ = done
    shutil.copytree(folder / "runs", tmp_path / "runs")
    (tmp_path / "mine").mkdir()
    precious = tmp_path / "mine" / f"{'a' * 24}.{'0' * 32}"
    precious.write_text("mine")
    os.utime(precious, (0, 0))
    (tmp_path / "runs" / "tmp").rmdir()
    (tmp_path / "runs" / "tmp").symlink_to(tmp_path / "mine")
    result = CliRunner().invoke(app, ["gc", str(folder / "tiny.yaml"), "--store", str(tmp_path / "runs"), "--yes"])
    assert result.exit_code == 1
    assert "tmp is a symbolic link, not a folder" in str(result.exception)
    assert precious.exists()


def test_built_in_studies_are_listed_and_shown_to_copy(tmp_path):
    listed = command("studies").output
    assert all(name in listed for name in ("quickstart", "mini-cifar", "cifar10-resnet20"))
    shown = command("studies", "show", "quickstart").output
    (tmp_path / "mine.yaml").write_text(shown)
    ours = json.loads(command("plan", tmp_path / "mine.yaml", "--format", "json").output)
    theirs = json.loads(command("plan", "quickstart", "--format", "json").output)
    assert [s["address"] for s in ours["stages"]] == [s["address"] for s in theirs["stages"]]


def test_data_lists_sources_and_shows_one(tmp_path):
    assert "parquet:PATH" in command("data").output
    shown = command("data", "show", "digits", "--out", tmp_path / "sheet.png")
    assert "1 x 8 x 8" in shown.output
    assert "1,297 images" in shown.output
    assert "fingerprint: " in shown.output
    assert (tmp_path / "sheet.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "nothing"), "unknown study 'nothing'"),
        (("run", "quickstart", "--set", "training.steps=zero"), "training.steps"),
        (("run", "quickstart", "--set", "arms.all@20.pretrain.steps=100000"), "k must be at most T"),
        (("run", "quickstart", "--set", "dataset.name=nope"), "unknown dataset 'nope'"),
        (("run", "quickstart", "--device", "tpu"), "unknown device"),
        (("run", "quickstart", "--limit-arms", "nobody"), "unknown arm 'nobody'"),
        (("results", "quickstart", "--store", "/nowhere/at/all"), "There is no store"),
        (("studies", "show", "nope"), "unknown study"),
        (("data", "show", "parquet:/nowhere"), "/nowhere"),
        (("nonsense",), "No such command"),
        (("run",), "Missing argument"),
    ],
)
def test_a_users_mistake_is_exit_code_2_with_a_message_and_no_traceback(tmp_path, arguments, says):
    result = as_process(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert says in result.stderr
    assert "Traceback" not in result.stderr + result.stdout


def test_asking_for_a_gpu_that_is_absent_is_a_users_mistake(tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    result = as_process("run", "quickstart", "--device", "cuda", cwd=tmp_path)
    assert result.returncode == 2
    assert "--device cpu" in result.stderr


def test_a_store_path_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    result = as_process("run", "quickstart", "--store", tmp_path / "file", cwd=tmp_path)
    assert result.returncode == 2
    assert str(tmp_path / "file") in result.stderr


def test_every_command_explains_itself_without_importing_what_takes_long():
    script = (
        "import sys; from typer.main import get_command; from typer.testing import CliRunner\n"
        "from ticketdiet.cli.main import app\n"
        "def explain(command, *names):\n"
        "    assert CliRunner().invoke(app, [*names, '--help']).exit_code == 0, names\n"
        "    for name, below in getattr(command, 'commands', {}).items():\n"
        "        explain(below, *names, name)\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "assert 'pydantic' not in sys.modules\n"
        "explain(get_command(app))\n"
        "print(*sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    libraries = {"torch", "numpy", "pandas", "matplotlib", "scipy", "yaml", "fsspec", "safetensors", "rich", "ray"}
    floors = {f"ticketdiet.{name}" for name in ("store", "data", "models", "studies", "paper", "page")}
    assert not (libraries | floors) & set(done.stdout.split())


def test_errors_of_the_package_keep_their_exit_codes():
    assert TicketDietError("x").exit_code == 1
