"""Reading and validating the study's config. Imports neither torch nor pyarrow.

`kdlm.study.jobs` expands a config into the jobs that it asks for.

The models below are the only description of the keys. ``python -m kdlm schema`` generates
workflow/schemas/config.schema.yaml from them, and a test compares the two.
"""

import math
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, ValidationError, model_validator

from kdlm.errors import InputError
from kdlm.study import names
from kdlm.study.complaints import first_complaint
from kdlm.study.margins import Margins
from kdlm.study.repeated import load_json, refuse_repeated_keys
from kdlm.study.specs import (
    LARGEST_JITTER,
    Architecture,
    Initialisation,
    Loss,
    Means,
    Name,
    Number,
    Recipe,
    Seed,
    Spec,
    Temperature,
    Threads,
    refuse_more_layer_seeds,
)
from kdlm.study.teacher import BROUGHT, Teacher
from kdlm.study.tolerances import TOLERANCES, Tolerances

__all__ = [
    "Arm",
    "DatasetConfig",
    "InitMeans",
    "Margins",
    "Study",
    "Teacher",
    "parse",
    "read_config",
    "read_study",
    "schema",
]

T = TypeVar("T")


def _distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    seen = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{value} is given twice")
        seen.add(value)
    return values


def _some(description: str) -> Any:
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


_MOST_BYTES = 100_000_000
"""Largest size of a resolved config."""

_MOST_JOBS = 100_000
"""Largest number of jobs of one kind; Snakemake's graph of more would not fit into memory."""

_LAYER_SEEDS = 100
"""Seeds that record every layer by default.

Only claim ``prop1-conv`` needs them. Its statistic has an sd over seeds of 0.04 at most in the
networks of Table 1, so its margin of 0.05 is twelve standard errors.
"""


class DatasetConfig(Spec):
    """Where images come from."""

    name: str = Field(description=f"one of {', '.join(names.DATASETS)}")
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
        package = names.DATASETS[self.name].ships_with
        if package and self.root is not None:
            raise ValueError(f"root is not for {self.name}, which ships with {package}")
        if not package and self.root is None:
            raise ValueError(f"root is needed for {self.name}: the folder of its raw files")
        return self

    @model_validator(mode="after")
    def _first_of_the_training_images(self) -> "DatasetConfig":
        if self.train_images is None:
            return self
        known = names.DATASETS[self.name].train_images
        if known is None:
            raise ValueError(
                f"train_images is not for {self.name}, whose images are sorted by class; put fewer "
                f"images into the folder"
            )
        if self.train_images > known:
            raise ValueError(f"train_images: {self.name} has {known} training images")
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
    losses: Annotated[tuple[Loss, ...], AfterValidator(_distinct)] = _some(
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

    @model_validator(mode="after")
    def _one_thing_at_a_time(self) -> "Arm":
        if any(self.perturbations) and any(self.relative_perturbations):
            raise ValueError(
                "relative_perturbations: not in an arm that has perturbations; make two arms"
            )
        if "natural" in self.means and self.mean_gaps != (0.0,):
            raise ValueError(
                "mean_gaps: natural means impose no gap; make an arm of its own for them"
            )
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
    architectures: Annotated[tuple[Architecture, ...], AfterValidator(_distinct)] = _some(
        "names of kdlm.study.names.ARCHITECTURES"
    )
    initialisations: Annotated[tuple[Initialisation, ...], AfterValidator(_distinct)] = _some(
        "how weights are drawn"
    )
    batchnorm: Annotated[tuple[Literal["train", "eval"], ...], AfterValidator(_distinct)] = _some(
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
        refuse_more_layer_seeds(self.layer_seeds, self.seeds)
        known = self.dataset.training_images
        if known is not None and self.images > known:
            of = f"{self.dataset.name} has" if self.dataset.train_images is None else "there are"
            raise ValueError(f"images: {of} {known} training images")
        shards = -(-self.seeds // self.shard_size)
        jobs = shards * math.prod(
            len(each) for each in (self.architectures, self.initialisations, self.batchnorm)
        )
        if jobs > _MOST_JOBS:
            raise ValueError(
                f"shard_size: {self.shard_size} seeds a job make {jobs} jobs; at most {_MOST_JOBS}"
            )
        return self


class Theory(Spec):
    """The gradient's limit and the identities."""

    temperatures: Annotated[tuple[Temperature, ...], AfterValidator(_distinct)] = _some(
        "at which the gradient is compared with its limit"
    )
    samples: int = Field(
        ge=2, le=1_000_000, description="random logits, or test images, for each case"
    )
    seed: Seed = Field(default=0, description="of the random logits")


def _fits(key: str, architecture: str, dataset: DatasetConfig) -> None:
    """Check that the images are large enough for a network, which halves them several times.

    Args:
        key: the config's key that names the network, for the message.
        architecture: the network.
        dataset: where its images come from.

    Raises:
        ValueError: the images are too small.

    """
    least = names.ARCHITECTURES[architecture].minimum_side
    if dataset.side < least:
        raise ValueError(
            f"{key}: {architecture} halves images to nothing unless they have {least} pixels a "
            f"side; those of {dataset.name} have {dataset.side}"
        )


class Study(Spec):
    """A whole study."""

    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)] = Field(
        description="name of the folder under results/"
    )
    dataset: DatasetConfig = Field(description="what teachers and students are trained on")
    device: Literal["auto", "cpu", "cuda"] = Field(description="where networks are trained")
    threads: Threads = Field(description="CPU threads a training job; decides the last bits")
    answers: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="whether one job writes a teacher's logits for the views of a seed and its "
        "students read them, to the same bits; auto: where two or more students share them",
    )
    recipes: dict[Name, Recipe] = _some("named ways to train")
    teachers: tuple[Teacher, ...] = _some("networks to learn from")
    arms: tuple[Arm, ...] = _some("students")
    init_means: InitMeans = Field(description="mean logits at initialisation")
    theory: Theory = Field(description="the gradient's limit and the identities")
    margins: Margins = Field(default=Margins(), description="what counts as equal")
    tolerances: Tolerances = Field(
        default=TOLERANCES,
        description="by column, how far a rerun on another machine may be from an archived run",
    )

    @model_validator(mode="after")
    def _references_exist(self) -> "Study":
        teachers = [(teacher.name, teacher.seed) for teacher in self.teachers]
        _distinct(tuple(teachers))
        recipes = [
            (f"teachers[{i}]", teacher.recipe)
            for i, teacher in enumerate(self.teachers)
            if teacher.recipe is not None
        ]
        recipes += [(f"arms[{i}]", arm.recipe) for i, arm in enumerate(self.arms)]
        for key, recipe in recipes:
            if recipe not in self.recipes:
                raise ValueError(
                    f"{key}.recipe: unknown recipe {recipe!r}; known: {', '.join(self.recipes)}"
                )
        known = set(teachers)
        for position, arm in enumerate(self.arms):
            if (arm.teacher, arm.teacher_seed) not in known:
                trained = ", ".join(f"{name} with seed {seed}" for name, seed in teachers)
                raise ValueError(
                    f"arms[{position}].teacher: {arm.teacher!r} with seed {arm.teacher_seed} is "
                    f"not trained in this study; trained: {trained}"
                )
            brought = f"-{BROUGHT}-" in arm.teacher
            if brought and "untrained-teacher" in arm.means:
                raise ValueError(
                    f"arms[{position}].means: untrained-teacher is not known of {arm.teacher!r}, "
                    f"which was trained elsewhere"
                )
            least = self.recipes[arm.recipe].rounding
            lost = [e for e in arm.relative_perturbations if 0 < e < least]
            if lost:
                raise ValueError(
                    f"arms[{position}].relative_perturbations: {lost[0]:g} is below the precision "
                    f"of recipe {arm.recipe!r}, whose weights resolve {least:.1e}"
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

    @model_validator(mode="after")
    def _bounded(self) -> "Study":
        if (students := sum(arm.students for arm in self.arms)) > _MOST_JOBS:
            raise ValueError(f"arms: they ask for {students} students; at most {_MOST_JOBS}")
        for name, recipe in self.recipes.items():
            try:
                recipe.refuse_last_image(self.dataset.training_images or 0)
            except InputError as error:
                raise ValueError(f"recipes.{name}.{error}") from None
        return self


def parse(config: Any) -> Study:
    """Return the study of a config, which must be a mapping.

    Raises:
        InputError: the config is wrong; one line names the first wrong key.

    """
    try:
        return Study.model_validate(dict(config) if isinstance(config, Mapping) else config)
    except ValidationError as error:
        raise InputError(f"config: {first_complaint(error, Study)}") from None


def read_study(folder: Path) -> Study:
    """Return the study in ``folder``, read from its resolved config ``study.json``.

    Raises:
        InputError: the file is missing, is not JSON, or holds no config of a study.

    """
    path = folder / "study.json"
    try:
        return parse(load_json(_text(path)))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path} is missing: {folder} is not the folder of a study") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    except InputError as error:
        raise InputError(f"{path}: {error}; delete it, run snakemake again") from None


def read_config(path: Path) -> Study:
    """Return the study of the config file ``path``, in YAML or JSON.

    Raises:
        InputError: the file cannot be read, or its config is wrong; one line names file and key.

    """
    import yaml  # noqa: PLC0415

    refuse_repeated_keys(path)
    try:
        loaded = yaml.safe_load(_text(path))
        return parse({} if loaded is None else loaded)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    except RecursionError:
        raise InputError(f"{path}: not YAML that can be read (nested too deeply)") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _text(path: Path) -> str:
    """Return the text of a config file.

    Raises:
        InputError: the path is not a regular file, or the file is too large or not UTF-8.
        OSError: the file is missing or cannot be read.

    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode) or found.st_size > _MOST_BYTES:
        raise InputError(f"no config (no file, or {found.st_size:,} bytes of one)")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError("not UTF-8 text") from None


def schema() -> dict[str, Any]:
    """Return the JSON schema of a config."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Study.model_json_schema()
