"""The circumstances of a run, for run.json: everything that can change the last bits of results."""

import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import torch

__all__ = ["circumstances"]

_PACKAGES = ("kdlm", "torch", "torchvision", "numpy", "pyarrow", "safetensors", "snakemake")


def _revision() -> str | None:
    """Return the git revision of the source, marked if files differ from it; None without git."""
    # --no-optional-locks: a lock on git's index would get in the way of other processes
    command = [
        "git",
        "--no-optional-locks",
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ]
    try:
        run = subprocess.run(  # noqa: S603
            command,
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return run.stdout.strip()


def _processor() -> str:
    """Return the model of the CPU, which decides the kernels that libraries choose."""
    other = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return other
    facts = dict([part.strip() for part in line.split(":", 1)] for line in lines if ":" in line)
    keys = ("model name", "cpu family", "model", "stepping")
    return " ".join(facts[key] for key in keys if key in facts) or other


def _version(package: str) -> str | None:
    """Return the version of an installed package; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def circumstances(device: torch.device) -> dict[str, Any]:
    """Return the facts about this process that run.json records.

    They are start and end (UTC) and the seconds between them, host, versions, git revision,
    command, device, CPU capability, number of threads, and whether kernels are deterministic.
    """
    started = psutil.Process().create_time()
    finished = time.time()
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(finished)),
        "seconds": round(finished - started, 3),
        "host": platform.node(),
        "machine": platform.machine(),
        "processor": _processor(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "revision": _revision(),
        # without sys.argv[0], a path on this machine
        "command": ["python", "-m", "kdlm", *sys.argv[1:]],
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
    }
