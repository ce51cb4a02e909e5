"""Running commands of one checkout's source, and of no other that is installed.

This is no sandbox: code of an archive can do whatever its user may. It keeps apart what is run from
what can be read: modules come from the source's ``.py`` files, compiled where they are imported.
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
"""Runs the commands on stdin; answers each with null, or what went wrong."""


def run_commands(
    source: Path, commands: list[list[str]], folder: Path, scratch: Path, threads: int = 1
) -> list[str | None]:
    """Run commands of the kdlm in ``source`` one after the other, in one process.

    No shell is involved, and nothing that an archive has as a command line is run.

    Args:
        source: the folder that holds the package.
        commands: arguments of each.
        folder: where they run.
        scratch: for matplotlib, so that no look of figures in the user's home matters.
        threads: as Snakemake sets them for a job of as many.

    Returns:
        What went wrong with each; None where nothing did.

    """
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
        "PYTHONNOUSERSITE": "1",
        # the checked source stays as it is
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPLCONFIGDIR": str(scratch.resolve()),
        **dict.fromkeys(_THREADS, str(threads)),
    }
    run = subprocess.run(  # noqa: S603
        # -s: nothing of the user's own packages; -P: not the modules of the folder it runs in
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
    """A line for each command that came to an end; whatever else was printed is none."""
    ends: list[str | None] = []
    for line in said.splitlines()[:count]:
        try:
            end = json.loads(line)
        except (ValueError, RecursionError):
            break
        ends.append(end if end is None or isinstance(end, str) else shown(end))
    return ends
