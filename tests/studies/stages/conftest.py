"""A tiny for single stages: a plan with every kind of arm, of which only what a stage consumes is ever made."""

import uuid

import pytest
import torch

from ticketdiet.core.seeds import RunSeeds
from ticketdiet.data.images import load_images
from ticketdiet.models.build import build_model
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.context import Context
from ticketdiet.studies.work import perform
from ticketdiet.training.loop import Trained
from ticketdiet.training.observers import TraceRow

SETTINGS = (
    "children=2",
    "pruning.levels=1",
    "evaluate_every=3",
    "measure.levels=[0, 1]",
    "measure.successive_levels=true",
    "measure.metrics={distance: {}, calibration_error: {bins: 3}}",
    "scores.luck={kind: random}",
    "scores.mixed={kind: random, permuted: true}",
    "scores.watched={kind: forgetting, models: 1, steps: 12}",
    "scores.far={kind: barrier, arm: all@4}",
    "arms.luck@4={pretrain: {steps: 4, subset: {kind: hardest, size: 32, score: luck}}}",
    "arms.mixed@4={pretrain: {steps: 4, subset: {kind: easiest, size: 32, score: mixed}}}",
    "arms.watched@4={pretrain: {steps: 4, subset: {kind: easiest, size: 32, score: watched}}}",
    "arms.far@4={pretrain: {steps: 4, subset: {kind: easiest, size: 32, score: far}}}",
    "arms.random@4={pretrain: {steps: 4, evaluate_every: 2, subset: {kind: random, size: 32}}}",
    "arms.like@4={pretrain: {steps: 4, subset: {kind: random, like: easiest32@4}}}",
    "arms.noisy@4={pretrain: {steps: 4}, label_noise: {fraction: 0.5, where: both}}",
    "arms.rotated@4={pretrain: {steps: 4, objective: rotation}}",
    "arms.rate@4={pretrain: {steps: 4}, ticket: {restart: learning_rate}}",
    "arms.tuned@4={pretrain: {steps: 4}, ticket: {restart: fine_tune, restart_options: {lr: 0.02}}}",
    "arms.shuffled@4={pretrain: {steps: 4}, ticket: {mask: shuffled}}",
    "arms.snip@4={pretrain: {steps: 4}, ticket: {mask: snip, mask_options: {images: 20}}}",
    "arms.magnitude@4={pretrain: {steps: 4}, ticket: {mask: magnitude}}",
    "arms.reinitialised@4={pretrain: {steps: 4}, ticket: {weights: reinitialised}}",
    "arms.signs@4={pretrain: {steps: 4}, ticket: {weights: sign_only}}",
)


class TinyStudy:
    """A plan, a place to work its stages, and the images that they read."""

    def __init__(self, plan):
        self.plan = plan
        self.store = ResultStore.open(f"memory://{uuid.uuid4().hex}")
        self.context = Context(self.store)
        self.train = load_images("digits", limit=96).train

    def find(self, kind, arm, level=-1, **fields):
        """The stage of a kind that an arm uses, with everything that it consumes made."""
        stage = next(
            stage
            for stage in self.plan.of(kind)
            if any((use.arm, use.level) == (arm, level) for use in stage.uses)
            and all(getattr(stage, name) == value for name, value in fields.items())
        )
        for one in self.plan.reached_from([stage.address]).values():
            if one is not stage:
                perform(self.context, one)
        return stage

    def make(self, kind, arm, level=-1, **fields):
        """The same, made itself too."""
        stage = self.find(kind, arm, level, **fields)
        perform(self.context, stage)
        return stage

    def prepare(self, kind, arm, level=-1, **fields):
        """What the stage would train, and the weights before that."""
        stage = self.find(kind, arm, level, **fields)
        training = stage.prepare(self.context)
        return stage, training, copied(training.model)

    def initial(self, seed=None):
        """The network of the study at initial weights: by default those of replicate 0."""
        seed = RunSeeds.of(0, 0).initialisation if seed is None else seed
        return build_model("resnet8", width=4, in_channels=1, image_size=8, seed=seed)


def copied(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.fixture(scope="session")
def tiny(plan_tiny):
    return TinyStudy(plan_tiny(*SETTINGS))


@pytest.fixture(scope="session")
def same():
    """Whether two mappings hold the same tensors, to the bit."""

    def of(one, other):
        return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)

    return of


@pytest.fixture(scope="session")
def pretended():
    """A training that did nothing: its weights are those of the model, and it measured one number."""

    def of(training):
        return Trained(
            copied(training.model),
            {},
            trace=(TraceRow(12, "accuracy", "test", 0.25),),
            examples_seen=80,
            unique_examples=70,
            kernels="imaginary",
        )

    return of
