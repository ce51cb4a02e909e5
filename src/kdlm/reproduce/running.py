"""Running kdlm's commands from the source in a given folder, not from the installed package.

This is not a sandbox: code of an archive has all rights of the user who runs it. It ensures only
that the code which runs is the code that a reviewer can read: modules are compiled from the
source's ``.py`` files when they are imported, and compiled files are ignored.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from kdlm.reproduce.told import shown

__all__ = ["run_commands"]

_THREADS = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS",
    "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
)  # fmt: skip

_DRIVER = """
import io, json, os, sys
from contextlib import redirect_stderr, redirect_stdout
from importlib.machinery import FileFinder, SourceFileLoader

source = sys.argv[1]

class Readable(SourceFileLoader):
    # no compiled file beside the source is looked for, whatever it says of its age
    def get_code(self, fullname):
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)

def readable(folder):
    if not os.path.join(folder, "").startswith(os.path.join(source, "")):
        raise ImportError(folder)
    return FileFinder(folder, (Readable, [".py"]))

sys.path_hooks.insert(0, readable)
sys.path.insert(0, source)
commands = json.load(sys.stdin)
answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
for arguments in commands:
    said = io.StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(said):
            from kdlm.cli import main
            status = main(arguments)
        lines = said.getvalue().strip().splitlines() or [f"status {status}"]
        end = lines[-1] if status else None
    except BaseException as error:
        end = f"{type(error).__name__}: {error}"
    print(json.dumps(end), file=answers, flush=True)
"""
"""Program that runs the commands on stdin, and answers each with null or its error, as JSON."""


def run_commands(
    source: Path, commands: list[list[str]], folder: Path, scratch: Path, threads: int = 1
) -> list[str | None]:
    """Run commands of the kdlm in ``source`` one after the other, in one process.

    No shell is used, and no command line recorded in an archive is run.

    Args:
        source: the folder that contains the package.
        commands: the arguments of each command.
        folder: the working folder.
        scratch: matplotlib's config folder, used so that the user's own style has no effect.
        threads: number of threads, set in the environment as Snakemake does for a job.

    Returns:
        The error of each command; None for a success.

    """
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
        "PYTHONNOUSERSITE": "1",
        # No bytecode is written next to the checked source.
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPLCONFIGDIR": str(scratch.resolve()),
        **dict.fromkeys(_THREADS, str(threads)),
    }
    run = subprocess.run(  # noqa: S603
        # -s leaves out packages in the user's home, -P modules in the working folder.
        [sys.executable, "-s", "-P", "-c", _DRIVER, str(source.resolve())],
        cwd=folder,
        env=environment,
        input=json.dumps(commands),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    ends = _answers(run.stdout, len(commands))
    ends += [f"ended with status {run.returncode}"] * (len(commands) - len(ends))
    return [
        None if end is None else f"kdlm {arguments[0]}: {end}"
        for arguments, end in zip(commands, ends, strict=True)
    ]


def _answers(said: str, count: int) -> list[str | None]:
    """Return the answers in the driver's output, up to the first line that is not JSON."""
    ends: list[str | None] = []
    for line in said.splitlines()[:count]:
        try:
            end = json.loads(line)
        except (ValueError, RecursionError):
            break
        ends.append(end if end is None or isinstance(end, str) else shown(end))
    return ends
