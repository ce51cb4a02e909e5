"""The study's config: read and validated. Imports neither torch nor pyarrow.

`kdlm.study.jobs` unfolds a config into the jobs that it asks for.

The models below are the one description of every key; workflow/schemas/config.schema.yaml is
generated from them (``python -m kdlm schema``), and a test holds the two together.
"""

import difflib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from kdlm.errors import InputError
from kdlm.study import names
from kdlm.study.specs import (
    Architecture,
    Initialisation,
    Loss,
    Number,
    Recipe,
    Spec,
    Temperature,
    spell,
)
from kdlm.study.tolerances import TOLERANCES, Tolerances

__all__ = [
    "Arm",
    "DatasetConfig",
    "InitMeans",
    "Margins",
    "Study",
    "Teacher",
    "parse",
    "read_study",
    "schema",
]

T = TypeVar("T")


def _distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    for position, value in enumerate(values):
        if value in values[:position]:
            raise ValueError(f"{value} is given twice")
    return values


def _some(description: str) -> Any:
    return Field(min_length=1, description=description)


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"a mean gap is a finite number of logits, not {spell(value)}")
    return value


Seed = Annotated[int, Field(ge=0, strict=True)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.]*$")]


class DatasetConfig(Spec):
    """Where images come from."""

    name: str = Field(description=f"one of {', '.join(names.DATASETS)}")
    root: str | None = Field(
        default=None,
        description="folder of the raw files; not for digits and photographs, which ship with "
        "scikit-learn",
    )
    download: bool = Field(default=True, description="fetch the raw files where they are missing")
    image_side: int | None = Field(
        default=None, description="imagefolder only: side in pixels that images are resized to"
    )

    @model_validator(mode="after")
    def _facts(self) -> "DatasetConfig":
        if self.name not in names.DATASETS:
            raise ValueError(f"unknown dataset {self.name!r}; known: {', '.join(names.DATASETS)}")
        fixed = names.DATASETS[self.name].image_side
        if fixed is not None and self.image_side is not None:
            raise ValueError(f"image_side is fixed at {fixed} for {self.name}; leave it out")
        if fixed is None and self.image_side is None:
            raise ValueError(f"image_side is needed for {self.name}")
        if self.side < names.MINIMUM_IMAGE_SIDE:
            raise ValueError(
                f"image_side {self.side} is too small for the networks, which halve the image "
                f"twice; it must be at least {names.MINIMUM_IMAGE_SIDE}"
            )
        bundled = self.name in ("digits", "photographs")
        if bundled and self.root is not None:
            raise ValueError(f"root is not for {self.name}, which ships with scikit-learn")
        if not bundled and self.root is None:
            raise ValueError(f"root is needed for {self.name}: the folder of its raw files")
        return self

    @property
    def side(self) -> int:
        """Image side in pixels."""
        return self.image_side or names.DATASETS[self.name].image_side or 0


class Teacher(Spec):
    """One teacher; students name it ``<architecture>-<initialisation>-<recipe>``."""

    architecture: Architecture = Field(description="a name of kdlm.study.names.ARCHITECTURES")
    initialisation: Initialisation = Field(description="how the weights are drawn")
    recipe: Name = Field(description="a name under recipes")
    seed: Seed = Field(default=0, description="of weights, batch order and augmentation")

    @property
    def name(self) -> str:
        """What arms call this teacher."""
        return f"{self.architecture}-{self.initialisation}-{self.recipe}"


class Arm(Spec):
    """Students of one teacher: every combination of the lists."""

    teacher: str = Field(description="<architecture>-<initialisation>-<recipe> of a teacher")
    teacher_seed: Seed = Field(default=0, description="the teacher's seed")
    architecture: Architecture = Field(description="a name of kdlm.study.names.ARCHITECTURES")
    initialisation: Initialisation = Field(description="how the weights are drawn")
    recipe: Name = Field(description="a name under recipes")
    losses: Annotated[tuple[Loss, ...], AfterValidator(_distinct)] = _some(
        "names of kdlm.losses.LOSSES"
    )
    temperatures: Annotated[tuple[Temperature, ...], AfterValidator(_distinct)] = Field(
        default=(),
        description="of the losses that have one (kd and its kin), and only for them; a positive "
        "number or inf",
    )
    mean_gaps: Annotated[
        tuple[Annotated[Number, AfterValidator(_finite)], ...], AfterValidator(_distinct)
    ] = Field(
        default=(0.0,),
        min_length=1,
        description="training-set means of c^s - c^t imposed before training, in logits; "
        "0 is the paper's equal-mean initialisation, made exact",
    )
    perturbations: Annotated[
        tuple[Annotated[int, Field(ge=0, strict=True)], ...], AfterValidator(_distinct)
    ] = Field(
        default=(0,),
        min_length=1,
        description="units in the last place added to every initial weight; 1 is the control "
        "that gives the rounding floor",
    )
    seeds: Annotated[tuple[Seed, ...], AfterValidator(_distinct)] = _some(
        "of weights, batch order and augmentation"
    )

    @model_validator(mode="after")
    def _temperatures_belong_to_tempered_losses(self) -> "Arm":
        tempered = [loss for loss in self.losses if names.LOSSES[loss].tempered]
        if bool(tempered) != bool(self.temperatures):
            known = ", ".join(loss for loss, facts in names.LOSSES.items() if facts.tempered)
            raise ValueError(
                f"temperatures are needed by {tempered[0]}, and are not given"
                if tempered
                else f"temperatures are given, but no loss of this arm has one; these have: {known}"
            )
        return self

    def temperatures_of(self, loss: str) -> tuple[float, ...]:
        """The temperatures a loss is run at: the arm's, or the one that is fixed for the loss."""
        facts = names.LOSSES[loss]
        return self.temperatures if facts.tempered else (facts.fixed_temperature,)


class InitMeans(Spec):
    """Mean logits at initialisation, Proposition 1 and Table 1."""

    dataset: DatasetConfig = Field(description="where the images come from")
    images: int = Field(ge=2, description="number of images, the first of the training set")
    num_classes: int = Field(ge=2, description="outputs of the untrained networks; 100 in Table 1")
    architectures: Annotated[tuple[Architecture, ...], AfterValidator(_distinct)] = _some(
        "names of kdlm.study.names.ARCHITECTURES"
    )
    initialisations: Annotated[tuple[Initialisation, ...], AfterValidator(_distinct)] = _some(
        "how weights are drawn"
    )
    batchnorm: Annotated[tuple[Literal["train", "eval"], ...], AfterValidator(_distinct)] = _some(
        "modes of the BatchNorm layers"
    )
    seeds: int = Field(ge=2, description="number of seeds for each combination")
    shard_size: int = Field(ge=1, description="seeds a job")


class Theory(Spec):
    """The gradient's limit and the identities."""

    temperatures: Annotated[tuple[Temperature, ...], AfterValidator(_distinct)] = _some(
        "at which the gradient is compared with its limit"
    )
    samples: int = Field(ge=2, description="random logits, or test images, for each case")
    seed: Seed = Field(default=0, description="of the random logits")


class Margins(Spec):
    """What counts as equal, fixed before the run; a claim's CI is read against these."""

    identity: float = Field(gt=0, description="relative error of an exact identity in float64")
    limit: float = Field(gt=0, description="relative distance at the largest finite temperature")
    slope: tuple[float, float] = Field(description="log-log slope of the distance to the limit")
    scale: float = Field(gt=1, description="largest ratio of gradient norms over temperatures")
    gradient_sum: float = Field(gt=0, description="|sum g| / sum |g| on a sample's logits")
    drift: float = Field(gt=0, description="drift of the mean logit, in rms of the logits")
    classifier_sum: float = Field(
        gt=0, description="|sum_k dW_k| over sqrt(K) |dW|, which is 1 at most"
    )
    trained: float = Field(
        gt=0, description="distance of two students, in distances of two seeds, that is none"
    )
    rounding: float = Field(
        gt=0, description="the same, for students that should agree to rounding"
    )
    floor: float = Field(
        gt=0, description="the control's distance above which a comparison is inconclusive"
    )
    agreement: float = Field(gt=0, description="share of test images predicted otherwise")
    accuracy: float = Field(gt=0, description="difference of test accuracies")
    shrinkage: float = Field(
        gt=0, lt=1, description="ratio of logit magnitudes below which a term shrinks logits"
    )
    initial_mean: float = Field(gt=0, description="mean logit over seeds, in its predicted sd")
    layer_mean: float = Field(gt=0, description="mean of a layer's output, in its rms")
    plausibility: float = Field(gt=0, lt=1, description="smallest p of a plausible Table 1")


def _fits(key: str, architecture: str, dataset: DatasetConfig) -> None:
    """Refuse images that a network would halve to nothing."""
    least = names.ARCHITECTURES[architecture].minimum_side
    if dataset.side < least:
        raise ValueError(
            f"{key}: {architecture} halves images to nothing unless they have {least} pixels a "
            f"side; those of {dataset.name} have {dataset.side}"
        )


class Study(Spec):
    """A whole study."""

    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] = Field(
        description="name of the folder under results/"
    )
    dataset: DatasetConfig = Field(description="what teachers and students are trained on")
    device: Literal["auto", "cpu", "cuda"] = Field(description="where networks are trained")
    threads: int = Field(
        ge=1, strict=True, description="CPU threads a training job; decides the last bits"
    )
    recipes: dict[Name, Recipe] = _some("named ways to train")
    teachers: tuple[Teacher, ...] = _some("networks to learn from")
    arms: tuple[Arm, ...] = _some("students")
    init_means: InitMeans = Field(description="mean logits at initialisation")
    theory: Theory = Field(description="the gradient's limit and the identities")
    margins: Margins = Field(description="what counts as equal")
    tolerances: Tolerances = Field(
        default=TOLERANCES,
        description="by column, how far a rerun on another machine may be from an archived run",
    )

    @model_validator(mode="after")
    def _references_exist(self) -> "Study":
        teachers = [(teacher.name, teacher.seed) for teacher in self.teachers]
        _distinct(tuple(teachers))
        recipes = [(f"teachers[{i}]", teacher.recipe) for i, teacher in enumerate(self.teachers)]
        recipes += [(f"arms[{i}]", arm.recipe) for i, arm in enumerate(self.arms)]
        for key, recipe in recipes:
            if recipe not in self.recipes:
                raise ValueError(
                    f"{key}.recipe: unknown recipe {recipe!r}; known: {', '.join(self.recipes)}"
                )
        for position, arm in enumerate(self.arms):
            if (arm.teacher, arm.teacher_seed) not in teachers:
                trained = ", ".join(f"{name} with seed {seed}" for name, seed in teachers)
                raise ValueError(
                    f"arms[{position}].teacher: {arm.teacher!r} with seed {arm.teacher_seed} is "
                    f"not trained in this study; trained: {trained}"
                )
        for position, teacher in enumerate(self.teachers):
            _fits(f"teachers[{position}].architecture", teacher.architecture, self.dataset)
        for position, arm in enumerate(self.arms):
            _fits(f"arms[{position}].architecture", arm.architecture, self.dataset)
        for architecture in self.init_means.architectures:
            _fits("init_means.architectures", architecture, self.init_means.dataset)
        other = self.init_means.dataset
        if other.name == self.dataset.name and other != self.dataset:
            raise ValueError(
                f"init_means.dataset: {self.dataset.name} is also the study's dataset, but with "
                f"other settings; they must be the same"
            )
        return self


def _models_at(location: tuple[int | str, ...]) -> list[str]:
    """The keys that are known where an unknown one was found."""
    kind: Any = Study
    for part in location:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = kind.model_fields[str(part)].annotation
        else:
            # an element of a tuple or a value of a dict: the last type argument that is a model
            kind = [argument for argument in get_args(kind) if argument is not Ellipsis][-1]
    return list(kind.model_fields)


def _dotted(location: tuple[int | str, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.lstrip(".")


def _one_line(error: ValidationError) -> str:
    """The first complaint of a validation in the user's words."""
    first = error.errors()[0]
    location, where = first["loc"], _dotted(first["loc"])
    match first["type"]:
        case "extra_forbidden":
            known = _models_at(location[:-1])
            near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
            return f"{where}: unknown key; {hint}"
        case "missing":
            return f"{where}: this key is needed"
        case "too_short":
            return f"{where}: the list is empty"
        case "value_error":
            message = str(first["ctx"]["error"])
            return f"{where}: {message}" if where else message
        case _:
            return f"{where}: {first['msg'][0].lower()}{first['msg'][1:]}, not {first['input']!r}"


def parse(config: Mapping[str, Any]) -> Study:
    """The study that a config asks for.

    Raises:
        InputError: the first thing that is wrong, in one line that names the key.

    """
    try:
        return Study.model_validate(dict(config))
    except ValidationError as error:
        raise InputError(f"config: {_one_line(error)}") from None


def read_study(folder: Path) -> Study:
    """The study in ``folder``, from its resolved config ``study.json``.

    Raises:
        InputError: the file is missing, is not JSON, or holds no config of a study.

    """
    path = folder / "study.json"
    try:
        return parse(json.loads(path.read_text()))
    except FileNotFoundError:
        raise InputError(f"{path} is missing: {folder} is not the folder of a study") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not JSON ({error}); delete it, run snakemake again") from None


def schema() -> dict[str, Any]:
    """The JSON schema of a config."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Study.model_json_schema()
