"""Describe Snakemake jobs for the plugin: outputs, fingerprint, requested resources and title."""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

from snakemake_executor_plugin_submitit.resources import Request, request

__all__ = ["Planned", "arrays", "plan"]

LONGEST_PART = 200
"""Largest number of bytes in one part of a log's path; file systems allow 255."""


@dataclass(frozen=True)
class Planned:
    """A job that is ready to be submitted."""

    job: JobExecutorInterface
    request: Request
    key: str
    """What the job makes: its first output file or, without outputs, its whole description."""
    fingerprint: str
    """How the job makes its outputs: a SHA-256 of its rules, commands, parameters, wildcards and
    files, and of the times at which its inputs were last changed."""
    title: str
    """Rule and wildcards, for messages."""
    logs: Path
    """Folder of the job's logs, one for each submission."""
    command: str
    """The command that runs on the node."""


def plan(job: JobExecutorInterface, logs: Path, command: str) -> Planned:
    """Return everything that the plugin has to know of a job before submitting it.

    Args:
        job: the job, or a group of jobs.
        logs: folder of all logs.
        command: the command that runs on the node.

    Raises:
        ValueError: a resource cannot be translated.
    """
    outputs = sorted(map(str, job.output))
    described = {
        "members": sorted(json.dumps(_member(one), sort_keys=True) for one in _members(job)),
        "input": sorted((str(path), _changed(str(path))) for path in job.input),
        "output": outputs,
    }
    text = json.dumps(described, sort_keys=True)
    # A group of jobs has no wildcards.
    wildcards: dict[str, str] = json.loads(job.properties()).get("wildcards") or {}
    pairs = [f"{name}={value}" for name, value in wildcards.items()]
    return Planned(
        job=job,
        request=request(job.threads, job.resources),
        key=outputs[0] if outputs else text,
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        title=" ".join([job.name, *pairs]),
        logs=logs.joinpath(_part(job.name), *map(_part, pairs)),
        command=command,
    )


def _members(job: JobExecutorInterface) -> Iterable[Any]:
    """Return the jobs of a group, or the single job.

    They are Any, because their declared interface lacks some attributes used here.
    """
    return job.jobs if job.is_group() else [job]


def _member(job: Any) -> dict[str, Any]:
    properties: dict[str, Any] = json.loads(job.properties())
    described = {name: properties.get(name) for name in ("rule", "wildcards", "params")}
    return described | {"command": job.shellcmd}


def _changed(path: str) -> int | None:
    """Return the time in ns at which a file was last changed; None if there is no such file."""
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return None


def _part(text: str) -> str:
    """Return the text as one part of a path, with unsafe characters replaced."""
    safe = re.sub(r"[^\w=.,+-]", "_", text, flags=re.ASCII)
    if len(safe) > LONGEST_PART or safe in {".", ".."}:
        safe = f"{safe[: LONGEST_PART - 17]}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return safe


def arrays(planned: Iterable[Planned], largest: int) -> list[Sequence[Planned]]:
    """Return the jobs grouped by equal requests, in groups of at most ``largest`` jobs."""
    alike: dict[Request, list[Planned]] = defaultdict(list)
    for one in planned:
        alike[one.request].append(one)
    return [
        members[start : start + largest]
        for members in alike.values()
        for start in range(0, len(members), largest)
    ]
