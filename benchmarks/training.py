"""Training a student: the conventional way and kdlm's, images per second, in alternation.

Each way runs in a process of its own, with the settings that it makes there. The processes are
started once and take turns, a round each, so that all ways see the machine in the same state. A
rate is that of the steps alone, after a few to warm up: loading, augmentation, the teacher, the
student, its update and the metrics of the batch are in it; reading files, and measurements before
and after the epoch, are not.

The floating-point operations of a step are counted by torch as they are called. The share is that
of the time in which matrix products of the size that suits the machine best would do as many, at
the speed that was measured in the same run.
"""

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import conventional
from benchmarks.work import BATCH, CLASSES, PAIRS, Pair, Work, prepare_work
from kdlm.data.images import DTYPES
from kdlm.networks.architectures import build
from kdlm.networks.initialisation import initialise, stream
from kdlm.study.specs import AnswersSpec
from kdlm.training import answers, students
from kdlm.training.checkpoints import Checkpoint, State
from kdlm.training.teaching import OnlineTeacher

if TYPE_CHECKING:
    from argparse import ArgumentParser

__all__ = ["WAYS", "Way", "add_options", "main"]

WARM_UP = 8
"""Steps of each training before its time is taken; prefetched batches are used up by then."""

Run = Callable[[Work], list[float]]
"""Trains the student of a `Work` and returns when each of its batches began, in seconds.

The clock is `time.monotonic`, which the processes of a machine share.
"""


def conventionally(work: Work, workers: int) -> list[float]:
    """Train as the field does, with so many processes that load images."""
    return conventional.distil(work, workers).times


def online(work: Work) -> list[float]:
    """Train by the function of the rule ``distill``, the teacher running beside the student."""
    times: list[float] = []
    distil(work, lambda: times.append(time.monotonic()))
    return times


def known(work: Work) -> list[float]:
    """Train by the same function, which reads the teacher's logits from its answers."""
    times: list[float] = []
    distil(work, lambda: times.append(time.monotonic()), work.answers)
    return times


def answer(work: Work) -> list[float]:
    """Write the teacher's answers by the function of the rule ``answers``."""
    times: list[float] = []

    class Watched(OnlineTeacher):
        def __call__(self, images: torch.Tensor, epoch: int = 0, batch: int = 0) -> torch.Tensor:
            times.append(time.monotonic())
            return super().__call__(images, epoch, batch)

    spec = AnswersSpec(**work.spec.views.model_dump(), device="cpu", threads=work.threads)
    with patch.object(answers, "OnlineTeacher", Watched):
        answers.write_answers(spec, work.data, work.teacher, work.answers)
    return times


def distil(work: Work, each_batch: Callable[[], None], known_answers: Path | None = None) -> None:
    """Train as a job does, and call ``each_batch`` before each batch is loaded."""

    class Watched(Checkpoint):
        def keep(self, epoch: int, batch: int, state: Callable[[], State]) -> None:
            each_batch()
            super().keep(epoch, batch, state)

    with (
        patch.object(students, "Checkpoint", Watched),
        tempfile.TemporaryDirectory(dir=work.folder) as folder,
    ):
        students.distill(work.spec, work.data, work.teacher, Path(folder), answers=known_answers)


@dataclass(frozen=True)
class Way:
    """A way of training students."""

    name: str
    run: Run
    jobs: int = 1
    """How many students are trained at the same time, sharing the threads."""
    is_ours: bool = True
    asks_teacher: bool = True
    """Whether the teacher is part of each step."""


WAYS = (
    *(
        Way(f"conventional, {workers} workers", partial(conventionally, workers=workers), 1, False)
        for workers in (0, 1, 2)
    ),
    Way("online", online),
    Way("online, two jobs", online, jobs=2),
    Way("known", known, asks_teacher=False),
    Way("known, two jobs", known, jobs=2, asks_teacher=False),
)
"""All ways in the order of the table; a new one of kdlm's is one more entry."""

ANSWERS = Way("the teacher's answers", answer)
STUDENTS = 20
"""How many students of one teacher and one schedule the last row is about."""


@dataclass(frozen=True)
class Cost:
    """Floating-point operations per image; a multiplication and an addition are two."""

    student: int
    """Forward and backward."""
    teacher: int


def count(pair: Pair) -> Cost:
    """Count the operations of one step, of convolutions and matrix products."""
    images = torch.zeros(BATCH, 3, 32, 32)
    networks = []
    for name in (pair.student, pair.teacher):
        networks.append(build(name, CLASSES, 3, image_side=32))
        initialise(networks[-1], "he", stream(0, "weights"))
    student, teacher = networks
    with FlopCounterMode(display=False) as of_student:
        torch.autograd.grad(student(images).sum(), list(student.parameters()))
    with FlopCounterMode(display=False) as of_teacher, torch.no_grad():
        teacher(images)
    return Cost(*(one.get_total_flops() // BATCH for one in (of_student, of_teacher)))


def product_rate(precision: str, threads: int) -> float:
    """Return the operations per second of the fastest of some matrix products."""
    torch.set_num_threads(threads)
    dtype = torch.bfloat16 if precision == "bfloat16" else DTYPES[precision]
    rates = []
    for size in (1024, 2048):
        one = torch.rand(size, size).to(dtype)
        for _ in range(5):
            started = time.perf_counter()
            one @ one
            rates.append(2 * size**3 / (time.perf_counter() - started))
    return max(rates)


def print_profile(work: Work) -> None:
    """Print which of torch's operators the steps of kdlm's training spend their time in."""
    profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
    batches = itertools.count()

    def each_batch() -> None:
        batch = next(batches)
        if batch == WARM_UP:
            profiler.start()
        if batch == work.steps - 1:
            profiler.stop()

    distil(work, each_batch)
    times = {one.key: one.self_cpu_time_total for one in profiler.key_averages()}
    total, steps = sum(times.values()), work.steps - 1 - WARM_UP
    print(f"{work.pair}, {work.precision}, {work.threads} threads; operators of a step")
    for name, microseconds in sorted(times.items(), key=lambda item: -item[1]):
        if microseconds >= total / 100:
            print(f"{name:<40} {microseconds / steps / 1000:>8.2f} ms {microseconds / total:>6.1%}")


def images_per_second(runs: list[list[float]], steps: int) -> float:
    """Return the rate of trainings that ran at the same time, over the time that all ran.

    Args:
        runs: of each training, when its batches began.
        steps: how many batches each should have had.

    Raises:
        SystemExit: a training ended early, or they did not run at the same time.

    """
    if any(len(times) != steps for times in runs):
        raise SystemExit(f"a student diverged: {[len(times) for times in runs]} of {steps} steps")
    begin, end = max(times[WARM_UP] for times in runs), min(times[-1] for times in runs)
    if end <= begin:
        raise SystemExit("trainings did not run at the same time; ask for more --steps")
    done = sum(begin <= moment < end for times in runs for moment in times)
    return done * BATCH / (end - begin)


class Workers:
    """Processes that keep running, one for each job of each way."""

    def __init__(self) -> None:
        self.pools: dict[str, ProcessPoolExecutor] = {}

    def run(self, way: Way, work: Work) -> float:
        """Train all jobs of a way at the same time and return their images per second."""
        share = replace(work, threads=work.threads // way.jobs)
        futures = [
            self._pool(f"{way.name} {job}").submit(way.run, share) for job in range(way.jobs)
        ]
        return images_per_second([future.result() for future in futures], work.steps)

    def product_rate(self, precision: str, threads: int) -> float:
        """Measure a matrix product in a process of its own."""
        return self._pool("product").submit(product_rate, precision, threads).result()

    def _pool(self, name: str) -> ProcessPoolExecutor:
        if name not in self.pools:
            self.pools[name] = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        return self.pools[name]

    def close(self) -> None:
        """End the processes."""
        for pool in self.pools.values():
            pool.shutdown()


def add_options(parser: "ArgumentParser") -> None:
    """Add the options of the command, which are the arguments of `main`."""
    parser.add_argument("--threads", type=int, default=2, help="of each way together")
    parser.add_argument("--precision", choices=DTYPES, default="float32", help="of the student")
    parser.add_argument("--steps", type=int, default=80, help="of each training, 64 images each")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way takes its turn")
    parser.add_argument(
        "--pair", choices=[str(pair) for pair in PAIRS], help="of teacher and student; default both"
    )
    parser.add_argument("--ways", default="", help="only ways whose name has this in it")
    parser.add_argument(
        "--profile", action="store_true", help="print operators of kdlm's way, and measure nothing"
    )


def main(
    threads: int,
    precision: str,
    steps: int,
    rounds: int,
    pair: str | None,
    ways: str,
    *,
    profile: bool,
) -> int:
    """Measure, print the table."""
    if steps < WARM_UP + 2:
        raise SystemExit(f"--steps: at least {WARM_UP + 2}")
    chosen = [way for way in WAYS if ways in way.name and way.jobs <= threads]
    workers = Workers()
    ratios = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            for each in PAIRS:
                if pair not in (None, str(each)):
                    continue
                work = Work(Path(folder), each, precision, threads, steps)
                prepare_work(work)
                if profile:
                    print_profile(work)
                else:
                    ratios += _measure(workers, chosen, work, rounds)
    finally:
        workers.close()
    if ratios:
        print("ratio " + "; ".join(ratios))
    return 0


def _measure(workers: Workers, ways: list[Way], work: Work, rounds: int) -> list[str]:
    """Measure all ways of training one student, print their rows, and return their ratios."""
    cost = count(work.pair)
    products: dict[str, list[float]] = {"float32": [], work.precision: []}
    measured = [ANSWERS, *ways] if not all(way.asks_teacher for way in ways) else ways
    rates: dict[str, list[float]] = {way.name: [] for way in measured}
    for _ in range(rounds):
        for precision, found in products.items():
            found.append(workers.product_rate(precision, work.threads))
        for way in measured:
            rates[way.name].append(workers.run(way, work))
    fastest = {precision: max(found) for precision, found in products.items()}
    middle = {name: statistics.median(found) for name, found in rates.items()}
    base = max((middle[way.name] for way in ways if not way.is_ours), default=None)
    speeds = ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in fastest.items())
    print(f"{work.pair}, {work.precision}, {work.threads} threads; matrix product: {speeds}")
    print(f"{'way':<26} {'images/s':>8} {'from':>6} {'to':>6} {'ms/step':>8} {'share':>6} ratio")
    ratios = []
    for way in measured:
        rate = middle[way.name]
        limit = cost.student / fastest[work.precision] if way is not ANSWERS else 0.0
        if way.asks_teacher:
            limit += cost.teacher / fastest[_of_teacher(work.precision)]
        ratio = f"{rate / base:.2f}" if base and way is not ANSWERS else "-"
        print(
            f"{way.name:<26} {rate:>8.0f} {min(rates[way.name]):>6.0f} {max(rates[way.name]):>6.0f}"
            f" {1000 * BATCH * way.jobs / rate:>8.1f} {limit * rate:>6.0%} {ratio:>5}"
        )
        if way.is_ours and way is not ANSWERS:
            ratios.append(f"{work.pair} {way.name} {ratio}")
    if base and ANSWERS in measured:
        best = max(middle[way.name] for way in ways if not way.asks_teacher)
        ratio = f"{ratio_of_study(base, best, middle[ANSWERS.name]):.2f}"
        name = f"{STUDENTS} students with answers"
        print(f"{name:<65} {ratio:>5}")
        ratios.append(f"{work.pair} {name} {ratio}")
    return ratios


def ratio_of_study(conventional: float, reading: float, answering: float) -> float:
    """Return by how much less time `STUDENTS` students of one teacher and one schedule take.

    Args:
        conventional: rate of a student that is trained the conventional way, in images per second.
        reading: that of a student who reads answers.
        answering: that of writing the answers, which is done once.

    """
    return (STUDENTS / conventional) / (STUDENTS / reading + 1 / answering)


def _of_teacher(precision: str) -> str:
    """Return the precision in which the teacher of such a student runs."""
    return "bfloat16" if precision == "bfloat16" else "float32"
