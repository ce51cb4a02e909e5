"""Translate the resources of Snakemake jobs into options of sbatch."""

import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LEAST_MEMORY = 300
"""Megabytes that a job gets at least, since Snakemake itself needs them on the node."""

DEFAULT_RUNTIME = 60
"""Time limit in minutes of a job that states none; submitit's default of 5 is too short."""

STRINGS = {
    "slurm_partition": "partition",
    "slurm_account": "account",
    "qos": "qos",
    "constraint": "constraint",
    "reservation": "reservation",
    "exclude": "exclude",
    "nodelist": "nodelist",
}
"""The sbatch option of each resource that is passed on as a string."""

INSTEAD = {
    "partition": "slurm_partition",
    "account": "slurm_account",
    "qos": "qos",
    "constraint": "constraint",
    "reservation": "reservation",
    "exclude": "exclude",
    "time": "runtime",
    "mem": "mem_mb",
    "mem-per-cpu": "mem_mb_per_cpu",
    "cpus-per-task": "threads",
    "ntasks": "tasks",
    "nodes": "nodes",
    "gres": "gres",
    "gpus": "gpu",
    "gpus-per-node": "gpu",
    "gpus-per-task": "gpu",
}
"""sbatch options with a resource of their own; slurm_extra refuses them and names the resource."""

FORBIDDEN = frozenset(
    {"array", "chdir", "clusters", "comment", "error", "export", "export-file", "help", "input"}
    | {"mem-per-gpu", "no-requeue", "ntasks-per-node", "ntasks-per-core", "ntasks-per-gpu"}
    | {"open-mode", "output", "parsable", "quiet", "requeue", "signal", "test-only", "usage"}
    | {"job-name", "version", "wait", "wrap"}
)
"""sbatch options that the plugin sets itself, or that would cut a job's link to Snakemake."""


MISNAMED = {
    "partition": "slurm_partition",
    "slurm_queue": "slurm_partition",
    "account": "slurm_account",
    "slurm_qos": "qos",
    "slurm_constraint": "constraint",
    "slurm_reservation": "reservation",
    "slurm_exclude": "exclude",
    "slurm_nodelist": "nodelist",
    "slurm_gres": "gres",
    "slurm_requeue": "requeue",
    "time": "runtime",
    "time_min": "runtime",
    "walltime": "runtime",
    "timelimit": "runtime",
    "h_rt": "runtime",
    "mem_per_cpu": "mem_mb_per_cpu",
    "h_vmem": "mem_mb",
    "mem_per_gpu": "mem_mb",
    "mem_per_node": "mem_mb",
    "ntasks": "tasks",
    "tasks_per_node": "tasks",
    "ntasks_per_node": "tasks",
    "ntasks_per_core": "tasks",
    "ntasks_per_gpu": "tasks",
    "tasks_per_gpu": "tasks",
    "ncpus": "threads",
    "cpus": "threads",
    "cpus_per_gpu": "threads",
    "gpus": "gpu",
    "ngpus": "gpu",
    "num_gpus": "gpu",
    "gpus_per_node": "gpu",
    "gpus_per_task": "gpu",
    "gpu_type": "gpu_model",
    "gpu_manufacturer": "gpu_model",
}
"""Other common names of resources, each with the name that this plugin uses."""

ELSEWHERE = {
    "clusters": "submit from a login node of that cluster, or set SLURM_CONF",
    "job_name": "jobs are named after their rules; a prefix is given by --submitit-jobname-prefix",
    "slurm_job_name": "jobs are named after their rules; a prefix is given by"
    " --submitit-jobname-prefix",
    "slurm_array": "jobs that ask for the same are submitted as arrays anyway",
    "sbatch_args": "give slurm_extra",
    "mail_type": "give slurm_extra='--mail-type=…'",
    "mail_user": "give slurm_extra='--mail-user=…'",
    "sockets_per_node": "give slurm_extra='--sockets-per-node=…'",
    "cores_per_socket": "give slurm_extra='--cores-per-socket=…'",
    "threads_per_core": "give slurm_extra='--threads-per-core=…'",
    "cpu_freq": "give slurm_extra='--cpu-freq=…'",
    "gpu_bind": "give slurm_extra='--gpu-bind=…'",
    "gpu_freq": "give slurm_extra='--gpu-freq=…'",
    "wckey": "give slurm_extra='--wckey=…'",
}
"""Resources of other schedulers' plugins that have no counterpart here, each with advice.

Names that a workflow may use for resources of its own (`licenses`, `network`, `priority`, …) are
not in this list.
"""

SCHEDULERS = ("slurm_", "sbatch_", "lsf_", "sge_", "pbs_", "htcondor_")
"""Prefixes of resource names that can only be meant for a scheduler."""

OURS = frozenset({"slurm_partition", "slurm_account", "slurm_extra"})
"""Resources with such a prefix that this plugin knows."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """The resources that one job requests. Jobs with equal requests can share an array."""

    runtime: int
    """Time limit in minutes."""
    cpus: int
    """Number of CPUs for each task."""
    options: tuple[tuple[str, str | bool], ...]
    """Further sbatch options, sorted by name."""
    requeue: bool = True
    """Whether the job may be requeued at its time limit, to go on from its saved work."""


def request(threads: int, resources: Mapping[str, Any]) -> Request:
    """Translate a job's threads and resources into a request.

    The names are those that workflows for Slurm already use: `runtime` (minutes), `mem_mb`,
    `mem_mb_per_cpu`, `cpus_per_task`, `nodes`, `tasks`, `gpu`, `gpu_model`, `gres`,
    `slurm_partition`, `slurm_account`, `qos`, `constraint`, `reservation`, `exclude`, `nodelist`,
    `slurm_extra`, `requeue`. Other resources are not passed on to Slurm.

    Raises:
        ValueError: a resource is malformed, two resources contradict each other, or a resource
            would have no effect because this plugin uses another name for it.
    """
    _refuse_others(threads, resources)
    cpus = _whole(resources, "cpus_per_task") or max(1, threads)
    options: dict[str, str | bool] = {}
    for resource, option in STRINGS.items():
        if (value := resources.get(resource)) not in {None, ""}:
            options[option] = str(value)
    # mem_mb_per_cpu comes first, because default resources give mem_mb to every job.
    if (amount := _whole(resources, "mem_mb_per_cpu")) is not None:
        options["mem-per-cpu"] = f"{max(amount, math.ceil(LEAST_MEMORY / cpus))}M"
    elif (amount := _whole(resources, "mem_mb")) is not None:
        options["mem"] = f"{max(amount, LEAST_MEMORY)}M"
    nodes, tasks = _whole(resources, "nodes"), _whole(resources, "tasks")
    if tasks is not None:
        options["ntasks"] = str(tasks)
    if nodes is not None or tasks is not None:
        # Without this option the job's script would ask for one node.
        options["nodes"] = f"1-{tasks}" if nodes is None else str(nodes)
    if (gres := _gres(resources)) is not None:
        options["gres"] = gres
    for option, value in _extra(str(resources.get("slurm_extra") or "")):
        if option in options:
            raise ValueError(f"slurm_extra gives --{option} twice")
        options[option] = value
    return Request(
        runtime=_whole(resources, "runtime") or DEFAULT_RUNTIME,
        cpus=cpus,
        options=tuple(sorted(options.items())),
        requeue=bool(resources.get("requeue", 1)),
    )


def _refuse_others(threads: int, resources: Mapping[str, Any]) -> None:
    """Refuse resources that are meant for a scheduler and would have no effect.

    Raises:
        ValueError: there is such a resource; the message says what to give instead.
    """
    for name, value in resources.items():
        if value is None or value == "":
            continue
        if known := MISNAMED.get(name):
            given = threads > 1 if known == "threads" else resources.get(known) not in {None, ""}
            # A workflow for several plugins may give the same resource under the name of each.
            if not given:
                raise ValueError(f"the resource {name} has no effect; its name here is {known}")
        elif name in ELSEWHERE:
            raise ValueError(f"the resource {name} has no effect; {ELSEWHERE[name]}")
        elif name.startswith(SCHEDULERS) and name not in OURS:
            raise ValueError(
                f"the resource {name} has no effect; options of sbatch that no resource says go"
                " into slurm_extra"
            )
    if resources.get("mpi") and not resources.get("tasks"):
        raise ValueError("mpi is given, but tasks, the number of its processes, is not")


def _whole(resources: Mapping[str, Any], name: str) -> int | None:
    value = resources.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}; a number is needed")
    if value < 1:
        raise ValueError(f"{name} is {value}; it must be at least 1")
    return math.ceil(value)


def _gres(resources: Mapping[str, Any]) -> str | None:
    gres, count, model = (resources.get(name) for name in ("gres", "gpu", "gpu_model"))
    if gres and count:
        raise ValueError("gpu and gres are both given; give one of them")
    if gres:
        if not re.fullmatch(r"\w+(:[\w.-]+)?(:\d+)?(,\w+(:[\w.-]+)?(:\d+)?)*", str(gres)):
            raise ValueError(f"gres is {gres!r}; NAME[:TYPE][:COUNT] is needed, as in gpu:a100:2")
        return str(gres)
    if not count:
        if model:
            raise ValueError(f"gpu_model is {model!r}, but gpu, the number of them, is not given")
        return None
    count = _whole(resources, "gpu")
    return f"gpu:{model}:{count}" if model else f"gpu:{count}"


def _extra(text: str) -> list[tuple[str, str | bool]]:
    options: list[tuple[str, str | bool]] = []
    for word in shlex.split(text):
        match = re.fullmatch(r"--([a-z][a-z0-9-]*)(?:=(.*))?", word, re.DOTALL)
        if match is None:
            raise ValueError(f"slurm_extra: {word!r} is not of the form --option or --option=value")
        name, value = match.groups()
        # sbatch accepts the beginning of an option's name in place of the whole name.
        if said := next((full for full in INSTEAD if full.startswith(name)), None):
            raise ValueError(f"slurm_extra: --{name} is said by the resource {INSTEAD[said]}")
        if any(full.startswith(name) for full in FORBIDDEN):
            raise ValueError(f"slurm_extra: --{name} would break the job's link to Snakemake")
        options.append((name, True if value is None else value))
    return options
