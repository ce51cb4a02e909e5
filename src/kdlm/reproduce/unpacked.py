"""An archive in a folder of its own, all of it checked; and running the source it holds."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kdlm.archive import FORMAT
from kdlm.archive.manifest import file_sha256
from kdlm.archive.names import FACTS, SOURCE
from kdlm.archive.unpacking import unpack
from kdlm.errors import InputError
from kdlm.study.config import Study, parse

__all__ = ["UNTOLD", "Unpacked", "open_archive", "read_object"]

UNTOLD = "the archive has neither it nor, among what was left out, its SHA-256"
"""Why an output that the study must have had cannot be judged."""

_THREADS = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS",
    "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
)  # fmt: skip

_DRIVER = """
import io, json, os, sys
from contextlib import redirect_stderr, redirect_stdout
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


@dataclass(frozen=True)
class Unpacked:
    """A checked archive."""

    archive: Path
    folder: Path
    sha256: str
    """Of the archive itself."""
    digests: dict[str, str]
    """SHA-256 by name of every file in the archive."""
    facts: dict[str, Any]
    study: Study

    @property
    def results(self) -> Path:
        """The archived study's folder."""
        return self.folder / self.prefix

    @property
    def prefix(self) -> str:
        """Of the names of results."""
        return f"results/{self.study.study}"

    def digest(self, name: str) -> str | None:
        """SHA-256 of an output, archived or left out."""
        return self.digests.get(name) or self.left_out.get(name)

    @cached_property
    def left_out(self) -> dict[str, str]:
        """SHA-256 by name of what the archive says that it leaves out."""
        return {name: entry["sha256"] for name, entry in self.facts["left_out"].items()}

    @cached_property
    def recorded_inputs(self) -> frozenset[str]:
        """Names of all files that a job read, by Snakemake's records."""
        records = read_object(self.folder / "snakemake/records.json")
        return frozenset(
            str(name) for record in records.values() for name in record.get("input") or ()
        )

    @property
    def figures(self) -> list[str]:
        """Names of the study's figures, those that the archive lacks among them.

        The study is of another version perhaps, so they are those that its report was made of.
        """
        folder = f"{self.prefix}/figures/"
        known = {*self.digests, *self.left_out, *self.recorded_inputs}
        return sorted({Path(name).stem for name in known if name.startswith(folder)})

    def run(self, arguments: list[str], folder: Path, threads: int = 1) -> str | None:
        """Run a command of the archived source in ``folder``; what went wrong, or None."""
        return self.run_all([arguments], folder, threads)[0]

    def run_all(
        self, commands: list[list[str]], folder: Path, threads: int = 1
    ) -> list[str | None]:
        """Run commands of the archived source one after the other, in one process.

        No shell is involved, nothing that the archive has as a command line is run, and modules
        come from the archive's source before any that is installed.
        """
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
            "PYTHONPATH": str((self.folder / SOURCE / "src").resolve()),
            # the checked source stays as it is
            "PYTHONDONTWRITEBYTECODE": "1",
            # no look of figures that lies in the user's home
            "MPLCONFIGDIR": str((self.folder / ".matplotlib").resolve()),
            # as Snakemake sets them for a job of as many threads
            **dict.fromkeys(_THREADS, str(threads)),
        }
        run = subprocess.run(  # noqa: S603
            # -P: not the modules of the folder it runs in
            [sys.executable, "-P", "-c", _DRIVER],
            cwd=folder,
            env=environment,
            input=json.dumps(commands),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            check=False,
        )
        # a line for each command that came to an end
        ends = [json.loads(line) for line in run.stdout.splitlines()]
        ends += [f"ended with status {run.returncode}"] * (len(commands) - len(ends))
        return [
            None if end is None else f"kdlm {arguments[0]}: {end}"
            for arguments, end in zip(commands, ends, strict=True)
        ]


def open_archive(archive: Path, folder: Path) -> Unpacked:
    """Check ``archive`` and unpack it into ``folder``, which must be new or empty.

    Raises:
        InputError: see `kdlm.archive.unpacking.unpack`; or it is of another format, or its config
            is not one that this version knows.

    """
    digests = unpack(archive, folder)
    facts = read_object(folder / FACTS)
    found, name = facts.get("format"), facts.get("study")
    if not all(isinstance(facts.get(key), dict) for key in ("left_out", "source")):
        raise InputError(f"{archive}: {FACTS} lacks what an archive says of itself")
    if found != FORMAT:
        raise InputError(
            f"{archive}: format {found}, this version reads {FORMAT}; use the source it holds: "
            f"PYTHONPATH={folder / SOURCE / 'src'} python -m kdlm reproduce {archive}"
        )
    if f"results/{name}/study.json" not in digests:
        raise InputError(f"{archive}: {FACTS} says study {name!r}, of which there is no study.json")
    study = parse(read_object(folder / f"results/{name}/study.json"))
    if study.study != name:
        raise InputError(f"{archive}: {FACTS} says study {name!r}, study.json {study.study!r}")
    return Unpacked(archive, folder, file_sha256(archive), digests, facts, study)


def read_object(path: Path) -> dict[str, Any]:
    """What a JSON file of an archive holds.

    Raises:
        InputError: the archive has no such file, or it is no JSON object.

    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"the archive holds no {path.name}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: not a JSON object")
    return found
