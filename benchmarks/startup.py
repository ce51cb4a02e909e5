"""What starting costs: a job beyond ``import torch``, and a Snakemake that has nothing to do.

The job trains a perceptron on four images for one epoch, so nearly all of its time is its start and
its end. Snakemake runs on the default study with an empty file for every output. Each is timed in
turn with what it is compared with.
"""

import argparse
import statistics
import string
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import yaml

from benchmarks import made_up
from benchmarks.measuring import ROOT, kdlm, record, run, snakemake
from kdlm.data.dataset import Dataset
from kdlm.data.prepared import prepare
from kdlm.study.config import Study, parse
from kdlm.study.jobs import student_jobs, teacher_jobs

__all__ = ["add_options", "main"]

JOB, SNAKEMAKE = 0.3, 1.2
"""The bars, in seconds beyond ``import torch`` and beyond ``snakemake --version``."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--turns", type=int, default=7, help="how often each is timed")


def main(*, turns: int) -> int:
    """Measure and print the table; the last line has the smaller ratio of a bar to its seconds."""
    study = parse(yaml.safe_load((ROOT / "config.yaml").read_text()))
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        job, torch_alone = _alternated(turns, _job(root, study), _imports_torch(root))
        _finished(root, study)
        nothing, version = _alternated(
            turns,
            lambda: snakemake(root, "--cores", "1").seconds,
            lambda: snakemake(root, "--version").seconds,
        )
    print(f"{'median seconds':<32}{'whole':>8}{'without':>9}{'beyond':>8}{'bar':>6}")
    for what, whole, without, bar in (
        ("job beyond import torch", job, torch_alone, JOB),
        ("no-op snakemake beyond --version", nothing, version, SNAKEMAKE),
    ):
        print(f"{what:<32}{whole:>8.2f}{without:>9.2f}{whole - without:>8.2f}{bar:>6.1f}")
    # a job can be no slower than importing torch, by as much as the times scatter
    ratios = [JOB / max(job - torch_alone, 0.01), SNAKEMAKE / max(nothing - version, 0.01)]
    print(f"ratio {min(ratios):.2f}")
    return 0


def _alternated(
    turns: int, one: Callable[[], float], other: Callable[[], float]
) -> tuple[float, float]:
    """Return the median seconds of two functions that are called in turn, after one call each."""
    one(), other()
    times = [(one(), other()) for _ in range(turns)]
    first, second = zip(*times, strict=True)
    return statistics.median(first), statistics.median(second)


def _imports_torch(root: Path) -> Callable[[], float]:
    return lambda: run([sys.executable, "-c", "import torch"], root).seconds


def _job(root: Path, study: Study) -> Callable[[], float]:
    """Return the function that runs the smallest student, and returns its seconds."""
    images = torch.randint(256, (4, 1, 8, 8), dtype=torch.uint8)
    labels = torch.arange(4)
    classes = tuple(string.ascii_lowercase[:10])
    prepare(Dataset("digits", images, labels, images, labels, classes), root / "data.safetensors")
    spec = next(student_jobs(study)).spec
    recipe = spec.recipe.model_copy(update={"epochs": 1, "batch_size": 4})
    small = {"architecture": "mlp", "recipe": recipe}
    teacher = teacher_jobs(study)[0].spec.model_copy(update=small).canonical_json()
    student = spec.model_copy(update=small).canonical_json()
    common = ("--data", "data.safetensors", "--output")
    kdlm(root, "train-teacher", "--spec", teacher, *common, "teacher")
    command = ("distill", "--spec", student, "--teacher", "teacher", *common, "student")
    return lambda: kdlm(root, *command).seconds


def _finished(root: Path, study: Study) -> None:
    """Make an empty file for each output of the study in ``root``, and let Snakemake record it."""
    made_up.touch(study, root / "results" / study.study)
    record(root, "--forceall")
