"""The plugin's options: `--submitit-NAME` on the command line, `submitit-NAME` in a profile."""

from dataclasses import dataclass, field

from snakemake_interface_executor_plugins.settings import ExecutorSettingsBase

CLUSTERS = ("slurm", "local")


@dataclass
class ExecutorSettings(ExecutorSettingsBase):
    """Options of the whole run; the resources of its rule say what a single job requests."""

    cluster: str = field(
        default="slurm",
        metadata={
            "help": "Where jobs run: slurm, or local, which starts them on this machine through"
            " the same code (it has no queue: cap it with --jobs)",
            "choices": list(CLUSTERS),
        },
    )
    logdir: str = field(
        default=".snakemake/submitit/logs",
        metadata={"help": "Folder of the jobs' logs, laid out as RULE/WILDCARD=VALUE/…/ID.log"},
    )
    keep_logs: bool = field(
        default=False,
        metadata={"help": "Keep the logs of successful jobs; those of failed jobs always stay"},
    )
    setup: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Shell lines to run in each job before anything else, such as"
            " 'module load cuda'",
            # There is no "type", because Snakemake would apply it to the list as a whole.
            "nargs": "+",
        },
    )
    jobname_prefix: str = field(
        default="",
        metadata={"help": "What the names of all jobs begin with; the rule's name follows"},
    )
    array_parallelism: int | None = field(
        default=None,
        metadata={
            "help": "At most so many jobs of one array run at a time (default: as many as --jobs)",
            "type": int,
        },
    )
    notice: int = field(
        default=90,
        metadata={
            "help": "Seconds before its time limit at which a job gets SIGUSR2, so that it can"
            " save its work and be requeued; at most half of the time limit, and none where that is"
            " a minute",
            "type": int,
        },
    )
    max_requeues: int = field(
        default=10,
        metadata={
            "help": "How often one job may be requeued by its own notice of preemption or of"
            " the time limit before it counts as failed",
            "type": int,
        },
    )
    submit_patience: int = field(
        default=10,
        metadata={
            "help": "Minutes for which a submission is tried again while Slurm's controller is"
            " busy or away",
            "type": int,
        },
    )
