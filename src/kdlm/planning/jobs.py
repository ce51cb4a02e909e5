"""The jobs of a study with what each costs, and their sums by rule.

The cost of a training is

    epochs · (images · 3 M / v + steps · L · a + test images · M / v),

with M the multiplications of a forward pass of one image (a backward pass has twice as many), v
those that the device does in a second, L the number of layers, and a the seconds of a layer in a
step that do not depend on the number of images. A teacher that runs beside its student adds its
forward pass.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdlm.data.listing import list_images
from kdlm.errors import InputError
from kdlm.figures import FIGURES as FIGURE_NAMES
from kdlm.planning.rates import (
    CUDA,
    FIGURES,
    GATHERING,
    NETWORKS,
    ONE_CORE,
    START,
    TEST_IMAGES,
    Device,
    NetworkFacts,
)
from kdlm.study import names
from kdlm.study.config import DatasetConfig, Study
from kdlm.study.jobs import Job, answers_jobs, init_means_jobs, student_jobs, teacher_jobs
from kdlm.study.specs import InitMeansSpec, Recipe, TeacherSpec

__all__ = ["Data", "PlannedJob", "data_of", "planned_jobs"]


@dataclass(frozen=True)
class Data:
    """Sizes of a dataset."""

    train: int
    """Number of training images."""
    test: int
    classes: int
    side: int
    """In pixels."""
    channels: int

    @property
    def pixels(self) -> float:
        """Pixels of an image, in units of 32×32."""
        return (self.side / 32) ** 2

    @property
    def bytes(self) -> int:
        """Size of the prepared file."""
        return (self.train + self.test) * (self.channels * self.side**2 + 8) + 1_000


@dataclass(frozen=True)
class PlannedJob:
    """One job and what it costs."""

    rule: str
    benchmark: Path
    """Path of the benchmark that Snakemake writes of it, relative to the study's folder."""
    seconds: float
    """On one core."""
    on_gpu: float | None = None
    """Seconds on a GPU; None for a job that asks for none."""
    threads: int = 1
    files: int = 0
    """Number of files that it leaves in the study's folder, with its log and benchmark."""
    bytes: int = 0
    kind: tuple[str, ...] = field(default=())
    """What decides the speed besides the rule: architecture and precision."""


def data_of(dataset: DatasetConfig) -> Data:
    """Return the sizes of a dataset; the files of a folder of images are listed, not opened.

    Raises:
        InputError: the folder of images is not there, so that nobody knows how many there are.

    """
    facts = names.DATASETS[dataset.name]
    images = dataset.training_images
    if images and facts.classes:
        test = TEST_IMAGES[dataset.name]
        return Data(images, test, facts.classes, dataset.side, facts.channels)
    root = Path(dataset.root or "").expanduser()
    try:
        listed = [list_images(root, split).classes for split in ("train", "test")]
    except FileNotFoundError as error:
        raise InputError(
            f"dataset.root: {error.filename} is missing, so the number of images is not known"
        ) from None
    counts = [sum(len(files) for files in split.values()) for split in listed]
    return Data(counts[0], counts[1], max(2, len(listed[0])), dataset.side, facts.channels)


def planned_jobs(study: Study) -> Iterator[PlannedJob]:
    """Yield every job that Snakemake would run for a study of which nothing is there yet.

    Raises:
        InputError: the number of images is not known, or the cost of an architecture.

    """
    data, others = data_of(study.dataset), data_of(study.init_means.dataset)
    yield _gathering("resolve", 1, 0, 1, 5_000)
    for name, each in {study.init_means.dataset.name: others, study.dataset.name: data}.items():
        yield PlannedJob(
            "prepare_dataset", _benchmark("data", name), 2.0 + each.train * 5e-5, None, 1, 3,
            each.bytes,
        )  # fmt: skip
    teachers, students = teacher_jobs(study), list(student_jobs(study))
    answers = answers_jobs(study)
    for teacher in teachers:
        yield _teacher(study, teacher, data)
    for one in {job.folder: job for job in answers.values()}.values():
        yield _answers(study, one, data)
    for student in students:
        yield _student(study, student, data, online=student.folder not in answers)
    means = 0
    for shard in init_means_jobs(study):
        planned = _init_means(study, shard, others)
        means += planned.bytes
        yield planned
    networks: list[Job[Any]] = [*teachers, *students]
    epochs = sum(_epochs(job) for job in networks)
    yield _gathering("collect", len(networks), 120 * (3 * epochs + 2 * len(networks)), 3, 30_000)
    yield _gathering("compare", len(networks), 450 * len(students), 1, 10_000)
    yield _gathering("summarise_init_means", len(networks), means, 2, 10_000)
    yield _gathering("theory", len(networks), 0, 2, 25_000)
    yield _gathering("judge", len(networks), 0, 1, 12_000)
    yield _gathering("write_report", len(networks), 5_000 * len(networks), 2, 1_500_000)
    for name in FIGURE_NAMES:
        fixed, each_network = FIGURES
        yield PlannedJob(
            f"figure_{name}", _benchmark("figures", name), fixed + each_network * len(networks),
            None, 1, 4, 200_000,
        )  # fmt: skip


def _benchmark(*parts: str) -> Path:
    return Path("benchmarks", *parts[:-1], f"{parts[-1]}.tsv")


def _gathering(rule: str, networks: int, growing: int, files: int, fixed: int) -> PlannedJob:
    """Return a job that gathers what all ``networks`` have left, in ``files`` tables."""
    once, each = GATHERING[rule]
    return PlannedJob(
        rule, _benchmark(rule), once + each * networks, None, 1, files + 2, fixed + growing
    )


def _facts(architecture: str) -> NetworkFacts:
    """Return the facts that an architecture's cost follows from.

    Raises:
        InputError: nobody has added them.

    """
    if architecture not in NETWORKS:
        raise InputError(
            f"{architecture}: its cost is not known; add a row to NETWORKS in "
            f"src/kdlm/planning/rates.py"
        )
    return NETWORKS[architecture]


def _operations(architecture: str, data: Data) -> float:
    """Return the multiplications of one image's forward pass."""
    facts = _facts(architecture)
    if names.ARCHITECTURES[architecture].of_one_side:
        return facts.operations * data.pixels * data.channels / 3
    return facts.operations * data.pixels


def _network_bytes(architecture: str, precision: str, data: Data) -> int:
    facts = _facts(architecture)
    numbers = facts.numbers + (facts.features + 1) * data.classes
    if names.ARCHITECTURES[architecture].of_one_side:
        numbers -= round(facts.features * (3 * 32**2 - data.channels * data.side**2))
    return numbers * _width(precision) + 80 * facts.tensors + 1_500


def _width(precision: str) -> int:
    return 8 if precision == "float64" else 4


def _precision(job: Job[Any] | None) -> Any:
    recipe = getattr(job.spec, "recipe", None) if job else None
    return recipe.precision if recipe else "float32"


def _epochs(job: Job[Any]) -> int:
    recipe = getattr(job.spec, "recipe", None)
    return int(recipe.epochs) if recipe else 0


def _training(device: Device, job: Job[Any], data: Data, threads: int) -> float:
    """Return the seconds of a network's training, without its teacher."""
    recipe: Recipe = job.spec.recipe
    facts, speed = _facts(job.spec.architecture), device.operations[recipe.precision]
    forward = _operations(job.spec.architecture, data) / speed
    steps = -(-data.train // recipe.batch_size)
    epoch = (3 * data.train + data.test) * forward + steps * facts.layers * device.layer
    # two passes over the training set before the first epoch or after the last
    return START * threads + recipe.epochs * epoch + 2 * data.train * forward


def _running(device: Device, teacher: Job[Any], data: Data, epochs: int, batch: int) -> float:
    """Return the seconds that a teacher takes for the views of a student's training."""
    facts = _facts(teacher.spec.architecture)
    forward = _operations(teacher.spec.architecture, data) / device.operations[_precision(teacher)]
    # a forward pass has a third of the calls of a step
    steps = -(-data.train // batch)
    return epochs * (data.train * forward + steps * facts.layers * device.layer / 3)


def _network(
    study: Study, rule: str, job: Job[Any], data: Data, logits: int, seconds: dict[str, float]
) -> PlannedJob:
    """Return the job of a trained network that leaves the logits of so many images."""
    precision = _precision(job)
    # what zstd leaves of float32 numbers that are stored as float64
    number = 8.2 if precision == "float64" else 6.8
    size = (
        _network_bytes(job.spec.architecture, precision, data)
        + round(logits * (data.classes * number + 4)) + 3_000
        + 10_500 + 330 * _epochs(job)
        + 2_300 + 100 * _epochs(job) + 300
    )  # fmt: skip
    return PlannedJob(
        rule,
        Path("benchmarks") / job.folder.with_name(f"{job.folder.name}.tsv"),
        seconds["cpu"],
        seconds["cuda"] if study.device != "cpu" else None,
        study.threads,
        # weights, history, logits, run.json, the lock; log and benchmark
        5 + 2,
        size,
        (job.spec.architecture, precision),
    )


def _teacher(study: Study, job: Job[Any], data: Data) -> PlannedJob:
    if isinstance(job.spec, TeacherSpec):
        rule = "train_teacher"
        seconds = {
            name: _training(device, job, data, study.threads)
            for name, device in (("cpu", ONE_CORE), ("cuda", CUDA))
        }
    else:
        rule = "bring_teacher"
        seconds = {
            name: START * study.threads + _running(device, job, data, 1, 512)
            for name, device in (("cpu", ONE_CORE), ("cuda", CUDA))
        }
    return _network(study, rule, job, data, data.train + data.test, seconds)


def _student(study: Study, job: Job[Any], data: Data, *, online: bool) -> PlannedJob:
    seconds = {}
    for name, device in (("cpu", ONE_CORE), ("cuda", CUDA)):
        seconds[name] = _training(device, job, data, study.threads)
        if online and job.teacher:
            recipe = job.spec.recipe
            seconds[name] += _running(device, job.teacher, data, recipe.epochs, recipe.batch_size)
    return _network(study, "distill", job, data, data.test, seconds)


def _answers(study: Study, job: Job[Any], data: Data) -> PlannedJob:
    teacher = job.teacher
    if teacher is None:
        raise ValueError("answers are those of a teacher")
    seconds = {
        name: START * study.threads
        + _running(device, teacher, data, job.spec.epochs, job.spec.batch_size)
        for name, device in (("cpu", ONE_CORE), ("cuda", CUDA))
    }
    width = _width(_precision(teacher))
    return PlannedJob(
        "answers",
        Path("benchmarks") / job.folder.with_name(f"{job.folder.name}.tsv"),
        seconds["cpu"],
        seconds["cuda"] if study.device != "cpu" else None,
        study.threads,
        # answers and the lock; log and benchmark
        2 + 2,
        job.spec.epochs * data.train * data.classes * width + 10_000 + 600 * job.spec.epochs,
        (teacher.spec.architecture, _precision(teacher)),
    )


def _init_means(study: Study, job: Job[InitMeansSpec], data: Data) -> PlannedJob:
    spec = job.spec
    facts = _facts(spec.architecture)
    forward = spec.images * _operations(spec.architecture, data) / ONE_CORE.operations["float32"]
    # drawing the weights; recording every layer takes half as long again
    seconds = spec.seeds * (forward + 0.1e-3 * facts.layers) + 0.5 * spec.layer_seeds * forward
    # BatchNorm is recorded too
    rows = 2 * facts.layers * spec.layer_seeds + spec.seeds
    return PlannedJob(
        "init_means",
        Path("benchmarks") / job.folder.with_name(f"{job.folder.name}.tsv"),
        START * study.threads + seconds,
        None,
        study.threads,
        # means and the lock; log and benchmark
        2 + 2,
        5_000 + 45 * rows,
        (spec.architecture,),
    )
