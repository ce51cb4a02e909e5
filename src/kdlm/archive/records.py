"""What Snakemake recorded of every job: command, inputs, outputs, start and end."""

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
    """One job of the DAG; paths are relative to the folder Snakemake ran in."""

    rule: str
    command: str
    parameters: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    logs: tuple[str, ...]
    started: float
    """Seconds since 1970, as Snakemake saw it: where there is a queue, the submission."""
    ended: float

    @property
    def benchmark(self) -> str:
        """Where its benchmark lies: as its log, in another folder."""
        return self.logs[0].replace("/logs/", "/benchmarks/", 1).removesuffix(".log") + ".tsv"


def read_records(root: Path, outputs: Iterable[Path]) -> dict[str, Record]:
    """Snakemake's record of every output, by path; ``root`` is the folder it ran in.

    Raises:
        InputError: Snakemake knows nothing of an output, or thinks it incomplete.

    """
    from snakemake.io import IOFile  # noqa: PLC0415
    from snakemake.persistence.file import FilePersistence  # noqa: PLC0415

    folder = root.resolve() / ".snakemake"
    if not folder.is_dir():
        raise InputError(
            f"{folder} is missing: the archive holds Snakemake's record of every job; make it in "
            f"the folder that snakemake ran in"
        )
    # the controller holds the lock while its job reads
    persistence = FilePersistence(nolock=True, path=folder)
    records = {}
    for path in sorted(outputs):
        name = path.as_posix()
        record = persistence.metadata(IOFile(name))
        if record is None or record.incomplete or record.rule is None:
            raise InputError(f"{name}: Snakemake has no record of a finished job; run it again")
        records[name] = dict(record.model_dump(mode="json"))
    return records


def jobs(records: Mapping[str, Record]) -> list[Job]:
    """The jobs behind the records, in the order of their ends."""
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
    """SHA-256 of the jobs' inputs when they read them, by name.

    Snakemake takes that of small files. What the jobs that read a file saw is one and the same
    wherever a study is whole.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for record in records.values():
        for name, checksum in (record.get("input_checksums") or {}).items():
            if checksum.startswith("sha256:"):
                found[name].add(checksum.removeprefix("sha256:"))
    return found


def check_sources(found: Iterable[Job]) -> None:
    """Hold the sources that jobs were run from against those that would be archived with them.

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
    """Source digests in a recorded parameter, which is theirs alone."""
    text = parameter.strip("'\"")
    return _DIGEST.findall(text) if re.fullmatch(r"([0-9a-f]{16})+", text) else []
