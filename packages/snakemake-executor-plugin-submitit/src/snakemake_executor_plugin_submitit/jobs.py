"""A Snakemake job as the plugin sees it: what it makes, how, what it asks for, its name."""

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
"""Bytes of a name in a log's path; file systems take 255."""


@dataclass(frozen=True)
class Planned:
    """A job that is ready to be submitted."""

    job: JobExecutorInterface
    request: Request
    key: str
    """What it makes, as text: the first of its files."""
    fingerprint: str
    """How it makes it: a digest of its rules, commands, parameters, wildcards and files, and of
    when its inputs were last changed."""
    title: str
    """Rule and wildcards, for people."""
    logs: Path
    """Folder of its logs, one for each time it is submitted."""
    command: str
    """What the node runs."""


def plan(job: JobExecutorInterface, logs: Path, command: str) -> Planned:
    """What is to be known of a job before it is submitted.

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
    # a group has none
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
    """The jobs of a group, or the one job; the interface names neither all that is used of them."""
    return job.jobs if job.is_group() else [job]


def _member(job: Any) -> dict[str, Any]:
    properties: dict[str, Any] = json.loads(job.properties())
    described = {name: properties.get(name) for name in ("rule", "wildcards", "params")}
    return described | {"command": job.shellcmd}


def _changed(path: str) -> int | None:
    """When a file was changed; None of one that is not there, or not on this file system."""
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return None


def _part(text: str) -> str:
    """Text as one part of a path."""
    safe = re.sub(r"[^\w=.,+-]", "_", text, flags=re.ASCII)
    if len(safe) > LONGEST_PART or safe in {".", ".."}:
        safe = f"{safe[: LONGEST_PART - 17]}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return safe


def arrays(planned: Iterable[Planned], largest: int) -> list[Sequence[Planned]]:
    """Jobs that ask for the same, in runs of at most ``largest``."""
    alike: dict[Request, list[Planned]] = defaultdict(list)
    for one in planned:
        alike[one.request].append(one)
    return [
        members[start : start + largest]
        for members in alike.values()
        for start in range(0, len(members), largest)
    ]
