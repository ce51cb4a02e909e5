"""An archive unpacked and checked in a new folder, and its statements about itself."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kdlm.archive import FORMAT
from kdlm.archive.manifest import file_sha256
from kdlm.archive.names import FACTS, MOST, SOURCE, complaint
from kdlm.archive.unpacking import unpack
from kdlm.errors import InputError
from kdlm.reproduce.running import run_commands
from kdlm.reproduce.told import read_object, shown
from kdlm.study.config import Study, parse

__all__ = ["UNTOLD", "Facts", "Unpacked", "open_archive"]

UNTOLD = "the archive has neither it nor, among what was left out, its SHA-256"
"""The reason why an output of the study cannot be judged: the archive has no SHA-256 of it."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_LARGEST_CONFIG = 1 << 20
"""Bytes; the config of a study of 1000 jobs has about 5,000."""


@dataclass(frozen=True)
class Facts:
    """The content of ``archive.json``."""

    study: str
    kdlm: str
    """Version of kdlm that made the archive."""
    commit: str | None
    """Commit of the source; None if the archive states none that is valid."""
    as_committed: bool
    """Whether the archive states that its source equals the commit."""
    left_out: dict[str, str]
    """SHA-256 by name of the outputs that the archive leaves out."""


@dataclass(frozen=True)
class Unpacked:
    """A checked archive."""

    archive: Path
    """The archive's file."""
    folder: Path
    """The folder that it is unpacked in."""
    sha256: str
    """SHA-256 of the archive's file."""
    digests: dict[str, str]
    """SHA-256 by name of every file in the archive, except the manifest."""
    facts: Facts

    @property
    def results(self) -> Path:
        """The folder of the archived study."""
        return self.folder / self.prefix

    @property
    def prefix(self) -> str:
        """Prefix of the names of all results, ``results/<study>``."""
        return f"results/{self.facts.study}"

    @property
    def left_out(self) -> dict[str, str]:
        """SHA-256 by name of the outputs that the archive leaves out."""
        return self.facts.left_out

    def digest(self, name: str) -> str | None:
        """Return the SHA-256 of an output, archived or left out; None if the archive has none."""
        return self.digests.get(name) or self.left_out.get(name)

    @cached_property
    def study(self) -> Study:
        """The archived config.

        L0 never reads it, because an untrusted config may ask for any number of jobs.

        Raises:
            InputError: this version cannot read the config, or the config asks for more jobs than
                an archive can have files.

        """
        path = self.results / "study.json"
        if path.stat().st_size > _LARGEST_CONFIG:
            raise InputError(f"{path}: more than {_LARGEST_CONFIG} bytes, so no config of a study")
        study = parse(read_object(path))
        if study.study != self.facts.study:
            raise InputError(
                f"{self.archive}: {FACTS} says study {self.facts.study!r}, study.json "
                f"{study.study!r}"
            )
        if (jobs := _jobs_at_most(study)) > MOST:
            raise InputError(
                f"{path}: asks for up to {jobs} jobs, and an archive has at most {MOST} files"
            )
        return study

    @cached_property
    def records(self) -> dict[str, Any]:
        """Snakemake's record of every output, by name."""
        return read_object(self.folder / "snakemake/records.json")

    @cached_property
    def recorded_inputs(self) -> frozenset[str]:
        """Names of all files that jobs read, by Snakemake's records."""
        return frozenset(
            str(name) for record in self.records.values() for name in record.get("input") or ()
        )

    @property
    def figures(self) -> list[str]:
        """Names of the study's figures, including figures that the archive lacks.

        The archive may come from a version with other figures than this one. The names are
        therefore collected from its files, those left out, and the recorded inputs of its jobs.
        """
        folder = f"{self.prefix}/figures/"
        known = {*self.digests, *self.left_out, *self.recorded_inputs}
        return sorted({Path(name).stem for name in known if name.startswith(folder)})

    def run(self, arguments: list[str], folder: Path, threads: int = 1) -> str | None:
        """Run a command of the archived source in ``folder``; return its error, or None."""
        return self.run_all([arguments], folder, threads)[0]

    def run_all(
        self, commands: list[list[str]], folder: Path, threads: int = 1
    ) -> list[str | None]:
        """Run several commands of the archived source; see `run_commands`."""
        return run_commands(
            self.folder / SOURCE / "src", commands, folder, self.folder / ".matplotlib", threads
        )


def _jobs_at_most(study: Study) -> int:
    """Return an upper bound of the number of jobs: students of several arms count repeatedly."""
    means = study.init_means
    kinds = len(means.architectures) * len(means.initialisations) * len(means.batchnorm)
    students = sum(arm.students for arm in study.arms)
    return len(study.teachers) + students + kinds * -(-means.seeds // means.shard_size)


def open_archive(archive: Path, folder: Path) -> Unpacked:
    """Check ``archive`` and unpack it into ``folder``, which must be new or empty.

    Only ``archive.json`` is parsed here; the config and the records are parsed on first use.

    Raises:
        InputError: `kdlm.archive.unpacking.unpack` refuses the archive, its format is another, or
            ``archive.json`` lacks a fact.

    """
    digests = unpack(archive, folder)
    facts = _facts(archive, folder)
    if "/" in facts.study or f"results/{facts.study}/study.json" not in digests:
        raise InputError(
            f"{archive}: {FACTS} says study {shown(facts.study)}, of which there is no study.json"
        )
    return Unpacked(archive, folder, file_sha256(archive), digests, facts)


def _facts(archive: Path, folder: Path) -> Facts:
    told = read_object(folder / FACTS)
    if told.get("format") != FORMAT:
        raise InputError(
            f"{archive}: format {shown(told.get('format'))}, this version reads {FORMAT}. Only a "
            f"version of kdlm that knows that format can check it. The archive's own source "
            f"({folder / SOURCE}) may, but it is the code of whoever made the archive, and would "
            f"run as you, with all that you may do: read it first, and if you then trust it, run "
            f"python -m kdlm reproduce there"
        )
    source, left_out, study = told.get("source"), told.get("left_out"), told.get("study")
    if not (isinstance(source, dict) and isinstance(left_out, dict) and isinstance(study, str)):
        raise InputError(f"{archive}: {FACTS} lacks what an archive says of itself")
    digests = {}
    for name, told_of in left_out.items():
        digest = told_of.get("sha256") if isinstance(told_of, dict) else None
        if complaint(name) or not (isinstance(digest, str) and _SHA256.fullmatch(digest)):
            raise InputError(
                f"{archive}: {FACTS} says of what was left out ({shown(name)}) no SHA-256 of a "
                f"file of a study"
            )
        digests[name] = digest
    commit = source.get("commit")
    known = isinstance(commit, str) and _COMMIT.fullmatch(commit)
    return Facts(
        study=study,
        kdlm=str(told.get("kdlm")),
        commit=commit if known else None,
        as_committed=source.get("as_committed") is True,
        left_out=digests,
    )
