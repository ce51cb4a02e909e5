"""Mean logits of untrained networks: the conventional way and kdlm's, milliseconds a seed.

The conventional way is, for each seed, to build a module, draw He's weights, run it on the images
and take the mean of the logits. Each way runs in a process of its own, with the settings that it
makes there. The processes are started once and take turns, so that all ways see the machine in the
same state. Ours is the function of the rule ``init_means``: its time contains the drawing of the
same number of weights, and sums in float64.

The conventional way is also timed with the settings that kdlm makes for memory, to show which part
of the ratio these are.
"""

import statistics
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from benchmarks.conventional import ResNet
from kdlm import published
from kdlm.networks.devices import configure_torch
from kdlm.networks.init_means import layer_means
from kdlm.study.specs import InitMeansSpec

if TYPE_CHECKING:
    from argparse import ArgumentParser

__all__ = ["WAYS", "Case", "add_options", "main"]

CLASSES, SIDE = 100, 32
Mode = Literal["train", "eval"]

MODES: tuple[Mode, ...] = ("train", "eval")
PROTOCOLS = 3 * len(MODES)
"""Three initialisations, which take equally long, in both modes of BatchNorm."""

Times = dict[str, float]
"""Seconds a seed, by way."""


@dataclass(frozen=True)
class Case:
    """A network and a protocol, and how much of it is run."""

    architecture: str
    batchnorm: Mode
    seeds: int
    images: int
    threads: int

    def spec(self, layer_seeds: int) -> InitMeansSpec:
        """Return kdlm's spec, with every layer recorded for so many seeds."""
        return InitMeansSpec(
            architecture=self.architecture,
            initialisation="he",
            batchnorm=self.batchnorm,
            first_seed=0,
            seeds=self.seeds,
            layer_seeds=layer_seeds,
            images=self.images,
            num_classes=CLASSES,
            threads=self.threads,
        )

    def draw_images(self) -> Tensor:
        """Return images of noise (N, 3, 32, 32)."""
        generator = torch.Generator().manual_seed(0)
        return torch.randn(self.images, 3, SIDE, SIDE, generator=generator)


def mean_logits(case: Case, images: Tensor) -> list[float]:
    """Return the mean logit of each seed, as the field computes it."""
    found = []
    for seed in range(case.seeds):
        torch.manual_seed(seed)
        model = ResNet(int(case.architecture.removeprefix("resnet")), CLASSES)
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        model.train(case.batchnorm == "train")
        with torch.no_grad():
            found.append(model(images).mean().item())
    return found


def conventionally(case: Case) -> float:
    """Return the seconds a seed of the conventional way, in a process as torch leaves it."""
    torch.set_num_threads(case.threads)
    return _seconds(mean_logits, case, case.draw_images())


def with_settings(case: Case) -> float:
    """Return the seconds a seed of the conventional way, in a process that kdlm has set up."""
    configure_torch(case.threads)
    return _seconds(mean_logits, case, case.draw_images())


def logits_only(case: Case) -> float:
    """Return the seconds a seed of kdlm's way, for seeds that record the logits."""
    configure_torch(case.threads)
    return _seconds(layer_means, case.spec(layer_seeds=0), case.draw_images())


def every_layer(case: Case) -> float:
    """Return the seconds a seed of kdlm's way, for seeds that record every layer."""
    configure_torch(case.threads)
    return _seconds(layer_means, case.spec(layer_seeds=case.seeds), case.draw_images())


def _seconds(run: Callable[..., object], asked: Case | InitMeansSpec, images: Tensor) -> float:
    started = time.perf_counter()
    run(asked, images)
    return (time.perf_counter() - started) / asked.seeds


WAYS: dict[str, Callable[[Case], float]] = {
    "conventional": conventionally,
    "the same, set up": with_settings,
    "logits only": logits_only,
    "every layer": every_layer,
}
"""By name in the table, the function that times a case; the first is what ratios refer to."""


def add_options(parser: "ArgumentParser") -> None:
    """Add the options of the command, which are the arguments of `main`."""
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=8, help="of each network in its turn")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way takes its turn")


def main(threads: int, images: int, seeds: int, rounds: int) -> int:
    """Measure, print the table."""
    print(f"{images} images of {SIDE}×{SIDE}, {threads} threads, milliseconds a seed")
    print(f"{'network':<9} {'mode':<6}" + "".join(f"{way:>18}" for way in WAYS) + "  ratio")
    pools = {way: ProcessPoolExecutor(1, mp_context=get_context("spawn")) for way in WAYS}
    together: dict[str, Times] = {}
    try:
        for mode in MODES:
            of_networks = []
            for architecture in published.MEANS:
                case = Case(architecture, mode, seeds, images, threads)
                of_networks.append(_measure(pools, case, rounds))
                _print_row(architecture, mode, of_networks[-1])
            together[mode] = {way: sum(times[way] for times in of_networks) for way in WAYS}
            _print_row("together", mode, together[mode])
    finally:
        for pool in pools.values():
            pool.shutdown()
    for way in WAYS:
        hours = _hours(together[mode][way] for mode in MODES)
        print(f"Table 1, {published.SEEDS} seeds in {PROTOCOLS} protocols, {way}: {hours:.1f} h")
    print("ratio " + "; ".join(f"{mode} {_ratio(together[mode]):.2f}" for mode in MODES))
    return 0


def _measure(pools: dict[str, ProcessPoolExecutor], case: Case, rounds: int) -> Times:
    """Return the median time of each way over some rounds, in each of which all take a turn."""
    for way, run in WAYS.items():
        # the first seed of a network is slower
        pools[way].submit(run, replace(case, seeds=1)).result()
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, run in WAYS.items():
            taken[way].append(pools[way].submit(run, case).result())
    return {way: statistics.median(found) for way, found in taken.items()}


def _hours(of_modes: Iterable[float]) -> float:
    """Return the hours of Table 1 from the seconds a seed, of all networks, in each mode."""
    return sum(of_modes) * PROTOCOLS / len(MODES) * published.SEEDS / 3600


def _ratio(times: Times) -> float:
    return times["conventional"] / times["logits only"]


def _print_row(network: str, mode: str, times: Times) -> None:
    columns = "".join(f"{1000 * times[way]:>18.1f}" for way in WAYS)
    print(f"{network:<9} {mode:<6}{columns} {_ratio(times):>6.2f}", flush=True)
