"""The parts of a config: its datasets, arms of students, untrained networks, and theory.

`kdlm.study.config` puts them together to a study, and `kdlm.study.agreement` checks what one part
says about another.
"""

import math
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, model_validator

from kdlm.study import names
from kdlm.study.complaints import Location, refuse
from kdlm.study.specs import (
    LARGEST_JITTER,
    Architecture,
    DatasetName,
    Initialisation,
    Loss,
    Means,
    Name,
    Number,
    Seed,
    Spec,
    Temperature,
)

__all__ = ["MOST_JOBS", "Arm", "DatasetConfig", "InitMeans", "Theory", "some"]

T = TypeVar("T")


def _distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    seen = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{value} is given twice")
        seen.add(value)
    return values


def some(description: str) -> Any:
    """Return the field of a list that must not be empty."""
    return Field(min_length=1, description=description)


def _gap(value: float) -> float:
    if not abs(value) <= 1e6:
        raise ValueError(f"a mean gap is a finite number of logits, 1e6 at most, not {value:g}")
    return value


def _jitter(value: float) -> float:
    if not 0 <= value <= LARGEST_JITTER:
        raise ValueError(
            f"a relative perturbation is 0, or a positive number up to {LARGEST_JITTER}, "
            f"not {value:g}"
        )
    return value


def _path(value: str) -> str:
    try:
        if value and b"\0" not in value.encode():
            return value
    except UnicodeEncodeError:
        # YAML and JSON can contain a lone surrogate, which UTF-8 cannot encode.
        pass
    raise ValueError(f"{value!r} cannot be a path")


MOST_JOBS = 100_000
"""Largest number of jobs of one kind; Snakemake's graph of more would not fit into memory."""

_LAYER_SEEDS = 100
"""Seeds that record every layer by default.

Only claim ``prop1-conv`` needs them. Its statistic has an sd over seeds of 0.04 at most in the
networks of Table 1, so its margin of 0.05 is twelve standard errors.
"""


class DatasetConfig(Spec):
    """Where images come from."""

    name: DatasetName = Field(description="a name of kdlm.study.names.DATASETS")
    root: Annotated[str, AfterValidator(_path)] | None = Field(
        default=None,
        max_length=4096,
        description="folder of the raw files; not for digits, photographs and scikit-image, which "
        "ship with a Python package",
    )
    download: bool = Field(default=True, description="fetch the raw files where they are missing")
    image_side: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="imagefolder only: side in pixels that images are resized to",
    )
    train_images: int | None = Field(
        default=None,
        ge=2,
        le=1_000_000_000,
        description="train on the first so many images of the training set, in the order of its "
        "files; all of the test set is kept; not for imagefolder, whose images are sorted by class",
    )

    @model_validator(mode="after")
    def _facts(self) -> "DatasetConfig":
        fixed = names.DATASETS[self.name].image_side
        problems: list[tuple[Location, str]] = []
        if fixed is not None and self.image_side is not None:
            text = f"it is fixed at {fixed} for {self.name}; leave it out"
            problems.append((("image_side",), text))
        elif fixed is None and self.image_side is None:
            problems.append((("image_side",), f"this key is needed for {self.name}"))
        elif self.side < names.MINIMUM_IMAGE_SIDE:
            text = (
                f"{self.side} is too small for the networks, which halve the image twice; it must "
                f"be at least {names.MINIMUM_IMAGE_SIDE}"
            )
            problems.append((("image_side",), text))
        package = names.DATASETS[self.name].ships_with
        if package and self.root is not None:
            text = f"it is not for {self.name}, which ships with {package}; leave it out"
            problems.append((("root",), text))
        if not package and self.root is None:
            text = f"this key is needed for {self.name}: the folder of its raw files"
            problems.append((("root",), text))
        known = names.DATASETS[self.name].train_images
        if self.train_images is not None and known is None:
            text = (
                f"it is not for {self.name}, whose images are sorted by class; put fewer images "
                f"into the folder"
            )
            problems.append((("train_images",), text))
        if self.train_images is not None and known is not None and self.train_images > known:
            problems.append((("train_images",), f"{self.name} has {known} training images"))
        refuse(type(self), problems)
        return self

    @property
    def training_images(self) -> int | None:
        """Number of images trained on; None where it depends on a folder."""
        return self.train_images or names.DATASETS[self.name].train_images

    @property
    def label(self) -> str:
        """The dataset in words, with the part of its training images that is used."""
        if self.train_images is None:
            return self.name
        return f"{self.name}, first {self.train_images:,} training images"

    @property
    def side(self) -> int:
        """Image side in pixels."""
        return self.image_side or names.DATASETS[self.name].image_side or 0


class Arm(Spec):
    """Students of one teacher: every combination of the lists."""

    teacher: str = Field(
        description="<architecture>-<initialisation>-<recipe> of a teacher, or "
        "<architecture>-brought-<known_as> of one that was brought along"
    )
    teacher_seed: Seed = Field(default=0, description="the teacher's seed")
    architecture: Architecture = Field(description="a name of kdlm.study.names.ARCHITECTURES")
    initialisation: Initialisation = Field(description="how the weights are drawn")
    recipe: Name = Field(description="a name under recipes")
    losses: Annotated[tuple[Loss, ...], AfterValidator(_distinct)] = some(
        "names of kdlm.losses.LOSSES"
    )
    temperatures: Annotated[tuple[Temperature, ...], AfterValidator(_distinct)] = Field(
        default=(),
        description="of the losses that have one (kd and its kin), and only for them; a positive "
        "number or inf",
    )
    means: Annotated[tuple[Means, ...], AfterValidator(_distinct)] = Field(
        default=("trained-teacher",),
        min_length=1,
        description="whose mean logit is c^t: the trained-teacher's, or the untrained-teacher's as "
        "the paper's text has it; natural imposes no gap at all, and takes none",
    )
    mean_gaps: Annotated[
        tuple[Annotated[Number, AfterValidator(_gap)], ...], AfterValidator(_distinct)
    ] = Field(
        default=(0.0,),
        min_length=1,
        description="training-set means of c^s - c^t imposed before training, in logits; "
        "0 is the paper's equal-mean initialisation, made exact",
    )
    perturbations: Annotated[
        tuple[Annotated[int, Field(ge=0, le=10_000, strict=True)], ...], AfterValidator(_distinct)
    ] = Field(
        default=(0,),
        min_length=1,
        description="units in the last place added to every initial weight",
    )
    relative_perturbations: Annotated[
        tuple[Annotated[Number, AfterValidator(_jitter)], ...], AfterValidator(_distinct)
    ] = Field(
        default=(0.0,),
        min_length=1,
        description="rungs of the ladder: every initial weight w becomes w (1 + e x), x = 1 or -1 "
        "at random; a distance between two losses is read off as the e that does the same",
    )
    seeds: Annotated[tuple[Seed, ...], AfterValidator(_distinct)] = some(
        "of weights, batch order and augmentation"
    )

    @model_validator(mode="after")
    def _keys_fit_together(self) -> "Arm":
        problems: list[tuple[Location, str]] = []
        tempered = [loss for loss in self.losses if names.LOSSES[loss].tempered]
        if tempered and not self.temperatures:
            problems.append((("temperatures",), f"they are needed by {tempered[0]}"))
        if self.temperatures and not tempered:
            known = ", ".join(loss for loss, facts in names.LOSSES.items() if facts.tempered)
            text = f"no loss of this arm has a temperature; these have: {known}"
            problems.append((("temperatures",), text))
        if any(self.perturbations) and any(self.relative_perturbations):
            text = "not in an arm that has perturbations; make two arms"
            problems.append((("relative_perturbations",), text))
        if "natural" in self.means and self.mean_gaps != (0.0,):
            text = "natural means impose no gap; make an arm of its own for them"
            problems.append((("mean_gaps",), text))
        refuse(type(self), problems)
        return self

    def temperatures_of(self, loss: str) -> tuple[float, ...]:
        """Return the temperatures at which the arm trains with ``loss``.

        They are those of the arm, or the fixed temperature of a loss that takes none.
        """
        facts = names.LOSSES[loss]
        return self.temperatures if facts.tempered else (facts.fixed_temperature,)

    @property
    def students(self) -> int:
        """Number of the arm's students."""
        pairs = sum(len(self.temperatures_of(loss)) for loss in self.losses)
        moved = len(self.perturbations) * len(self.relative_perturbations)
        return pairs * len(self.means) * len(self.mean_gaps) * moved * len(self.seeds)


class InitMeans(Spec):
    """Mean logits at initialisation, Proposition 1 and Table 1."""

    dataset: DatasetConfig = Field(description="where the images come from")
    images: int = Field(
        ge=2, le=1_000_000, description="number of images, the first of the training set"
    )
    num_classes: int = Field(
        ge=2, le=1_000_000, description="outputs of the untrained networks; 100 in Table 1"
    )
    architectures: Annotated[tuple[Architecture, ...], AfterValidator(_distinct)] = some(
        "names of kdlm.study.names.ARCHITECTURES"
    )
    initialisations: Annotated[tuple[Initialisation, ...], AfterValidator(_distinct)] = some(
        "how weights are drawn"
    )
    batchnorm: Annotated[tuple[Literal["train", "eval"], ...], AfterValidator(_distinct)] = some(
        "modes of the BatchNorm layers"
    )
    seeds: int = Field(ge=2, le=1_000_000, description="number of seeds for each combination")
    layer_seeds: int = Field(
        default_factory=lambda config: min(config["seeds"], _LAYER_SEEDS),
        ge=0,
        le=1_000_000,
        description="how many of the seeds, from 0 on, record every layer, as claim prop1-conv "
        "needs; the others record the logits only, which is faster. Default: the first "
        f"{_LAYER_SEEDS}, or all where there are fewer",
    )
    shard_size: int = Field(ge=1, le=1_000_000, description="seeds a job")

    @model_validator(mode="after")
    def _bounded(self) -> "InitMeans":
        problems: list[tuple[Location, str]] = []
        if self.layer_seeds > self.seeds:
            text = f"layers can be recorded for at most all of the {self.seeds} seeds"
            problems.append((("layer_seeds",), f"{text}, not for {self.layer_seeds}"))
        known = self.dataset.training_images
        if known is not None and self.images > known:
            of = f"{self.dataset.name} has" if self.dataset.train_images is None else "there are"
            text = f"{of} {known} training images, not {self.images}"
            problems.append((("images",), text))
        shards = -(-self.seeds // self.shard_size)
        jobs = shards * math.prod(
            len(each) for each in (self.architectures, self.initialisations, self.batchnorm)
        )
        if jobs > MOST_JOBS:
            text = f"{self.shard_size} seeds a job make {jobs} jobs; at most {MOST_JOBS}"
            problems.append((("shard_size",), text))
        refuse(type(self), problems)
        return self


class Theory(Spec):
    """The gradient's limit and the identities."""

    temperatures: Annotated[tuple[Temperature, ...], AfterValidator(_distinct)] = some(
        "at which the gradient is compared with its limit"
    )
    samples: int = Field(
        ge=2, le=1_000_000, description="random logits, or test images, for each case"
    )
    seed: Seed = Field(default=0, description="of the random logits")
