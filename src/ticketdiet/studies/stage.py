"""A stage: the smallest piece of work that is planned, stored and resumed. A frozen value that can be sent anywhere.

Every kind of stage is a dataclass in a file of its own under ``stages``. Its fields are of three sorts: what can change
a number (the identity), addresses of the results that it consumes (inputs, ``metadata=INPUT``), and what cannot change
a number, such as where the images lie and who uses the result (``metadata=ASIDE``). The address is the hash of the
kind, its version, the identity and the inputs.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import Tensor, nn

from ticketdiet.core.addresses import address_of
from ticketdiet.core.seeds import RunSeeds
from ticketdiet.core.values import Images, Mask
from ticketdiet.store.manifest import Manifest
from ticketdiet.studies.network import Cost, Network
from ticketdiet.studies.schema import DatasetSpec
from ticketdiet.training.batches import BatchSource
from ticketdiet.training.loop import Trained
from ticketdiet.training.observers import Observer
from ticketdiet.training.recipe import Recipe

if TYPE_CHECKING:
    from ticketdiet.studies.context import Context

INPUT = {"sort": "input"}  # an address, a tuple of them, or None; its role is the name of the field
INPUTS_BY_ROLE = {"sort": "input", "roles": "own"}  # a mapping of roles to addresses
ASIDE = {"sort": "aside"}
_AS_IT_IS = (str, int, float, type(None))  # most values, so that a plan of thousands of stages looks at them first

Row = Mapping[str, Any]
S = TypeVar("S", bound="Stage")


@dataclass(frozen=True)
class Use:
    """Who in the study uses a stage: arm, replicate and level, for people and tables.

    Attributes:
        arm: Name of the arm; the name of the score for scoring stages.
        replicate: From 0; -1 where it has no meaning, as for scores that all replicates share.
        level: From 0; -1 where it has no meaning.
        through: The arm only passes through this stage on its way, and its measurements are not the arm's.
        model: Index of the model of a score, from 0; -1 elsewhere.
    """

    arm: str
    replicate: int = -1
    level: int = -1
    through: bool = False
    model: int = -1


@dataclass(frozen=True, eq=False)
class Training:
    """A training that is ready to begin, with all that it depends on.

    Attributes:
        model: The network at the weights to start from, on the device to train on; it is trained in place.
        images: Training images with the labels to train on.
        recipe: How to train.
        seeds: Seeds of data order and augmentation.
        start_step: Step of the weights: 0, or that of the rewinding point.
        stop_step: Step to stop at; None for all of the recipe.
        mask: Mask to train under, or None for a dense training.
        examples: int64 indices of the subset to train on, or None for all images.
        batches: Where the batches come from instead of ``images`` and ``examples``.
        observers: What else happens at a step.
    """

    model: nn.Module
    images: Images
    recipe: Recipe
    seeds: RunSeeds
    start_step: int = 0
    stop_step: int | None = None
    mask: Mask | None = None
    examples: np.ndarray | None = None
    batches: BatchSource | None = None
    observers: tuple[Observer, ...] = ()


@dataclass(frozen=True, eq=False)
class Result:
    """What a stage gives, before it is stored.

    Attributes:
        tensors: File stem -> tensors by name.
        rows: Measurements: step, metric, split, value, and what a metric needs besides (tolerance, pair).
        facts: Other things worth knowing, JSON-able.
        warnings: For the user, one sentence each.
    """

    tensors: Mapping[str, Mapping[str, Tensor]]
    rows: tuple[Row, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class Stage(ABC):
    """Base of all kinds of stage: of those that train (``TrainingStage``) and of those that do not (``ComputedStage``).

    Attributes:
        data: Fingerprint of every split of the images that the stage reads.
        dataset: Where these images are to be had.
        uses: Who uses the result; the first is the one to show.
        cost: What the stage takes.
        path: Where a file of the user's lies; its checksum is in the identity.
    """

    kind: ClassVar[str]
    version: ClassVar[int]
    __pydantic_config__ = ConfigDict(extra="forbid")

    data: Mapping[str, str]
    dataset: DatasetSpec = field(metadata=ASIDE)
    uses: tuple[Use, ...] = field(default=(), metadata=ASIDE)
    cost: Cost = field(default=Cost(), metadata=ASIDE)
    path: str | None = field(default=None, metadata=ASIDE)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """JSON-able fields that can change a number."""
        return {name: plain(getattr(self, name)) for name in _names(type(self), None)}

    @cached_property
    def inputs(self) -> dict[str, str]:
        """Role -> address of every result that the stage consumes; numbered roles for an input of several."""
        return dict(_inputs_of(self))

    @cached_property
    def address(self) -> str:
        """Identity of the result: 24 hexadecimal digits."""
        return address_of(self.kind, self.version, self.identity, self.inputs)

    @property
    def label(self) -> str:
        """The stage in words, for progress and messages."""
        name = self.kind.replace("_", " ")
        if not self.uses:
            return f"{name} {self.address[:8]}"
        use = self.uses[0]
        parts = [name, use.arm]
        parts += [f"replicate {use.replicate}"] if use.replicate >= 0 else []
        parts += [f"level {use.level}"] if use.level >= 0 else []
        parts += [f"model {use.model}"] if use.model >= 0 else []
        return " · ".join(parts)

    @classmethod
    def of_manifest(cls: type[S], manifest: Manifest, dataset: DatasetSpec) -> S:
        """Read the stage back from the manifest of its result.

        Args:
            manifest: What the result says about itself.
            dataset: Where its images are to be had, which no manifest says.

        Returns:
            The stage, with the address of its result.

        Raises:
            ValueError: When the manifest is of another version of this kind.
        """
        inputs = dict(manifest.inputs)
        values: dict[str, Any] = {}
        for name in _names(cls, "input"):
            numbered = sorted(role for role in inputs if role != name and role.rstrip("0123456789") == name)
            values[name] = tuple(inputs.pop(role) for role in numbered) if numbered else inputs.pop(name, None)
        values |= {field.name: inputs for field in dataclasses.fields(cls) if "roles" in field.metadata}
        return cls.of_fields({**manifest.spec, **values, "dataset": dataset})

    @classmethod
    def of_fields(cls: type[S], values: Mapping[str, Any]) -> S:
        """Return a stage made from JSON-able fields, as :meth:`fields` gives them.

        Raises:
            ValueError: When they are not those of this kind.
        """
        try:
            stage: S = _adapter(cls).validate_python(values)
        except ValidationError as error:
            raise ValueError(f"These are not the fields of a stage of kind {cls.kind!r}: {error}") from None
        return stage

    def fields(self) -> dict[str, Any]:
        """All fields, JSON-able, those that are no part of the identity included."""
        return {name: plain(getattr(self, name)) for name in _all_names(type(self))}


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainingStage(Stage):
    """A stage that trains a network: ``prepare``, then the training, then ``finish``.

    Attributes:
        network: Which network.
        recipe: How it is trained.
    """

    network: Network
    recipe: Recipe

    @abstractmethod
    def prepare(self, context: Context) -> Training:
        """Read what the training needs."""

    @abstractmethod
    def finish(self, context: Context, training: Training, trained: Trained) -> Result:
        """Turn the outcome of the training into what is stored."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ComputedStage(Stage):
    """A stage that chooses or measures something, and trains nothing."""

    @abstractmethod
    def compute(self, context: Context) -> Result:
        """Compute what is stored."""


def plain(value: Any) -> Any:
    """Return ``value`` as JSON knows it; of a recipe only what can change a number."""
    if isinstance(value, _AS_IT_IS):
        return value
    if isinstance(value, Recipe):
        return value.identity()
    if isinstance(value, DatasetSpec):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: plain(getattr(value, name)) for name in _all_names(type(value))}
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [plain(inner) for inner in value]
    return value


@cache
def _all_names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


@cache
def _names(kind: type[Stage], sort: str | None) -> tuple[str, ...]:
    """Names of the fields of one sort; None for the identity."""
    return tuple(field.name for field in dataclasses.fields(kind) if field.metadata.get("sort") == sort)


@cache
def _adapter(kind: type[S]) -> TypeAdapter[S]:
    return TypeAdapter(kind)


def _inputs_of(stage: Stage) -> Iterator[tuple[str, str]]:
    for name in _names(type(stage), "input"):
        value = getattr(stage, name)
        if isinstance(value, str):
            yield name, value
        elif isinstance(value, Mapping):
            yield from value.items()
        elif value is not None:
            yield from ((f"{name}{number:03d}", address) for number, address in enumerate(value))
