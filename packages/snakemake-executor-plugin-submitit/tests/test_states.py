"""Slurm's states of a job, as its manual lists them (squeue, JOB STATE CODES), one by one."""

import pytest

from snakemake_executor_plugin_submitit.cluster import Phase
from snakemake_executor_plugin_submitit.slurm import COLUMNS, _parse_sacct, _parse_squeue

FINAL = (
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
    "PREEMPTED", "REVOKED", "TIMEOUT",
)  # fmt: skip
"""What a job does not come back from."""

GOING_ON = (
    "COMPLETING", "CONFIGURING", "PENDING", "REQUEUED", "REQUEUE_HOLD", "RESIZING", "RESV_DEL_HOLD",
    "RUNNING", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED", "REQUEUE_FED",
)  # fmt: skip

HELD = ("SPECIAL_EXIT",)
"""What Slurm keeps because it takes it for failed."""


def squeue(state: str, reason: str = "None") -> Phase:
    cells = ("5", state, reason, "0")
    line = "".join(c.ljust(width) for c, width in zip(cells, COLUMNS.values(), strict=True))
    return _parse_squeue(line)["5"].phase


@pytest.mark.parametrize("state", FINAL)
def test_a_final_state_is_an_end(state: str) -> None:
    assert squeue(state) is Phase.ENDED
    assert _parse_sacct(f"5|{state}|0:0")["5"].phase is Phase.ENDED
    # as accounting has it: CANCELLED by 1000
    assert _parse_sacct(f"5|{state} by 1000|0:0")["5"].phase is Phase.ENDED


@pytest.mark.parametrize("state", GOING_ON)
def test_any_other_state_is_none(state: str) -> None:
    assert squeue(state) is Phase.ALIVE
    # accounting lags behind: such a state is no news
    assert _parse_sacct(f"5|{state}|0:0") == {}


@pytest.mark.parametrize("state", HELD)
def test_a_held_job_is_stuck(state: str) -> None:
    assert squeue(state) is Phase.STUCK


@pytest.mark.parametrize(
    "reason",
    [
        "BadConstraints", "DependencyNeverSatisfied", "InvalidAccount", "InvalidQOS",
        "JobHoldMaxRequeue", "PartitionTimeLimit", "PartitionNodeLimit", "QOSMaxCpuPerJobLimit",
        "AssocMaxWallDurationPerJobLimit", "launch_failed_requeued_held",
    ],
)  # fmt: skip
def test_a_reason_for_which_a_job_never_starts_counts_while_it_is_pending(reason: str) -> None:
    assert squeue("PENDING", reason) is Phase.STUCK
    assert squeue("RUNNING", reason) is Phase.ALIVE


@pytest.mark.parametrize(
    "reason", ["Priority", "Resources", "Dependency", "BeginTime", "QOSMaxJobsPerUserLimit"]
)
def test_a_reason_that_passes_is_no_end(reason: str) -> None:
    assert squeue("PENDING", reason) is Phase.ALIVE
