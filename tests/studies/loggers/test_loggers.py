"""What loggers are told: with a logger that remembers, with fakes of every library, and with those that are there."""

import contextlib
import json
import sqlite3
import sys
import types
from typing import ClassVar

import pytest

from ticketdiet.core.errors import UnknownName, UserError
from ticketdiet.reports.loading import load_study
from ticketdiet.reports.reading import read_rows
from ticketdiet.studies.loggers.base import LOGGERS, LoggedRun, LoggedValue, Logger, by_step
from ticketdiet.studies.loggers.catalog import make_logger
from ticketdiet.studies.run import RunObserver

ARMS = "arms={none@0: {}, all@4: {pretrain: {steps: 4}}, again@4: {pretrain: {steps: 4}}}"
SETTINGS = (ARMS, "pruning.levels=1", "children=2", "evaluate_every=6")
RUN = LoggedRun("tiny", "all@4", 0, {"training.lr": 0.05, "arm": "all@4"})
VALUES = [
    LoggedValue("level01/accuracy/test", 0.25, 6),
    LoggedValue("level01/loss/test", 2.5, 6),
    LoggedValue("level01/accuracy/test", 0.5, 12),
    LoggedValue("levels/accuracy/test", 0.5, 1, "level"),
]


class Memory(Logger):
    def __init__(self, target="memory"):
        super().__init__(target)
        self.told, self.closed = [], 0

    def log(self, run, values):
        self.told.append((run, values))

    def close(self):
        self.closed += 1


class Quiet(RunObserver):
    def __init__(self):
        self.warnings = []

    def finished(self, stage, warnings):
        self.warnings += warnings


@pytest.fixture
def study(tmp_path, tiny_file):
    return load_study(tiny_file(tmp_path, *SETTINGS), store=tmp_path / "store")


def run(study, *loggers):
    observer = Quiet()
    study.run(workers=1, threads=1, observer=observer, loggers=loggers)
    return observer


def test_every_number_of_the_study_is_told_once_to_the_run_it_belongs_to(study):
    memory = Memory()
    run(study, memory)
    told = {
        (one.arm, one.replicate, value.name, value.step): value.value for one, values in memory.told for value in values
    }
    assert sum(len(values) for _, values in memory.told) == len(told)
    rows = read_rows(study.plan, study.store)
    along = {key: value for key, value in told.items() if not key[2].startswith("levels/")}
    assert len(along) == len(rows)
    assert sorted(along.values()) == pytest.approx(sorted(rows["value"]))
    final = rows[(rows.arm == "all@4") & (rows.kind == "level") & (rows.level == 1) & (rows.step == 12)]
    accuracy = final[(final.metric == "accuracy") & (final.split == "test")]["value"].item()
    assert told["all@4", 0, "level01/accuracy/test", 12] == told["all@4", 0, "levels/accuracy/test", 1] == accuracy
    assert told["all@4", 0, "levels/density", 1] == pytest.approx(0.5, abs=0.01)
    assert ("all@4", 0, "level00/barrier_mean/train/family", 12) in told
    assert memory.closed == 1


def test_arms_that_share_a_stage_are_told_both(study):
    memory = Memory()
    run(study, memory)
    by_arm = {arm: [v for one, values in memory.told if one.arm == arm for v in values] for arm in ("all@4", "again@4")}
    assert by_arm["all@4"] == by_arm["again@4"] != []


def test_parameters_are_what_the_arm_says_and_the_name_is_stable(study):
    memory = Memory()
    run(study, memory)
    found = {one.name: one for one, _ in memory.told}
    assert set(found) == {"none@0/replicate0", "all@4/replicate0", "again@4/replicate0"}
    parameters = found["all@4/replicate0"].parameters
    assert parameters["pretrain.steps"] == 4
    assert parameters["training.lr"] == 0.05
    assert parameters["dataset.name"] == "digits"
    assert (parameters["study"], parameters["arm"], parameters["replicate"]) == ("tiny", "all@4", 0)
    assert all(isinstance(value, str | int | float | bool) for value in parameters.values())


def test_logging_changes_no_address_and_no_number_and_a_second_run_tells_nothing(study, tmp_path, contents):
    memory, again = Memory(), Memory()
    run(study, memory)
    run(study, again)
    assert again.told == []
    plain = load_study(tmp_path / "tiny.yaml", store=tmp_path / "plain")
    run(plain)
    assert contents(plain.store, plain.plan) == contents(study.store, study.plan)


def test_a_logger_that_fails_is_left_and_the_run_goes_on(study):
    class Broken(Logger):
        def log(self, run, values):
            raise ConnectionError("no route to host")

        def close(self):
            raise ConnectionError("still no route")

    memory = Memory()
    observer = run(study, Broken("http://away"), memory)
    assert observer.warnings == [
        "The logger Broken for http://away failed and is told nothing more: ConnectionError: no route to host"
    ]
    assert study.status().is_complete
    assert len({one.name for one, _ in memory.told}) == 3


def test_numbers_of_one_place_are_gathered():
    first, second, third = by_step(VALUES)
    assert (first.axis, first.step, first.values) == (
        "training_step",
        6,
        {"level01/accuracy/test": 0.25, "level01/loss/test": 2.5},
    )
    assert second.values == {"level01/accuracy/test": 0.5}
    assert (third.axis, third.step, third.values) == ("level", 1, {"levels/accuracy/test": 0.5})


class TestMaking:
    def test_a_logger_is_made_from_its_name_and_what_follows_the_first_colon(self):
        with LOGGERS.temporarily("memory", Memory):
            assert make_logger("memory:http://host:5000").target == "http://host:5000"

    def test_an_unknown_name_lists_the_known_ones(self):
        with pytest.raises(UnknownName, match="mlflow, tensorboard, trackio, wandb"):
            make_logger("paper:pencil")

    @pytest.mark.parametrize("text", ["tensorboard", "tensorboard:"])
    def test_a_missing_target_is_a_message(self, text):
        with pytest.raises(UserError, match="for example tensorboard:logs"):
            make_logger(text)

    @pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb", "trackio"])
    def test_a_missing_library_names_its_extra(self, name, monkeypatch):
        for module in (name, "mlflow.tracking", "torch.utils.tensorboard"):
            monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(UserError, match=rf"pip install 'ticketdiet\[{name}\]'"):
            make_logger(f"{name}:target")


class FakeRun:
    """A run of Weights & Biases or trackio."""

    def __init__(self, options):
        self.options, self.logged, self.defined, self.finished = options, [], {}, False

    def define_metric(self, name, step_metric):
        self.defined[name] = step_metric

    def log(self, values, **options):
        self.logged.append((values, options))

    def finish(self):
        self.finished = True


def fake_module(name):
    module = types.ModuleType(name)
    module.runs = []  # type: ignore[attr-defined]

    def init(**options):
        module.runs.append(FakeRun(options))
        return module.runs[-1]

    module.init, module.Settings = init, dict  # type: ignore[attr-defined]
    module.finish = lambda: module.runs[-1].finish()  # type: ignore[attr-defined]
    return module


def test_weights_and_biases_goes_on_with_one_run_per_replicate(monkeypatch):
    module = fake_module("wandb")
    monkeypatch.setitem(sys.modules, "wandb", module)
    for _ in range(2):  # two commands
        logger = make_logger("wandb:diets")
        logger.log(RUN, VALUES)
        logger.log(RUN, VALUES[:1])
        logger.close()
    first, second = module.runs
    assert first.options["id"] == second.options["id"]
    assert (first.options["project"], first.options["name"]) == ("diets", "tiny/all@4/replicate0")
    assert (first.options["resume"], first.options["config"]) == ("allow", RUN.parameters)
    assert first.defined == {
        "level01/accuracy/test": "training_step",
        "level01/loss/test": "training_step",
        "levels/accuracy/test": "level",
    }
    assert first.logged[0] == ({"level01/accuracy/test": 0.25, "level01/loss/test": 2.5, "training_step": 6}, {})
    assert first.logged[2] == ({"levels/accuracy/test": 0.5, "level": 1}, {})
    assert len(first.logged) == 4
    assert first.finished
    assert second.finished


def test_trackio_goes_on_with_one_run_per_replicate(monkeypatch):
    module = fake_module("trackio")
    monkeypatch.setitem(sys.modules, "trackio", module)
    make_logger("trackio:diets").log(RUN, VALUES)
    (found,) = module.runs
    assert (found.options["project"], found.options["name"]) == ("diets", "tiny/all@4/replicate0")
    assert (found.options["resume"], found.options["config"]) == ("allow", RUN.parameters)
    assert found.logged[1] == ({"level01/accuracy/test": 0.5, "training_step": 12}, {"step": 12})
    assert found.finished


class FakeClient:
    """A tracking server of MLflow that keeps everything in memory."""

    experiments: ClassVar[dict] = {}
    runs: ClassVar[dict] = {}

    def __init__(self, tracking_uri):
        self.uri = tracking_uri

    def get_experiment_by_name(self, name):
        return types.SimpleNamespace(experiment_id=name) if name in self.experiments else None

    def create_experiment(self, name):
        self.experiments[name] = []
        return name

    def search_runs(self, experiments):
        return [self.runs[run] for run in self.experiments[experiments[0]]]

    def create_run(self, experiment, run_name, tags):
        number = f"run{len(self.runs)}"
        made = types.SimpleNamespace(
            info=types.SimpleNamespace(run_id=number),
            data=types.SimpleNamespace(tags=tags),
            metrics=[],
            params=[],
            ended=0,
        )
        self.runs[number] = made
        self.experiments[experiment].append(number)
        return made

    def log_batch(self, run, metrics=(), params=()):
        assert max(len(metrics), len(params)) <= 100
        self.runs[run].metrics += metrics
        self.runs[run].params += params

    def set_terminated(self, run):
        self.runs[run].ended += 1


def test_mlflow_finds_its_run_again_in_another_command(monkeypatch):
    monkeypatch.setattr(FakeClient, "experiments", {})
    monkeypatch.setattr(FakeClient, "runs", {})
    tracking, entities = types.ModuleType("mlflow.tracking"), types.ModuleType("mlflow.entities")
    tracking.MlflowClient = FakeClient  # type: ignore[attr-defined]
    entities.Metric = lambda key, value, timestamp, step: (key, value, step)  # type: ignore[attr-defined]
    entities.Param = lambda key, value: (key, value)  # type: ignore[attr-defined]
    for module in (tracking, entities):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(sys.modules, "mlflow", types.ModuleType("mlflow"))
    for _ in range(2):
        logger = make_logger("mlflow:http://localhost:5000")
        logger.log(RUN, VALUES)
        logger.close()
    (found,) = FakeClient.runs.values()
    assert found.params == [("training.lr", "0.05"), ("arm", "all@4")]
    assert found.metrics == 2 * [(value.name, value.value, value.step) for value in VALUES]
    assert found.ended == 2
    assert list(FakeClient.experiments) == ["tiny"]


def test_real_tensorboard_reads_what_was_written(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = make_logger(f"tensorboard:{tmp_path / 'logs'}")
    logger.log(RUN, VALUES[:2])
    logger.log(RUN, VALUES[2:])
    logger.close()
    events = EventAccumulator(str(tmp_path / "logs" / "tiny" / "all@4" / "replicate0"))
    events.Reload()
    found = {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert found == {
        "level01/accuracy/test": [(6, 0.25), (12, 0.5)],
        "level01/loss/test": [(6, 2.5)],
        "levels/accuracy/test": [(1, 0.5)],
    }


def test_real_weights_and_biases_keeps_an_offline_run(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    logger = make_logger("wandb:diets")
    for values in (VALUES[:2], VALUES[2:]):
        logger.log(RUN, values)
    logger.close()
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert any(folder.glob("*.wandb"))


@pytest.mark.filterwarnings("ignore")  # of its database
def test_real_mlflow_keeps_a_run_in_a_database(tmp_path):
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    for values in (VALUES[:2], VALUES[2:]):
        logger = make_logger(f"mlflow:{uri}")
        logger.log(RUN, values)
        logger.close()
    client = MlflowClient(tracking_uri=uri)
    (found,) = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    history = client.get_metric_history(found.info.run_id, "level01/accuracy/test")
    assert [(one.step, one.value) for one in history] == [(6, 0.25), (12, 0.5)]
    assert found.data.params["training.lr"] == "0.05"


def test_real_mlflow_that_cannot_use_a_target_is_a_message():
    pytest.importorskip("mlflow")
    with pytest.raises(UserError, match="MLflow cannot use 'nonsense://x'"):
        make_logger("mlflow:nonsense://x")


def test_real_trackio_keeps_one_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))  # read when it is imported
    pytest.importorskip("trackio")
    for values in (VALUES[:2], VALUES[2:]):
        make_logger("trackio:diets").log(RUN, values)
    assert capsys.readouterr().out == ""
    with contextlib.closing(sqlite3.connect(tmp_path / "diets.db")) as kept:
        rows = kept.execute("select run_id, run_name, step, metrics from metrics order by id").fetchall()
    assert len({run for run, *_ in rows}) == 1
    assert [(name, step) for _, name, step, _ in rows] == [("tiny/all@4/replicate0", step) for step in (6, 12, 1)]
    assert json.loads(rows[1][3])["level01/accuracy/test"] == 0.5


def test_parameters_that_are_lists_are_json(study):
    memory = Memory()
    run(study, memory)
    assert json.loads(memory.told[0][0].parameters["training.milestones"]) == [0.5, 0.75]
