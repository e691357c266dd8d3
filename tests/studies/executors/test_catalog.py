import pytest

from ticketdiet.core.errors import UnknownName, UserError
from ticketdiet.studies.executors.base import EXECUTORS, ExecutorKind
from ticketdiet.studies.executors.catalog import find_executor, machine_file
from ticketdiet.studies.executors.local import Local
from ticketdiet.studies.executors.slurm import Slurm
from ticketdiet.studies.run import run_plan

FILE = """
gpu: {kind: slurm, partition: gpu, time: 4h, gpus_per_stage: 1, setup: [module load cuda]}
two: {kind: local, workers: 2}
"""


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """No machine file but those of the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("TICKETDIET_EXECUTORS", raising=False)


def written(path, text=FILE):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_an_entry_gives_its_kind_with_its_options(tmp_path):
    found = find_executor("gpu", written(tmp_path / "mine.yaml"))
    assert isinstance(found, Slurm)
    assert (found.options.partition, found.options.time, found.options.setup) == ("gpu", "4h", ("module load cuda",))


def test_a_kind_needs_no_file_and_an_entry_may_have_its_name(tmp_path):
    assert isinstance(find_executor("slurm"), Slurm)
    written(tmp_path / "executors.yaml", "local: {kind: local, threads: 3}")
    found = find_executor("local")
    assert isinstance(found, Local)
    assert found.options.threads == 3


def test_the_file_is_the_named_one_then_the_variable_then_here_then_the_users(tmp_path, monkeypatch):
    assert machine_file() is None
    users = written(tmp_path / "config" / "ticketdiet" / "executors.yaml")
    assert machine_file() == users
    written(tmp_path / "executors.yaml")
    assert machine_file() is not None
    assert machine_file().resolve() == tmp_path / "executors.yaml"
    monkeypatch.setenv("TICKETDIET_EXECUTORS", str(tmp_path / "other.yaml"))
    assert machine_file() == tmp_path / "other.yaml"
    assert machine_file(tmp_path / "named.yaml") == tmp_path / "named.yaml"


def test_an_unknown_name_lists_entries_and_kinds(tmp_path):
    with pytest.raises(UnknownName, match=r"'gpv'(.|\n)*gpu, local(.|\n)*two(.|\n)*did you mean 'gpu'(.|\n)*mine.yaml"):
        find_executor("gpv", written(tmp_path / "mine.yaml"))
    with pytest.raises(UnknownName, match="no machine file was found"):
        find_executor("gpu")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gpu: {kind: slurm, partitoin: x}", r"entry 'gpu' of .*no option 'partitoin'(.|\n)*did you mean 'partition'"),
        ("gpu: {kind: slurm, time: 120}", r"entry 'gpu'(.|\n)*120"),
        ("gpu: {kind: slurm, time: '120'}", r"a time with units, such as 90m"),
        ("gpu: {kind: slurm, gpus_per_stage: -1}", r"entry 'gpu'(.|\n)*-1"),
        ("gpu: {kind: slrum}", r"entry 'gpu'(.|\n)*did you mean 'slurm'"),
        ("gpu: {partition: x}", r"has no kind(.|\n)*kind: one of local"),
        ("gpu: slurm", "has no kind"),
        ("[gpu]", "no mapping of names"),
        ("gpu: {kind: slurm", r"mine.yaml"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path, text, says):
    with pytest.raises(UserError, match=says):
        find_executor("gpu", written(tmp_path / "mine.yaml", text))


def test_a_file_that_is_named_and_missing_is_an_error_and_an_empty_one_is_none(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.yaml(.|\n)*--executors or TICKETDIET_EXECUTORS"):
        find_executor("slurm", tmp_path / "nowhere.yaml")
    assert isinstance(find_executor("slurm", written(tmp_path / "mine.yaml", "")), Slurm)


def test_a_run_without_a_name_reads_no_file(tmp_path, plan_tiny, store):
    written(tmp_path / "executors.yaml", "{")
    plan = plan_tiny("arms={none@0: {}}", "scores={}", "pruning.levels=0")
    assert run_plan(plan, store, workers=1, threads=1).made == 2
    with pytest.raises(UserError, match=r"executors.yaml"):
        run_plan(plan, store, executor="local")


def test_another_package_can_add_a_kind(plan_tiny, store):
    asked = []

    class Mine(ExecutorKind):
        def start(self, request):
            asked.append(request)
            return Local().start(request)

    with EXECUTORS.temporarily("mine", Mine):
        run_plan(
            plan_tiny("arms={none@0: {}}", "scores={}", "pruning.levels=0"),
            store,
            executor="mine",
            threads=1,
            workers=1,
        )
    assert (asked[0].threads, asked[0].store) == (1, store)
