"""What a study costs: by students, seeds, epochs, classes and depth; the default one of 55dd775.

The laws are measured on tiny images: the trainings of each size are run in this process, without
the start of a job, and the exponent p is that of a + b xᵖ through the sizes. Then a whole study is
run as a user runs it, with the config that was the default at commit 55dd775.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import Cost, exponent, snakemake
from kdlm.data.dataset import Dataset
from kdlm.data.prepared import prepare
from kdlm.networks.devices import configure_torch
from kdlm.study.specs import Recipe, Schedule, StudentSpec, TeacherSpec
from kdlm.training.students import distill
from kdlm.training.teachers import train_teacher

__all__ = ["add_options", "main"]

BAR = 180
"""Seconds within which the default study of 55dd775 has to end on two quiet cores."""

FACTORS = (1, 4, 16)
DEPTHS = (8, 20, 56, 110)

IMAGES, CLASSES, SIDE = 64, 10, 8


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument(
        "--only", choices=("laws", "default"), help="the laws alone, or the default study alone"
    )
    parser.add_argument("--cores", type=int, default=2, help="of the default study")


def main(*, only: str | None, cores: int) -> int:
    """Measure and print; the last line has the ratio of the bar to the default study's seconds."""
    if only != "default":
        print(_laws())
    if only != "laws":
        cost = _default(cores)
        print(f"default study of 55dd775, {cores} cores: {cost.seconds:.0f} s, bar {BAR} s")
        print(f"ratio {BAR / cost.seconds:.2f}")
    return 0


def _laws() -> str:
    """Return a table of what a training costs, and of what it grows with."""
    configure_torch(1)
    with tempfile.TemporaryDirectory() as name:
        bench = _Bench(Path(name))
        laws: tuple[tuple[str, Sequence[int], Callable[[int], float]], ...] = (
            ("students", FACTORS, lambda n: bench.students(temperatures=range(1, n + 1))),
            ("seeds", FACTORS, lambda n: bench.students(seeds=range(n))),
            ("epochs", FACTORS, lambda n: bench.students(epochs=n)),
            ("classes", [CLASSES * n for n in FACTORS], lambda n: bench.students(classes=n)),
            ("depth (ResNet)", DEPTHS, lambda n: bench.students(architecture=f"resnet{n}")),
        )
        bench.students()
        lines = [f"{'seconds, by':<16}{'sizes: seconds':<56}{'p':>6}"]
        for what, sizes, seconds in laws:
            found = [min(seconds(size) for _ in range(2)) for size in sizes]
            listed = "  ".join(
                f"{size}: {value:.3f}" for size, value in zip(sizes, found, strict=True)
            )
            lines.append(f"{what:<16}{listed:<56}{exponent(sizes, found):>6.2f}")
    return "\n".join(lines)


class _Bench:
    """Trains students of a small teacher on made-up images, and times that."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def students(
        self,
        *,
        temperatures: Sequence[int] = (4,),
        seeds: Sequence[int] = (0,),
        epochs: int = 1,
        classes: int = CLASSES,
        architecture: str = "resnet8",
    ) -> float:
        """Return the seconds of training a student of each temperature and seed."""
        data, teacher = self._data(classes), self._teacher(classes)
        specs = [
            StudentSpec(
                **_network(architecture, epochs),
                seed=seed,
                loss="kd",
                temperature=temperature,
                mean_gap=0,
                perturbation=0,
            )
            for temperature in temperatures
            for seed in seeds
        ]
        started = time.perf_counter()
        for spec in specs:
            distill(spec, data, teacher, self.folder / "student")
        return time.perf_counter() - started

    def _data(self, classes: int) -> Path:
        """Return the file of a dataset with so many classes; make it if it is not there."""
        path = self.folder / f"data{classes}.safetensors"
        if not path.exists():
            images = torch.randint(256, (IMAGES, 3, SIDE, SIDE), dtype=torch.uint8)
            labels = torch.arange(IMAGES) % classes
            names = tuple(f"class {number}" for number in range(classes))
            prepare(Dataset("made up", images, labels, images, labels, names), path)
        return path

    def _teacher(self, classes: int) -> Path:
        """Return the folder of a teacher of so many classes; train it if it is not there."""
        folder = self.folder / f"teacher{classes}"
        if not folder.exists():
            spec = TeacherSpec(**_network("resnet8", 1), seed=0)
            train_teacher(spec, self._data(classes), folder)
        return folder


def _network(architecture: str, epochs: int) -> dict[str, Any]:
    """Return the part of a spec that a teacher and a student have in common."""
    return {
        "architecture": architecture,
        "initialisation": "he",
        "recipe": Recipe(
            optimizer="sgd",
            learning_rate=0.01,
            weight_decay=0,
            schedule=Schedule(name="constant"),
            epochs=epochs,
            batch_size=16,
            augment=True,
        ),
        "crop_padding": 1,
        "flip": False,
        "device": "cpu",
        "threads": 1,
    }


def _default(cores: int) -> Cost:
    """Run the default study of 55dd775 in a folder of its own, and return what it costs."""
    with tempfile.TemporaryDirectory() as name:
        config = Path(__file__).with_name("digits_55dd775.yaml")
        return snakemake(
            Path(name), "--configfile", config, "--cores", str(cores), "--scheduler", "greedy"
        )
