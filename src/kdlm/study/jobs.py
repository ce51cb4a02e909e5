"""The jobs that a study asks for, each with its folder, its teacher and its spec.

Folders are Hive paths (``key=value/key=value``). DuckDB, polars and pyarrow can read all files
below such a folder as one table, with the keys as columns.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from kdlm.study import names
from kdlm.study.config import Arm, Study
from kdlm.study.specs import (
    AnswersSpec,
    BroughtTeacherSpec,
    InitMeansSpec,
    Spec,
    StudentSpec,
    TeacherSpec,
    format_number,
)
from kdlm.study.teacher import Teacher

__all__ = [
    "ANSWERS_KEYS",
    "NETWORK_FILES",
    "AnswersJob",
    "Job",
    "StudentJob",
    "TeacherJob",
    "answers_bytes",
    "answers_jobs",
    "describe_answers",
    "init_means_jobs",
    "network_jobs",
    "student_jobs",
    "teacher_jobs",
    "theory_jobs",
]

Kind = Literal["teachers", "answers", "students", "init_means"]
SpecT = TypeVar("SpecT", bound=Spec)

NETWORK_FILES = ("history.parquet", "logits.parquet", "model.safetensors", "run.json")
"""Names of the files that each training leaves in its folder."""


ANSWERS_KEYS = (
    "teacher", "teacher_seed", "epochs", "batch_size", "augment", "precision", "seed"
)  # fmt: skip
"""Path keys of a teacher's answers; students that agree in all of them see the same views."""


@dataclass(frozen=True)
class Job(Generic[SpecT]):
    """One training, a teacher's answers to one seed, or one shard of initialisation means.

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
    """The job of the teacher, for students and answers; None for all other jobs."""

    @property
    def folder(self) -> Path:
        """The folder of the job's files, relative to the study's folder."""
        return Path(self.kind, *(f"{key}={value}" for key, value in self.keys.items()))


TeacherJob = Job[TeacherSpec | BroughtTeacherSpec]
StudentJob = Job[StudentSpec]
AnswersJob = Job[AnswersSpec]


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


def answers_jobs(study: Study) -> dict[Path, AnswersJob]:
    """Return the job of the teacher's answers that each student reads, by the student's folder.

    A student that is not in the result runs its teacher itself. With ``answers: auto`` answers are
    made for the views that two or more students share: the teacher then runs once instead of once
    for each, and reading its logits costs next to nothing. For a single student they would save
    nothing.
    """
    if study.answers == "never":
        return {}
    jobs = {job.folder: _answers(job) for job in student_jobs(study)}
    readers = Counter(job.folder for job in jobs.values())
    least = 1 if study.answers == "always" else 2
    return {student: job for student, job in jobs.items() if readers[job.folder] >= least}


def answers_bytes(study: Study) -> int | None:
    """Return the size on disk of all files of a study's answers.

    The size is None where the number of images or classes depends on a folder.
    """
    facts = names.DATASETS[study.dataset.name]
    images = study.dataset.training_images
    if not images or not facts.classes:
        return None
    files = {job.folder: job for job in answers_jobs(study).values()}
    logits = sum(job.spec.epochs * _width(job) for job in files.values())
    return logits * images * facts.classes


def describe_answers(study: Study) -> str:
    """Return one sentence on the answers of a study: how many files, for whom, how large on disk.

    The size is left out where it depends on a folder.
    """
    found = answers_jobs(study)
    files = {job.folder for job in found.values()}
    number = answers_bytes(study)
    size = "" if number is None else f", {1e-9 * number:.3g} GB"
    return (
        f"answers: {study.answers}: {len(found)} students read their teachers' logits from "
        f"{len(files)} files{size}"
    )


def _width(job: AnswersJob) -> int:
    """Return the bytes of one logit of the teacher whose answers a job writes."""
    teacher = job.teacher.spec if job.teacher else None
    double = isinstance(teacher, TeacherSpec) and teacher.recipe.precision == "float64"
    return 8 if double else 4


def _answers(student: StudentJob) -> AnswersJob:
    """Return the job of the answers that fit a student."""
    views = student.spec.views.model_dump(mode="json")
    values = dict(student.keys) | {
        name: str(value).lower() for name, value in views.items() if name != "seed"
    }
    spec = AnswersSpec(**views, device=student.spec.device, threads=student.spec.threads)
    keys = {key: values[key] for key in ANSWERS_KEYS}
    return Job("answers", keys, spec, student.teacher)


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
