import pytest

from ticketdiet.store.results import ResultStore
from ticketdiet.studies import run as run_module
from ticketdiet.studies.load import parse_study
from ticketdiet.studies.planner import plan_study

TINY = """
study: tiny
dataset: {name: digits, limit: 96}
model: {name: resnet8, width: 4}
training: {steps: 12, batch_size: 16, lr: 0.05, crop_padding: 1, flip: false, precision: float32}
pruning: {fraction: 0.5, levels: 2}
replicates: 1
scores:
  el2n: {kind: el2n, models: 2, steps: 6}
arms:
  none@0: {}
  all@4: {pretrain: {steps: 4}}
  easiest32@4: {pretrain: {steps: 4, subset: {kind: easiest, size: 32, score: el2n}}}
"""


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Trainings this small only lose by a second thread, and bits depend on how many there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "cpu_count", lambda: 1)
        yield


@pytest.fixture(scope="session")
def tiny_text():
    return TINY


@pytest.fixture
def plan_tiny():
    def plan(*settings):
        return plan_study(parse_study(TINY, settings))

    return plan


@pytest.fixture
def store(tmp_path):
    return ResultStore.open(tmp_path / "store")
