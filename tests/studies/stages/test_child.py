"""A child starts from exactly what its parent started from, under the parent's mask, with SGD noise of its own."""

import pytest
import torch

from ticketdiet.core.seeds import RunSeeds
from ticketdiet.studies.stages.child import Child
from ticketdiet.studies.stages.level import Level
from ticketdiet.studies.stages.masked import MaskedTraining

PARENTS = [
    ("none@0", 0),
    ("all@4", 1),
    ("noisy@4", 1),
    ("rate@4", 1),
    ("tuned@4", 1),
    ("shuffled@4", 1),
    ("snip@4", 1),
    ("magnitude@4", 1),
    ("reinitialised@4", 1),
    ("signs@4", 1),
]


def parent_of(tiny, child, arm, level):
    return tiny.find(MaskedTraining, arm, level, address=child.parent)


@pytest.mark.parametrize(("arm", "level"), PARENTS)
def test_it_starts_from_the_weights_mask_step_recipe_and_labels_of_its_parent(tiny, same, arm, level):
    child, training, start = tiny.prepare(Child, arm, level, child=2)
    theirs = parent_of(tiny, child, arm, level).prepare(tiny.context)
    assert same(start, theirs.model.state_dict())
    assert same(training.mask, theirs.mask)
    assert (training.start_step, training.stop_step) == (theirs.start_step, theirs.stop_step)
    assert training.recipe.identity() == theirs.recipe.identity()
    assert torch.equal(training.images.labels, theirs.images.labels)
    assert training.examples is theirs.examples is None


def test_children_differ_from_their_parent_and_each_other_in_order_and_augmentation_alone(tiny):
    seeds = [RunSeeds.of(0, 0)]
    for index in (1, 2):
        child, training, _ = tiny.prepare(Child, "all@4", 1, child=index)
        assert child.vary == ("augmentation", "order")
        seeds.append(training.seeds)
    assert len({one.order for one in seeds}) == len({one.augmentation for one in seeds}) == 3
    assert len({one.initialisation for one in seeds}) == 1


@pytest.mark.parametrize(("vary", "shared"), [("order", "augmentation"), ("augmentation", "order")])
def test_only_what_the_study_varies_differs(tiny, plan_tiny, vary, shared):
    child = plan_tiny("children=2", f"vary=[{vary}]", "evaluate_every=3").of(Child)[0]
    assert child.parent == tiny.make(Level, "none@0", 0).address
    own = child.prepare(tiny.context).seeds
    assert getattr(own, vary) != getattr(RunSeeds.of(0, 0), vary)
    assert getattr(own, shared) == getattr(RunSeeds.of(0, 0), shared)


def test_it_keeps_its_weights_and_says_which_child_it_is(tiny, same, pretended):
    child, training, start = tiny.prepare(Child, "all@4", 1, child=2)
    result = child.finish(tiny.context, training, pretended(training))
    assert set(result.tensors) == {"weights"}
    assert same(result.tensors["weights"], start)
    assert result.rows == ({"step": 12, "metric": "accuracy", "split": "test", "value": 0.25, "pair": "child2"},)
    assert result.facts["density"] == tiny.store.document(child.parent, "facts")["density"]
