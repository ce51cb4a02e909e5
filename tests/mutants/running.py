"""Runs the tests of a copy of the checkout, in a process that has heavy packages loaded already."""

import multiprocessing
import os
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["ROOT", "Failure", "prepare", "run_tests"]

ROOT = Path(__file__).parents[2]
SOURCES = ("src", "packages/snakemake-executor-plugin-submitit/src")
SERVER = multiprocessing.get_context("forkserver")
"""What tests are run by: processes that have the packages below loaded, but nothing of ours."""

PRELOADED = ["pytest", "hypothesis", "torch", "pandas", "pyarrow.parquet", "scipy.stats",
             "safetensors.torch", "seaborn", "pydantic", "submitit"]  # fmt: skip

PATIENCE = 600
"""Seconds after which tests count as failed: a fault may make them wait for ever."""


class Failure(Exception):  # noqa: N818
    """The tests could not be run, or fail without a fault."""


def prepare() -> None:
    """Set up the processes that run tests; call it first."""
    # two faults within a second could have the same size and time; more threads would only contend
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    SERVER.set_forkserver_preload(PRELOADED)


def run_tests(checkout: Path, tests: Sequence[str]) -> tuple[bool, str]:
    """Whether the tests of a copy pass, and else the first that failed, or the end of the output.

    Raises:
        Failure: pytest found no such tests.

    """
    output = checkout.parent / "output"
    process = SERVER.Process(target=_pytest, args=(checkout, output, [*tests]))
    process.start()
    process.join(PATIENCE)
    if process.exitcode is None:
        process.kill()
        process.join()
        return False, f"no end within {PATIENCE} s"
    lines = output.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    if process.exitcode in (4, 5):
        raise Failure(f"{' '.join(tests)}: {' '.join(lines[-10:])}")
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return process.exitcode == 0, (failed or lines[-1:] or [""])[0][:150]


def _pytest(checkout: Path, output: Path, tests: list[str]) -> None:
    """Run the tests in this process, which ends with pytest's status."""
    with output.open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.chdir(checkout)
    sources = [str(checkout / source) for source in SOURCES]
    # for the programs that tests start
    os.environ["PYTHONPATH"] = os.pathsep.join(sources)
    # before what is installed, and before the folder of this file: both are the checkout itself
    sys.path[:] = [*sources, str(checkout), *(one for one in sys.path if one != str(ROOT))]
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    import pytest

    status = pytest.main(
        ["-x", "-q", "-rf", "--tb=no", "-p", "no:cacheprovider", "--hypothesis-seed=0",
         f"--basetemp={checkout.parent}/temporary", *tests]
    )  # fmt: skip
    sys.stdout.flush()
    os._exit(int(status))
