"""docs/tutorial.md does what it says, block by block, in a copy of the checkout.

Blocks of two kinds are not run here: ``sh``, the installation, which has made the environment that
the tests run in, and ``pycon``, which test_sessions.py runs.
"""

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def _run(command: str, folder: Path) -> str:
    """Run a command of the page as a reader who has activated the environment."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    run = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=os.environ | {"PATH": path, "PYTHONPATH": str(folder / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, f"{command}\n{run.stdout[-3000:]}\n{run.stderr[-3000:]}"
    return run.stdout


def test_the_page_has_the_blocks_that_are_run() -> None:
    kinds = {kind for kind, _ in BLOCKS}
    assert kinds == {"sh", "pycon", "yaml", "python", "console"}


@pytest.mark.slow
def test_the_page_does_what_it_says(checkout: Path) -> None:
    for kind, block in BLOCKS:
        if kind in ("yaml", "python"):
            first = block.splitlines()[0]
            assert first.startswith("# "), f"the first line of a file is its name: {first}"
            (checkout / first.removeprefix("# ")).write_text(block, encoding="utf-8")
        elif kind == "console":
            for step in block.removeprefix("$ ").split("\n$ "):
                command, _, said = step.partition("\n")
                printed = _run(command, checkout)
                if said:
                    same = doctest.OutputChecker().check_output(said, printed, FLAGS)
                    assert same, f"{command}\n{printed}"
    trained = list((checkout / "results/tutorial/students").rglob("history.parquet"))
    assert len(trained) == 12


def test_the_losses_alone_work_from_what_pip_installs(checkout: Path, tmp_path: Path) -> None:
    """``pip install .``, but for the dependencies, and then the five lines from elsewhere."""
    block = next(block for kind, block in BLOCKS if kind == "pycon" and "kd_loss" in block)
    example = doctest.DocTestParser().get_doctest(block, {}, "losses", None, 0)
    target = tmp_path / "installed"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
         "--target", target, "."],
        cwd=checkout,
        check=True,
    )  # fmt: skip
    lines = "".join(one.source for one in example.examples[:-1])
    last = example.examples[-1]
    program = f"{lines}print({last.source.strip()})\nimport kdlm\nprint(kdlm.__file__)"
    printed = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(target)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    assert printed == f"{last.want}{target}/kdlm/__init__.py\n"
