"""How often a stage is tried again whose worker is lost, on a Ray on paper, since a lack of memory is hard to order."""

from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from ticketdiet.core.errors import DamagedResult
from ticketdiet.studies.executors.base import RunRequest, WorkerLost
from ticketdiet.studies.executors.ray_cluster import LOSSES, RayCluster, _RayTasks
from ticketdiet.studies.executors.ray_connection import Needs
from ticketdiet.studies.executors.ray_worker import work

ERRORS = SimpleNamespace(
    RayError=Exception, **{name: type(name, (Exception,), {}) for name in (*LOSSES, "RayTaskError")}
)


class PaperRay:
    """Takes tasks and notes them; a test says how they end."""

    exceptions = ERRORS

    def __init__(self):
        self.tasks, self.options = [], None

    def remote(self, what):
        return SimpleNamespace(options=lambda **options: self._made(what, options))

    def _made(self, what, options):
        if what is not work:
            return SimpleNamespace(remote=lambda: SimpleNamespace(take=SimpleNamespace(remote=lambda: None)))
        self.options = options
        return SimpleNamespace(remote=self._begin)

    def _begin(self, *arguments):
        done = Future()
        self.tasks.append(done)
        return Task(done)

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": 4.0}}]

    def wait(self, tasks, timeout):
        return [], tasks


class Task:
    """A handle of a task, whose future a test sets."""

    def __init__(self, done):
        self._done = done

    def future(self):
        return self._done


@pytest.fixture
def ray():
    return PaperRay()


@pytest.fixture
def stages(plan_tiny):
    return list(plan_tiny().stages.values())


@pytest.fixture
def executor(ray, store, plan_tiny):
    options = RayCluster.Options(retries=2, ship_data=False)
    request = RunRequest(store=store, plan=plan_tiny())
    return _RayTasks(ray, options, Needs(1.0, 0.0, ("cpu",), 1), request, own=False)


def lose(ray, executor, name):
    ray.tasks[-1].set_exception(getattr(ERRORS, name)(f"it was a {name}"))
    executor.progress()


def test_losses_of_every_kind_count_together(ray, executor, stages):
    future = executor.submit(stages[0])
    for count, name in enumerate(("OutOfMemoryError", "WorkerCrashedError"), start=2):
        lose(ray, executor, name)
        assert not future.done()
        assert len(ray.tasks) == count
    lose(ray, executor, "OutOfMemoryError")
    assert len(ray.tasks) == 3
    with pytest.raises(
        WorkerLost, match=r"Ray says: OutOfMemoryError: it was(.|\n)*2 further tries(.|\n)*cpus_per_stage"
    ):
        future.result(0)


def test_ray_itself_tries_nothing_again(ray, executor):
    assert ray.options["max_retries"] == 0


@pytest.mark.parametrize("name", LOSSES)
def test_a_stage_goes_on_after_a_loss(ray, executor, stages, name):
    future = executor.submit(stages[0])
    lose(ray, executor, name)
    ray.tasks[-1].set_result(("a warning",))
    assert future.result(0) == ("a warning",)


def test_losses_are_counted_for_each_stage(ray, executor, stages):
    first = executor.submit(stages[0])
    lose(ray, executor, "WorkerCrashedError")
    second = executor.submit(stages[1])
    lose(ray, executor, "WorkerCrashedError")
    lose(ray, executor, "WorkerCrashedError")
    assert not first.done()
    assert not second.done()


def test_after_a_lack_of_memory_a_stage_waits_until_another_has_ended(ray, executor, stages):
    futures = [executor.submit(stage) for stage in stages[:3]]
    lose(ray, executor, "OutOfMemoryError")
    executor.progress()
    assert len(ray.tasks) == 3
    ray.tasks[0].set_result(())
    executor.progress()
    assert len(ray.tasks) == 4
    ray.tasks[-1].set_result(("a warning",))
    assert futures[2].result(0) == ("a warning",)


def test_after_a_lack_of_memory_with_no_other_stage_it_is_tried_again_at_once(ray, executor, stages):
    executor.submit(stages[0])
    lose(ray, executor, "OutOfMemoryError")
    assert len(ray.tasks) == 2


def test_what_is_no_loss_is_not_tried_again(ray, executor, stages):
    future = executor.submit(stages[0])
    lose(ray, executor, "RayTaskError")
    assert len(ray.tasks) == 1
    with pytest.raises(WorkerLost, match="it was a RayTaskError"):
        future.result(0)


@pytest.mark.parametrize("raised", [False, True])  # as handles of a cluster at ray:// do
def test_what_a_stage_has_raised_arrives_as_what_it_was(ray, executor, stages, raised):
    future, error = executor.submit(stages[0]), DamagedResult("The weights do not match their checksum.")
    if raised:
        ray.tasks[-1].set_exception(error)
    else:
        ray.tasks[-1].set_result(error)
    assert future.exception(0) is error
    assert len(ray.tasks) == 1
