"""A study that is tiny but whole, for the tests."""

import copy
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.fault_report", "tests.finished_study", "tests.archived_study"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make captured output encodable: xdist cannot send half characters, which tests provoke."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    return report


def pytest_configure() -> None:
    """Let the programs that tests start be ended by Ctrl-C, and examples take their time.

    What a script starts in the background ignores SIGINT, and so does all that it starts.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Before torch is imported. Workers that share two cores are slowed down several times by two
    # threads each; a job of the study sets its number of threads itself.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # a machine that others use may take long over any example; the same examples each time, unless
    # a seed of one's own asks for others
    settings.register_profile(
        "kdlm",
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        derandomize="KDLM_FUZZ_SEED" not in os.environ,
    )
    settings.load_profile("kdlm")


TINY = """
study: tiny
dataset: {name: digits}
device: cpu
threads: 1
recipes:
  short: {optimizer: sgd, learning_rate: 0.05, momentum: 0.9, weight_decay: 0,
          schedule: {name: constant}, epochs: 1, batch_size: 256, augment: true}
teachers:
  - {architecture: resnet8, initialisation: he, recipe: short}
arms:
  - {teacher: resnet8-he-short, architecture: resnet8, initialisation: he, recipe: short,
     losses: [ce, kd, lm], temperatures: [4, .inf], mean_gaps: [0], seeds: [0, 1]}
  - {teacher: resnet8-he-short, architecture: resnet8, initialisation: he, recipe: short,
     losses: [kd], temperatures: [4], mean_gaps: [0, 5], perturbations: [0, 1], seeds: [0]}
init_means:
  dataset: {name: photographs}
  images: 4
  num_classes: 10
  architectures: [resnet8]
  initialisations: [he]
  batchnorm: [train, eval]
  seeds: 3
  shard_size: 2
theory: {temperatures: [1, 100, 1000, 10000, .inf], samples: 20}
margins:
  identity: 1.0e-9
  limit: 1.0e-2
  slope: [-1.1, -0.9]
  scale: 10
  gradient_sum: 1.0e-6
  drift: 0.05
  classifier_sum: 1.0e-4
  trained: 0.1
  rounding: 0.01
  seed_disagreement: 1.0
  accuracy: 0.01
  shrinkage: 0.95
  initial_mean: 0.3
  layer_mean: 0.05
  plausibility: 0.05
"""


@pytest.fixture(scope="session")
def tiny() -> dict[str, Any]:
    """The tiny config; not to be changed."""
    loaded: dict[str, Any] = yaml.safe_load(TINY)
    return loaded


@pytest.fixture
def config(tiny: dict[str, Any]) -> dict[str, Any]:
    """A copy of the tiny config, to be changed at will."""
    return copy.deepcopy(tiny)


@pytest.fixture(scope="session")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the archived default study, with its claims and tables; not to be changed."""
    folder = tmp_path_factory.mktemp("record")
    with zipfile.ZipFile(Path(__file__).parents[1] / "results/reference/digits.zip") as packed:
        for name in ("claims", "tables/runs", "tables/histories", "tables/comparisons"):
            packed.extract(f"results/digits/{name}.parquet", folder)
    return folder / "results/digits"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Function that mounts a disk in memory with the given options."""
    if os.geteuid() != 0 or not sys.platform.startswith("linux"):
        pytest.skip("only root may mount a small disk, and only Linux has them in memory")
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if subprocess.run(command, check=False).returncode:
            pytest.skip("this root may not mount, as in a container")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", folder], check=True)
