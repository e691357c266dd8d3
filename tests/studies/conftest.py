import pytest

from ticketdiet.store.results import ResultStore

# Settings that make the study of all tests have every kind of stage.
EVERY_KIND = (
    "children=2",
    "measure.metrics={calibration_error: {bins: 10}}",
    "scores.luck={kind: random}",
    "arms.luck@4={pretrain: {steps: 4, subset: {kind: easiest, size: 32, score: luck}}}",
    "arms.control@4={pretrain: {steps: 4}, ticket: {mask: shuffled}}",
    "measure.metrics={dead_channels: {}}",
)


@pytest.fixture
def store(tmp_path):
    return ResultStore.open(tmp_path / "store")


@pytest.fixture(scope="session")
def every_kind(plan_tiny):
    """A plan that has every kind of stage."""
    return plan_tiny(*EVERY_KIND)


@pytest.fixture(scope="session")
def contents():
    """Every file of every result of a plan by checksum: what must not depend on how a run went."""

    def of(store, plan):
        return {
            address: {name: record.sha256 for name, record in store.manifest(address).files.items()}
            for address in plan.stages
        }

    return of
