"""The jobs that a study asks for, each with its folder, its teacher and its spec.

Folders are Hive paths (``key=value/key=value``). DuckDB, polars and pyarrow can read all files
below such a folder as one table, with the keys as columns.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from kdlm.study import names
from kdlm.study.config import Arm, Study
from kdlm.study.specs import (
    BroughtTeacherSpec,
    InitMeansSpec,
    Spec,
    StudentSpec,
    TeacherSpec,
    format_number,
)
from kdlm.study.teacher import Teacher

__all__ = [
    "NETWORK_FILES",
    "Job",
    "StudentJob",
    "TeacherJob",
    "init_means_jobs",
    "network_jobs",
    "student_jobs",
    "teacher_jobs",
    "theory_jobs",
]

Kind = Literal["teachers", "students", "init_means"]
SpecT = TypeVar("SpecT", bound=Spec)

NETWORK_FILES = ("history.parquet", "logits.parquet", "model.safetensors", "run.json")
"""Names of the files that each training leaves in its folder."""


@dataclass(frozen=True)
class Job(Generic[SpecT]):
    """One training, or one shard of initialisation means.

    ``kind`` is the folder in the study's folder that holds all jobs of this kind.

    >>> spec = InitMeansSpec(architecture="resnet8", initialisation="he", batchnorm="eval",
    ...                      first_seed=0, seeds=2, images=4, num_classes=10, threads=1)
    >>> Job("init_means", {"architecture": "resnet8", "shard": "0"}, spec).folder.as_posix()
    'init_means/architecture=resnet8/shard=0'
    """

    kind: Kind
    keys: Mapping[str, str]
    """Path keys in the order of the path, with values as the path spells them."""
    spec: SpecT
    """Everything that decides the result of the job, besides the code."""
    teacher: "TeacherJob | None" = None
    """The job of the student's teacher; None for all other jobs."""

    @property
    def folder(self) -> Path:
        """The folder of the job's files, relative to the study's folder."""
        return Path(self.kind, *(f"{key}={value}" for key, value in self.keys.items()))


TeacherJob = Job[TeacherSpec | BroughtTeacherSpec]
StudentJob = Job[StudentSpec]


def teacher_jobs(study: Study) -> list[TeacherJob]:
    """Return the job of each teacher, in the order of the config."""
    return [
        Job(
            "teachers",
            teacher.keys | {"seed": format_number(teacher.seed)},
            _teacher_spec(study, teacher),
        )
        for teacher in study.teachers
    ]


def _teacher_spec(study: Study, teacher: Teacher) -> TeacherSpec | BroughtTeacherSpec:
    """Return the spec of a teacher to be trained, or of one that was trained elsewhere."""
    if teacher.recipe is not None:
        return TeacherSpec(**_network(study, teacher, teacher.recipe), seed=teacher.seed)
    return BroughtTeacherSpec(
        architecture=teacher.architecture,
        sha256=teacher.sha256 or "",
        accuracy=teacher.accuracy,
        normalisation=teacher.normalisation,
        device=study.device,
        threads=study.threads,
    )


def student_jobs(study: Study) -> Iterator[StudentJob]:
    """Yield the job of each student, in the order of the config.

    A student that several arms ask for is yielded once.
    """
    teachers = {
        (teacher.name, teacher.seed): job
        for teacher, job in zip(study.teachers, teacher_jobs(study), strict=True)
    }
    seen = set()
    for arm in study.arms:
        pairs = [(loss, t) for loss in arm.losses for t in arm.temperatures_of(loss)]
        for (loss, temperature), means, gap, ulps, jitter, seed in product(
            pairs,
            arm.means,
            arm.mean_gaps,
            arm.perturbations,
            arm.relative_perturbations,
            arm.seeds,
        ):
            keys = {
                "teacher": arm.teacher,
                "teacher_seed": format_number(arm.teacher_seed),
                "architecture": arm.architecture,
                "initialisation": arm.initialisation,
                "recipe": arm.recipe,
                "loss": loss,
                "temperature": format_number(temperature),
                "means": means,
                "mean_gap": format_number(gap),
                "perturbation": format_number(ulps),
                "relative_perturbation": format_number(jitter),
                "seed": format_number(seed),
            }
            if tuple(keys.values()) in seen:
                continue
            seen.add(tuple(keys.values()))
            spec = StudentSpec(
                **_network(study, arm, arm.recipe),
                seed=seed,
                loss=loss,
                temperature=temperature,
                means=means,
                mean_gap=gap,
                perturbation=ulps,
                relative_perturbation=jitter,
            )
            yield Job("students", keys, spec, teachers[arm.teacher, arm.teacher_seed])


def network_jobs(study: Study) -> list[TeacherJob | StudentJob]:
    """Return the jobs of all trained networks, teachers first."""
    return [*teacher_jobs(study), *student_jobs(study)]


def theory_jobs(study: Study) -> list[StudentJob]:
    """Return the jobs of the students on whose logits the equations are evaluated.

    These are the first student of each loss, in the order of the config.
    """
    first: dict[str, StudentJob] = {}
    for job in student_jobs(study):
        first.setdefault(job.spec.loss, job)
    return list(first.values())


def init_means_jobs(study: Study) -> Iterator[Job[InitMeansSpec]]:
    """Yield the job of each shard of initialisation means, in the order of the config."""
    means = study.init_means
    for architecture, initialisation, batchnorm, first in product(
        means.architectures,
        means.initialisations,
        means.batchnorm,
        range(0, means.seeds, means.shard_size),
    ):
        keys = {
            "architecture": architecture,
            "initialisation": initialisation,
            "batchnorm": batchnorm,
            "shard": format_number(first // means.shard_size),
        }
        seeds = min(means.shard_size, means.seeds - first)
        spec = InitMeansSpec(
            architecture=architecture,
            initialisation=initialisation,
            batchnorm=batchnorm,
            first_seed=first,
            seeds=seeds,
            layer_seeds=min(max(means.layer_seeds - first, 0), seeds),
            images=means.images,
            num_classes=means.num_classes,
            threads=study.threads,
        )
        yield Job("init_means", keys, spec)


def _network(study: Study, entry: Teacher | Arm, recipe: str) -> dict[str, Any]:
    """Return the part of a network's spec that a teacher and a student have in common.

    It comes from the study, the facts about its dataset, the ``entry`` of the config, and the
    ``recipe`` of that name.
    """
    facts = names.DATASETS[study.dataset.name]
    return {
        "architecture": entry.architecture,
        "initialisation": entry.initialisation,
        "recipe": study.recipes[recipe],
        "crop_padding": facts.crop_padding,
        "flip": facts.flip,
        "device": study.device,
        "threads": study.threads,
    }
