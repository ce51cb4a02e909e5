"""What Slurm and Snakemake say, in the words of each version, and what it means.

Slurm 22.05, 23.x and 24.11 differ in these texts. No other module knows one of them.
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
"""States of a job that will not run again. One that was preempted and is requeued is PENDING at
once."""

HELD = frozenset({"SPECIAL_EXIT"})
"""States in which Slurm keeps a job that it takes for failed."""

NEVER = re.compile(
    "BadConstraints|DependencyNeverSatisfied|InvalidAccount|InvalidQOS|JobHoldMaxRequeue"
    "|launch.failed.requeued.held|PartitionTimeLimit|PartitionNodeLimit|(QOS|Assoc)Max\\w+PerJob\\w*"
)
"""Reasons for which a pending job never starts."""

ORDINARY = re.compile(
    r"|None|Priority|Resources|BeginTime|Dependency|JobArrayTaskLimit|Cleaning|Prolog|Licenses"
    r"|\(?null\)?|WaitForScheduling"
)
"""Reasons for which a pending job waits that end by themselves."""

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
"""What to do, by how a reason begins, where a person has to do something."""

TRANSIENT = re.compile(
    "unable to contact slurm controller|connect failure|connection (refused|timed out|reset)"
    "|socket timed out|zero bytes were"
    "|slurm(ctld)? .*(busy|standby)|communication connection failure|try again"
    "|insane message length|protocol authentication|did not answer within"
    "|temporarily unable|resource temporarily unavailable",
    re.IGNORECASE,
)
"""What a command says when the same request can succeed later."""

NO_ROOM = re.compile(
    r"(assoc|qos)\w*submit\w*limit|temporarily unable|resource temporarily unavailable",
    re.IGNORECASE,
)
"""What sbatch says when a limit on the jobs in the queue is reached: the user's, the account's, or
the whole cluster's."""

OUT_OF_MEMORY = re.compile(
    "oom.kill|out.of.memory|oom killed|exceeded (job |step )?memory limit", re.IGNORECASE
)
"""What a state, or a line of Slurm's in a job's output, says of too little memory.

Up to 22.05 `oom-kill event(s)`, since then `oom_kill event`; srun `Out Of Memory`; without cgroups
`exceeded memory limit`.
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
"""Lines that say nothing which the report of a failure does not say anyway."""

_BLOCK = re.compile(r"(local)?(rule|checkpoint) .*:$|Error in (rule|group) .*:$|group job .*:$")
"""Lines at which a block of indented lines begins that Snakemake itself prints of a job."""


class Telling:
    """Tells the lines of one text that say something from those that do not."""

    def __init__(self) -> None:
        self._block = False

    def __call__(self, line: str) -> bool:
        """Whether a line is the job's own or says why it failed; lines come in their order."""
        if self._block and line.startswith("    "):
            return False
        self._block = _BLOCK.match(line) is not None
        return not (self._block or _NOISE.match(line))
