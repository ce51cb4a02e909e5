"""Reading a teacher's answers from a disk whose cache is cold: epoch by epoch, and at random.

Students read the answers in the order in which they were written, an epoch at a time, and check
each epoch's checksum. The other way to keep a teacher's logits would be a table by image and view,
which is smaller where a training is long, and which a student would read at random: a row of K
logits for each image of a batch. Both are read here from files whose pages were dropped from the
system's cache, so that the disk has to answer.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.work import CLASSES, Pair, Work, prepare_work
from kdlm.study.specs import AnswersSpec
from kdlm.training.answers import write_answers
from kdlm.training.teaching import Answers

if TYPE_CHECKING:
    from argparse import ArgumentParser

__all__ = ["add_options", "main"]

VIEWS = 162
"""Crops with a padding of 4 pixels, flipped or not: the rows of an image in a table by view."""


def add_options(parser: "ArgumentParser") -> None:
    """Add the options of the command, which are the arguments of `main`."""
    parser.add_argument("--images", type=int, default=2_048, help="of an epoch, a multiple of 64")
    parser.add_argument("--epochs", type=int, default=20, help="whose answers are read")


def main(images: int, epochs: int) -> int:
    """Measure, print the table; the last line is the ratio of random to sequential seconds."""
    with tempfile.TemporaryDirectory() as name:
        work = Work(Path(name), Pair("resnet8", "resnet8"), "float32", 2, images // 64)
        prepare_work(work)
        spec = work.spec
        spec = spec.model_copy(update={"recipe": spec.recipe.model_copy(update={"epochs": epochs})})
        write_answers(
            AnswersSpec(**spec.views.model_dump(), device="cpu", threads=2),
            work.data,
            work.teacher,
            work.answers,
        )
        drop_from_cache(work.answers)
        # the file's last page, with its metadata, is read before the clock starts
        answers = Answers(work.answers, spec, work.teacher)
        batch = torch.zeros(64, 1)
        started = time.perf_counter()
        for epoch in range(1, epochs + 1):
            for number in range(images // 64):
                answers(batch, epoch, number)
        in_order = time.perf_counter() - started

        table = Path(name) / "table.npy"
        # written in full: of a file with holes, nothing would be read
        np.save(table, np.ones((images, VIEWS, CLASSES), np.float32))
        drop_from_cache(table)
        rows = np.load(table, mmap_mode="r")
        draws = np.random.default_rng(0)
        started = time.perf_counter()
        for _ in range(epochs):
            for some in np.split(draws.permutation(images), images // 64):
                torch.from_numpy(rows[some, draws.integers(VIEWS, size=64)])
        at_random = time.perf_counter() - started
    size = 4e-6 * images * CLASSES
    print(f"{images} images, {CLASSES} classes, {epochs} epochs of {size:.1f} MB; cold cache")
    print(f"{'way':<34}{'seconds':>9}{'an epoch':>10}{'MB/s':>7}")
    for what, seconds in (
        ("in order, with checksums", in_order),
        ("at random, from a table by view", at_random),
    ):
        print(f"{what:<34}{seconds:>9.2f}{seconds / epochs:>10.4f}{epochs * size / seconds:>7.0f}")
    print(f"ratio {at_random / in_order:.1f}")
    return 0


def drop_from_cache(path: Path) -> None:
    """Write what the system still holds of a file to the disk, and have its pages dropped."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
