"""Texts that Slurm and Snakemake print, and their meaning.

The texts of Slurm 22.05, 23.x and 24.11 differ. Only this module depends on them.
"""

import re

__all__ = [
    "ADVICE",
    "ENDED",
    "HELD",
    "NEVER",
    "NO_ROOM",
    "ORDINARY",
    "OUT_OF_MEMORY",
    "TRANSIENT",
    "Telling",
]

ENDED = frozenset(
    {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"}
    | {"PREEMPTED", "REVOKED", "TIMEOUT"}
)
"""States of a job that has ended. A preempted job that is requeued becomes PENDING at once."""

HELD = frozenset({"SPECIAL_EXIT"})
"""States in which Slurm holds a job that it counts as failed."""

NEVER = re.compile(
    "BadConstraints|DependencyNeverSatisfied|InvalidAccount|InvalidQOS|JobHoldMaxRequeue"
    "|launch.failed.requeued.held|PartitionTimeLimit|PartitionNodeLimit|(QOS|Assoc)Max\\w+PerJob\\w*"
)
"""Reasons that keep a pending job from ever starting."""

ORDINARY = re.compile(
    r"|None|Priority|Resources|BeginTime|Dependency|JobArrayTaskLimit|Cleaning|Prolog|Licenses"
    r"|\(?null\)?|WaitForScheduling"
)
"""Reasons that keep a pending job waiting for a time, and end without anybody's help."""

ADVICE = {
    "JobHeldUser": "`scontrol release` lets them go",
    "JobHeldAdmin": "an administrator holds them",
    "job requeued in held state": "`scontrol release` lets them go",
    "SUSPENDED": "`scontrol resume` lets them go on",
    "PartitionDown": "the partition takes jobs but starts none",
    "PartitionInactive": "the partition is closed",
    "ReqNodeNotAvail": "nodes that they need are down, drained or reserved",
    "ReservationDeleted": "their reservation is gone; ask without it, or release them",
    "RESV_DEL_HOLD": "their reservation is gone; ask without it, or release them",
    "Resv del hold": "their reservation is gone; ask without it, or release them",
}
"""Explanation or advice for reasons that wait for a person, by the beginning of the reason."""

TRANSIENT = re.compile(
    "unable to contact slurm controller|connect failure|connection (refused|timed out|reset)"
    "|socket timed out|zero bytes were"
    "|slurm(ctld)? .*(busy|standby)|communication connection failure|try again"
    "|insane message length|protocol authentication|did not answer within"
    "|temporarily unable|resource temporarily unavailable",
    re.IGNORECASE,
)
"""Error messages of Slurm's commands after which the same request can succeed later."""

NO_ROOM = re.compile(
    r"(assoc|qos)\w*submit\w*limit|temporarily unable|resource temporarily unavailable",
    re.IGNORECASE,
)
"""Error messages of sbatch at a limit on the jobs in the queue: the limit of the user, of the
account, or of the whole cluster."""

OUT_OF_MEMORY = re.compile(
    "oom.kill|out.of.memory|oom killed|exceeded (job |step )?memory limit", re.IGNORECASE
)
"""States, and lines of Slurm's in a job's output, that mean too little memory.

Slurm up to 22.05 writes `oom-kill event(s)`, later versions `oom_kill event`; srun writes
`Out Of Memory`, and Slurm without cgroups `exceeded memory limit`.
"""

_NOISE = re.compile(
    r"\[\w{3} \w{3} [ \d]\d [\d:]{8} \d{4}\]$|RuleException:$|WorkflowError:$|Elapsed time: "
    r"|Shutting down, this might take some time|Exiting because a job execution failed"
    r"|At least one job did not complete successfully|Storing output in storage"
    r"|Complete log\(s\): |Building DAG of jobs|You are running snakemake in a SLURM job context"
    r"|This is not recommended, as it may lead to unexpected behavior"
    r"|If possible, please run Snakemake directly on the login node|Using shell: |Provided "
    r"|Select jobs to execute|Execute \d+ jobs|Rules claiming more threads|host: |Host: "
    r"|srun: error: .*: task \d+: Exited with exit code|srun: Terminating |srun: job abort"
    r"|srun: Job step aborted: |slurmstepd\S*: error: \*\*\* STEP "
)
"""Lines that add nothing to the report of a failure."""

_BLOCK = re.compile(r"(local)?(rule|checkpoint) .*:$|Error in (rule|group) .*:$|group job .*:$")
"""First lines of the blocks that Snakemake prints about a job; the other lines are indented."""


class Telling:
    """Tells the informative lines of one text from the others; call it with each line in order."""

    def __init__(self) -> None:
        self._block = False

    def __call__(self, line: str) -> bool:
        """Return whether the line is the job's own output or says why the job failed."""
        if self._block and line.startswith("    "):
            return False
        self._block = _BLOCK.match(line) is not None
        return not (self._block or _NOISE.match(line))
