"""Snakemake's records of the jobs: command, inputs, outputs, start and end."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdlm.errors import InputError
from kdlm.sources import PACKAGE, digest

__all__ = [
    "Job",
    "Record",
    "check_sources",
    "input_checksums",
    "jobs",
    "read_records",
]

Record = dict[str, Any]

_DIGEST = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Job:
    """One job of the DAG; paths are relative to the folder that Snakemake ran in."""

    rule: str
    command: str
    parameters: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    logs: tuple[str, ...]
    started: float
    """Seconds since 1970; on a cluster, the time of the submission."""
    ended: float
    """Seconds since 1970."""

    @property
    def benchmark(self) -> str:
        """Path of the benchmark: that of the log, with benchmarks/ and .tsv for logs/ and .log."""
        return self.logs[0].replace("/logs/", "/benchmarks/", 1).removesuffix(".log") + ".tsv"


def read_records(root: Path, outputs: Iterable[Path]) -> dict[str, Record]:
    """Return Snakemake's record of each of ``outputs``, by path.

    Args:
        root: the folder that Snakemake ran in.
        outputs: paths relative to ``root``.

    Raises:
        InputError: ``root`` has no ``.snakemake``, or Snakemake has no record of an output or calls
            it incomplete.

    """
    from snakemake.io import IOFile  # noqa: PLC0415
    from snakemake.persistence.file import FilePersistence  # noqa: PLC0415

    folder = root.resolve() / ".snakemake"
    if not folder.is_dir():
        raise InputError(
            f"{folder} is missing: the archive holds Snakemake's record of every job; make it in "
            f"the folder that snakemake ran in"
        )
    # A Snakemake that runs this as a job holds the lock.
    persistence = FilePersistence(nolock=True, path=folder)
    records = {}
    for path in sorted(outputs):
        name = path.as_posix()
        record = persistence.metadata(IOFile(name))
        if record is None or record.incomplete or record.rule is None:
            raise InputError(f"{name}: Snakemake has no record of a finished job; run it again")
        records[name] = _without_answers(dict(record.model_dump(mode="json")))
    return records


def _without_answers(record: Record) -> Record:
    """Return a job's record without the teacher's answers among its inputs.

    They are not archived, and may have been removed when the study was done. They follow from the
    teacher, which is an input too, and from the student's spec; a rerun does without them.
    """

    def kept(name: str) -> bool:
        return Path(name).parts[2:3] != ("answers",)

    checksums = record.get("input_checksums") or {}
    return record | {
        "input": [name for name in record["input"] or () if kept(name)],
        "input_checksums": {name: value for name, value in checksums.items() if kept(name)},
    }


def jobs(records: Mapping[str, Record]) -> list[Job]:
    """Return the jobs that made the recorded outputs, in the order of their ends."""
    outputs: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, record in records.items():
        outputs[record["rule"], record["shellcmd"]].append(name)
    found = [
        Job(
            rule=rule,
            command=command,
            parameters=tuple(map(str, records[names[0]]["params"] or ())),
            inputs=tuple(records[names[0]]["input"] or ()),
            outputs=tuple(sorted(names)),
            logs=tuple(records[names[0]]["log"] or ()),
            started=min(records[name]["starttime"] for name in names),
            ended=max(records[name]["endtime"] for name in names),
        )
        for (rule, command), names in outputs.items()
    ]
    return sorted(found, key=lambda job: (job.ended, job.outputs))


def input_checksums(records: Mapping[str, Record]) -> dict[str, set[str]]:
    """Return every SHA-256 that an input had when a job read it, by the input's name.

    Snakemake records it only for small files. In an intact study every input has a single SHA-256.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for record in records.values():
        for name, checksum in (record.get("input_checksums") or {}).items():
            if checksum.startswith("sha256:"):
                found[name].add(checksum.removeprefix("sha256:"))
    return found


def check_sources(found: Iterable[Job]) -> None:
    """Check that every job was run from the present sources, which the archive will contain.

    Raises:
        InputError: a job was run from other sources.

    """
    modules = (
        ".".join(("kdlm", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
            ".__init__"
        )
        for path in PACKAGE.rglob("*.py")
    )
    known = {digest(module) for module in modules}
    for job in found:
        used = {part for text in job.parameters for part in _digests(text)}
        if not used <= known:
            raise InputError(
                f"{job.outputs[0]} was made by other sources than the present ones: run snakemake "
                f"again, or archive from the commit that made it"
            )


def _digests(parameter: str) -> list[str]:
    """Return the source digests in a recorded parameter; empty if it has anything else."""
    text = parameter.strip("'\"")
    return _DIGEST.findall(text) if re.fullmatch(r"([0-9a-f]{16})+", text) else []
