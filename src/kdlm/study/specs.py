"""Specs: for each job, the part of the config that decides its result, frozen and validated.

A rule passes the spec as canonical JSON to the job's command line, and the job writes it into the
metadata of its Parquet files.
"""

import math
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AllowInfNan,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)

from kdlm.errors import InputError
from kdlm.study import names
from kdlm.study.complaints import marked, nearest, refuse

__all__ = [
    "LARGEST_JITTER",
    "AnswersSpec",
    "Architecture",
    "BroughtTeacherSpec",
    "DatasetName",
    "InitMeansSpec",
    "Initialisation",
    "Loss",
    "Means",
    "Name",
    "Normalisation",
    "Recipe",
    "Schedule",
    "Seed",
    "Spec",
    "StudentSpec",
    "TeacherSpec",
    "Temperature",
    "Threads",
    "ViewsSpec",
    "format_number",
]

LARGEST_JITTER = 0.1
"""Largest relative perturbation; larger ones make another initialisation, not a perturbed one."""

_MOST = 1_000_000
"""Largest number of epochs, images in a batch or seeds in a job."""


def format_number(number: float) -> str:
    """Return the text of a number in paths and specs: ``4``, ``0.5``, ``10000``, ``inf``."""
    return str(int(number)) if math.isfinite(number) and number == int(number) else repr(number)


def _to_number(value: Any) -> Any:
    # YAML reads 1e4 and inf as text; its numbers are 1.0e+4 and .inf.
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise ValueError(f"{value!r} is not a number") from None
    return value


def _known(kind: str, known: Collection[str]) -> Any:
    """Return a validator that refuses a name which is not in ``known``, with all known names."""

    def check(value: str) -> str:
        if value not in known:
            near = nearest(value, known)
            hint = f"did you mean {near!r}? " if near else ""
            raise ValueError(f"unknown {kind} {value!r}; {hint}known: {', '.join(known)}")
        return value

    return AfterValidator(check)


def _listed(known: Collection[str]) -> Any:
    """Return what lists ``known`` in the JSON schema, so that editors complete the names."""
    return Field(json_schema_extra={"enum": [*known]})


def _temperature(value: float) -> float:
    if not value > 0:
        raise ValueError(f"a temperature is a positive number or inf, not {format_number(value)}")
    if not (1e-9 <= value <= 1e30 or math.isinf(value)):
        raise ValueError(f"a temperature is at least 1e-9, and at most 1e30 or inf, not {value:g}")
    return value


Architecture = Annotated[
    str, _known("architecture", names.ARCHITECTURES), _listed(names.ARCHITECTURES)
]
DatasetName = Annotated[str, _known("dataset", names.DATASETS), _listed(names.DATASETS)]
Initialisation = Annotated[
    str, _known("initialisation", names.INITIALISATIONS), _listed(names.INITIALISATIONS)
]
Loss = Annotated[str, _known("loss", names.LOSSES), _listed(names.LOSSES)]
Means = Annotated[str, _known("means", names.MEANS), _listed(names.MEANS)]
Number = Annotated[
    float,
    AllowInfNan(True),
    BeforeValidator(_to_number, json_schema_input_type=float | str),
    PlainSerializer(lambda x: format_number(x) if math.isinf(x) else x),
]
Temperature = Annotated[Number, AfterValidator(_temperature)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.]*$", max_length=100)]
# Tables store seeds as 64-bit integers.
Seed = Annotated[int, Field(ge=0, lt=2**63, strict=True)]
Threads = Annotated[int, Field(ge=1, le=1024, strict=True)]
CropPadding = Annotated[int, Field(ge=0, le=64, strict=True)]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "float64", "bfloat16"]


class Spec(BaseModel):
    """Base of all config and spec models; frozen, and without unknown keys, NaN and infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _truth_is_no_number(cls, data: Any) -> Any:
        """Mark true and false at keys that are not boolean; Python takes them for 1 and 0."""
        if not isinstance(data, Mapping):
            return data
        return {
            key: value
            if (field := cls.model_fields.get(key)) is None or field.annotation is bool
            else marked(value)
            for key, value in data.items()
        }

    def canonical_json(self) -> str:
        """Return the spec as JSON text with sorted keys; equal specs give equal text."""
        import json  # noqa: PLC0415

        return json.dumps(self.model_dump(mode="json"), sort_keys=True)


class Normalisation(Spec):
    """What a network subtracts from each channel of its images, and divides it by."""

    mean: tuple[float, ...] = Field(min_length=1, description="a channel, pixels from 0 to 1")
    sd: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        min_length=1, description="a channel, pixels from 0 to 1"
    )


class Schedule(Spec):
    """Learning rate over the epochs."""

    name: Literal["constant", "step", "cosine"] = Field(
        description="constant; step: times factor at each milestone; cosine: to 0 over all epochs"
    )
    milestones: tuple[Annotated[int, Field(ge=1, le=_MOST)], ...] = Field(
        default=(), description="step only: the epochs after which the rate drops"
    )
    factor: float = Field(
        default=0.1, gt=0, le=1, description="step only: what the rate is multiplied by"
    )

    @model_validator(mode="after")
    def _milestones_belong_to_steps(self) -> "Schedule":
        problems = []
        if (self.name == "step") != bool(self.milestones):
            problems.append("they are given for the step schedule, and only for it")
        if list(self.milestones) != sorted(set(self.milestones)):
            problems.append(f"they must rise, unlike {list(self.milestones)}")
        refuse(type(self), ((("milestones",), text) for text in problems))
        return self


class Recipe(Spec):
    """How a network is trained."""

    optimizer: Literal["sgd", "adam", "adamw"] = Field(
        description="sgd and adam couple the weight decay into the gradient, adamw does not"
    )
    learning_rate: float = Field(gt=0, le=1e30, description="initial learning rate")
    momentum: float = Field(default=0.0, ge=0, lt=1, description="sgd only")
    nesterov: bool = Field(default=False, description="sgd only: Nesterov's form of the momentum")
    weight_decay: float = Field(ge=0, le=1e30, description="on every parameter; 0 switches it off")
    schedule: Schedule = Field(description="learning rate over the epochs")
    epochs: int = Field(ge=1, le=_MOST, description="passes over the training set")
    batch_size: int = Field(
        ge=2, le=_MOST, description="images a step; the last, smaller batch is kept, but not of one"
    )
    augment: bool = Field(description="the dataset's crops and flips")
    ce_weight: float = Field(
        default=0.0, ge=0, le=1, description="weight w of CE: w CE + (1 - w) loss; ignored by ce"
    )
    precision: Precision = Field(
        default="float32", description="bfloat16 is autocast over float32 weights"
    )

    @model_validator(mode="after")
    def _momentum_is_of_sgd(self) -> "Recipe":
        problems = []
        if self.optimizer != "sgd":
            problems += [
                ((key,), f"it is for sgd, not for {self.optimizer}; leave it out")
                for key in ("momentum", "nesterov")
                if getattr(self, key)
            ]
        elif self.nesterov and not self.momentum:
            problems.append((("momentum",), "nesterov needs one above 0"))
        refuse(type(self), problems)
        return self

    @property
    def rounding(self) -> float:
        """Spacing at 1 of the numbers in the type of the weights: 2⁻⁵² (float64) or 2⁻²³."""
        return 2.0**-52 if self.precision == "float64" else 2.0**-23

    def last_image(self, images: int) -> str | None:
        """Return what is wrong with the batch size for ``images`` training images; None if nothing.

        A last batch of a single image has no statistics for BatchNorm.
        """
        if images % self.batch_size != 1:
            return None
        return (
            f"{images} training images in batches of {self.batch_size} leave one image for the "
            f"last batch, too few for BatchNorm; choose another batch_size"
        )

    def refuse_last_image(self, images: int) -> None:
        """Check that the last batch of ``images`` training images has more than one image.

        Raises:
            InputError: it has a single image.

        """
        if text := self.last_image(images):
            raise InputError(f"batch_size: {text}")


class ViewsSpec(Spec):
    """All that the images of a training depend on, batch by batch, besides the dataset."""

    epochs: int = Field(ge=1, le=_MOST)
    batch_size: int = Field(ge=2, le=_MOST)
    augment: bool
    crop_padding: CropPadding
    flip: bool
    precision: Precision
    seed: Seed


class AnswersSpec(ViewsSpec):
    """The spec of a teacher's answers: its logits for the views of all students of one seed."""

    device: Device
    threads: Threads


class _NetworkSpec(Spec):
    architecture: Architecture
    initialisation: Initialisation
    recipe: Recipe
    crop_padding: CropPadding
    flip: bool
    seed: Seed
    device: Device
    threads: Threads

    @property
    def views(self) -> ViewsSpec:
        """The part of the spec that the images of the training depend on."""
        return ViewsSpec(
            epochs=self.recipe.epochs,
            batch_size=self.recipe.batch_size,
            augment=self.recipe.augment,
            crop_padding=self.crop_padding,
            flip=self.flip,
            precision=self.recipe.precision,
            seed=self.seed,
        )


class TeacherSpec(_NetworkSpec):
    """The spec of a teacher's training."""


class BroughtTeacherSpec(Spec):
    """The spec of a teacher that was trained elsewhere; ``sha256`` is that of its weight file."""

    architecture: Architecture
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    accuracy: float | None = Field(default=None, ge=0, le=1)
    normalisation: "Normalisation | None" = None
    device: Device
    threads: Threads


class StudentSpec(_NetworkSpec):
    """The spec of a student's training."""

    loss: Loss
    temperature: Temperature
    means: Means = "trained-teacher"
    mean_gap: Number
    perturbation: int = Field(ge=0, le=10_000)
    relative_perturbation: float = Field(default=0.0, ge=0, le=LARGEST_JITTER)


class InitMeansSpec(Spec):
    """The spec of a shard of initialisation means.

    Its seeds are ``first_seed`` to ``first_seed + seeds - 1``. The first ``layer_seeds`` of them
    record every layer, which is all of them if the key is not given; the others record the logits.
    """

    architecture: Architecture
    initialisation: Initialisation
    batchnorm: Literal["train", "eval"]
    first_seed: Seed
    seeds: int = Field(ge=1, le=_MOST)
    layer_seeds: int = Field(default_factory=lambda spec: spec["seeds"], ge=0, le=_MOST)
    images: int = Field(ge=2, le=_MOST)
    num_classes: int = Field(ge=2, le=_MOST)
    threads: Threads

    @model_validator(mode="after")
    def _layers_of_its_own_seeds(self) -> "InitMeansSpec":
        if self.layer_seeds > self.seeds:
            text = f"layers can be recorded for at most all of the {self.seeds} seeds"
            refuse(type(self), [(("layer_seeds",), f"{text}, not for {self.layer_seeds}")])
        return self
