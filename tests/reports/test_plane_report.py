import numpy as np
import pytest

from ticketdiet.core.errors import UnknownName, UserError
from ticketdiet.landscape.plane import Plane
from ticketdiet.reports.plane_report import measured_plane, plane_figure
from ticketdiet.reports.reading import read_study
from ticketdiet.store.results import ResultStore


@pytest.fixture(scope="module")
def found(tmp_path_factory, plan_tiny, run_tiny):
    """A study with children that was run."""
    store, plan = ResultStore.open(tmp_path_factory.mktemp("plane") / "store"), plan_tiny("children=2")
    run_tiny(plan, store)
    return read_study(plan, store)


def test_the_plane_is_that_of_the_parent_and_two_children(found):
    plane = measured_plane(found.plan, found.store, "all@4", points=3, examples=40)
    assert plane.examples == 40
    assert plane.losses.shape == (3, 3)
    assert np.isfinite(plane.losses).all()


def test_the_same_examples_are_taken_again(found):
    one, other = (measured_plane(found.plan, found.store, "all@4", points=2, examples=20) for _ in range(2))
    assert np.array_equal(one.losses, other.losses)


def test_an_arm_without_a_finished_family_is_refused(found, plan_tiny):
    with pytest.raises(UnknownName, match="unknown arm"):
        measured_plane(found.plan, found.store, "every@4")
    with pytest.raises(UserError, match="has no dense family of arm 'all@4', replicate 3"):
        measured_plane(found.plan, found.store, "all@4", replicate=3)
    with pytest.raises(UserError, match="has no dense family"):
        measured_plane(plan_tiny(), found.store, "all@4")


def test_the_figure_names_the_three_networks_and_says_what_was_measured():
    x, y = np.linspace(0, 2, 4), np.linspace(0, 1, 4)
    losses = np.add.outer(y, x) + 0.1
    plane = Plane(x, y, losses, losses, np.array([[0.5, 0.2], [1.5, 0.2], [1.0, 0.8]]), 1234)
    axes = plane_figure(plane, title="A plane").axes[0]
    assert [text.get_text() for text in axes.texts] == ["parent", "child 1", "child 2"]
    assert "1,234 training examples" in axes.get_title(loc="left")


def test_a_plane_of_one_loss_can_be_drawn():
    flat = np.full((3, 3), 0.5)
    plane = Plane(np.arange(3.0), np.arange(3.0), flat, flat, np.array([[0.5, 0.5], [1.5, 0.5], [1.0, 1.5]]), 10)
    assert plane_figure(plane).axes
