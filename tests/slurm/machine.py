"""This machine, as the cluster uses it: ports, processes on record, memory cgroups."""

import contextlib
import fcntl
import os
import random
import socket
from collections.abc import Iterable
from pathlib import Path

import psutil

__all__ = [
    "MEMORY_CGROUP",
    "PORTS",
    "PREFIX",
    "free_ports",
    "identity",
    "memory_is_constrained",
    "recorded",
    "remove_cgroups",
]

MEMORY_CGROUP = Path("/sys/fs/cgroup/memory")
# below the range from which the kernel gives ports to clients
PORTS = range(17_000, 32_000, 10)
PREFIX = "kdlm-slurm-"
"""How names begin that a cluster gives on this machine."""


def memory_is_constrained() -> bool:
    """Whether this machine has a memory cgroup (v1) that a node can hold its jobs to.

    Where it has, a job over its memory ends OUT_OF_MEMORY. Where it has none, Slurm samples the
    memory every two seconds and kills the job, which ends FAILED with exit code 0:9.
    """
    probe = MEMORY_CGROUP / f"{PREFIX}{os.getpid()}"
    try:
        probe.mkdir()
        # a plain folder is no cgroup
        constrained = (probe / "memory.limit_in_bytes").exists()
        probe.rmdir()
    except OSError:
        return False
    return constrained


def identity(process: psutil.Process) -> str:
    """A process id with the time of its start: ids come round again."""
    return f"{process.pid} {process.create_time()}"


def recorded(record: Path) -> psutil.Process | None:
    """The process that ``record`` names, if it still lives."""
    try:
        pid, created = record.read_text().split()
        process = psutil.Process(int(pid))
        alive = process.status() != psutil.STATUS_ZOMBIE
        # the clock may have been set since
        same = abs(process.create_time() - float(created)) < 2
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return None
    return process if alive and same else None


def free_ports(count: int) -> int:
    """The first of ``count`` free ports in a row."""
    for first in random.sample(PORTS, len(PORTS)):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise OSError(f"no {count} free ports in a row in {PORTS}")


def remove_cgroups(nodes: Iterable[str]) -> None:
    """Remove the empty memory cgroups of the nodes; what another cluster uses is not empty."""
    if not memory_is_constrained():
        return
    # the lock under which Slurm makes them
    door = os.open(MEMORY_CGROUP, os.O_RDONLY)
    try:
        fcntl.flock(door, fcntl.LOCK_EX)
        for node in nodes:
            for folder, _, _ in os.walk(MEMORY_CGROUP / f"slurm_{node}", topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()
    finally:
        os.close(door)
