"""Checks of the machine: Python, locale, torch and CUDA, Snakemake, Slurm."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from kdlm.doctor.finding import Finding, ok, output_of, problem, warning
from kdlm.study.config import Study

__all__ = [
    "PROGRAM_SECONDS",
    "TORCH_SECONDS",
    "locale",
    "python",
    "slurm",
    "snakemake",
    "submitit",
    "torch",
]

PROGRAM_SECONDS = 5.0
"""How long a program of Slurm may take to answer."""
TORCH_SECONDS = 120.0
"""How long torch may take; on a cold network file system its import takes a minute."""

_INSTALL = "run `make study`, or see the README"
_PLUGIN = "snakemake-executor-plugin-submitit"
_OLDEST_SNAKEMAKE = (9, 27)

_ASK_TORCH = """
import json, torch
cuda = torch.cuda.is_available()
print(json.dumps({
    "version": torch.__version__,
    "capability": torch.backends.cpu.get_cpu_capability(),
    "threads": torch.get_num_threads(),
    "built for": torch.version.cuda,
    "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count() * cuda)],
}))
"""


def python() -> Iterator[Finding]:
    """Say which Python runs; an older one than 3.11 could not read this line."""
    yield ok("Python", f"{'.'.join(map(str, sys.version_info[:3]))}, {sys.executable}")


def locale() -> Iterator[Finding]:
    """Check that names of files and what is printed can have letters beyond ASCII."""
    files = sys.getfilesystemencoding()
    printed = getattr(sys.stdout, "encoding", None) or files
    wrong = [
        f"{what} {encoding}"
        for what, encoding in (("names of files:", files), ("output:", printed))
        if encoding.lower().replace("-", "") != "utf8"
    ]
    if wrong:
        yield warning(
            "locale",
            f"not UTF-8 ({', '.join(wrong)})",
            "letters beyond ASCII are printed as escapes; export LC_ALL=C.UTF-8",
        )
    else:
        yield ok("locale", "UTF-8")


def torch(study: Study | None) -> Iterator[Finding]:
    """Check torch and CUDA, in a process of its own: a broken torch can end its process.

    Args:
        study: the study that is asked for, whose device and threads are compared with what there
            is; None if there is none.

    """
    _, printed = output_of([sys.executable, "-c", _ASK_TORCH], TORCH_SECONDS - 5)
    try:
        facts = json.loads(_last_line(printed))
    except ValueError:
        text = f"cannot be imported ({_last_line(printed)})"
        yield problem("torch", text, f"python -c 'import torch' tells more; {_INSTALL}")
        return
    yield ok(
        "torch",
        f"{facts['version']}, CPU capability {facts['capability']}, threads: {facts['threads']}",
    )
    cores = len(os.sched_getaffinity(0))
    if study is not None and study.threads > cores:
        yield warning(
            "threads",
            f"the config has {study.threads} threads a job, this machine {cores} cores",
            "trainings will be slow here; another number changes the last bits of results",
        )
    yield from _cuda(facts, study)


def _cuda(facts: dict[str, object], study: Study | None) -> Iterator[Finding]:
    gpus = facts["gpus"]
    assert isinstance(gpus, list)  # noqa: S101 - for the type checker
    if gpus:
        yield ok("CUDA", f"{facts['built for']}: {', '.join(map(str, gpus))}")
        return
    built = f"torch is built for CUDA {facts['built for']}" if facts["built for"] else "a CPU build"
    if study is not None and study.device == "cuda":
        yield problem(
            "CUDA",
            f"no GPU is found ({built}), and the config has device: cuda",
            "set device: auto or cpu, or run where there is a GPU; nvidia-smi lists them",
        )
    else:
        yield ok("CUDA", f"no GPU is found ({built}); networks are trained on the CPU")


def snakemake() -> Iterator[Finding]:
    """Check Snakemake's version, and that its profiles are found from the working directory."""
    try:
        found = version("snakemake")
    except PackageNotFoundError:
        yield problem("Snakemake", "not installed", _INSTALL)
        return
    numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdecimal())
    if numbers < _OLDEST_SNAKEMAKE:
        oldest = ".".join(map(str, _OLDEST_SNAKEMAKE))
        yield problem("Snakemake", f"{found} is older than {oldest}", _INSTALL)
        return
    if Path("Snakefile").is_file() and Path("workflow/profiles/local").is_dir():
        yield ok("Snakemake", f"{found}; profiles workflow/profiles/local and slurm are here")
    else:
        yield warning(
            "Snakemake",
            f"{found}, but this folder has no Snakefile with workflow/profiles",
            "change to the checkout, or give --snakefile and --profile with their paths",
        )


def slurm() -> Iterator[Finding]:
    """Check whether Slurm is there, and whether its controller answers."""
    sbatch = shutil.which("sbatch")
    if sbatch is None:
        yield ok("Slurm", "no sbatch here; only the profile slurm needs it")
        return
    whole, found = output_of([sbatch, "--version"], PROGRAM_SECONDS)
    if not whole:
        yield problem(
            "Slurm",
            f"sbatch fails ({_last_line(found)})",
            "try `sbatch --version`; without --profile slurm a study runs on this machine",
        )
        return
    _, pinged = output_of(["scontrol", "ping"], PROGRAM_SECONDS)
    if " is UP" not in pinged:
        yield problem(
            "Slurm",
            f"{found}, but its controller does not answer ({_last_line(pinged)})",
            "try `scontrol ping`, and ask who runs the cluster",
        )
        return
    yield ok("Slurm", f"{found}, its controller answers")


def _last_line(printed: str) -> str:
    """Return the last line of what a program printed, cut to a bounded length."""
    lines = [line for line in printed.splitlines() if line.strip()]
    return lines[-1].strip()[:200] if lines else "it prints nothing"


def submitit() -> Iterator[Finding]:
    """Check the plugin that sends jobs to Slurm, and the library that it needs."""
    versions = {}
    for package in ("submitit", _PLUGIN):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            text = f"{package} is not installed"
            if shutil.which("sbatch") is None:
                yield ok("submitit", f"{text}; only the profile slurm needs it")
            else:
                yield problem("submitit", text, _INSTALL)
            return
    yield ok("submitit", f"{versions['submitit']}, its plugin {versions[_PLUGIN]}")
