"""How a job ended, from what it left and what its scheduler says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from submitit.core.utils import JobPaths, cloudpickle_dump

from snakemake_executor_plugin_submitit.cluster import Phase, State
from snakemake_executor_plugin_submitit.journal import Submission
from snakemake_executor_plugin_submitit.outcome import (
    TAIL,
    Result,
    output_path,
    read_result,
    report,
    result_path,
    tail,
    verdict,
)

FAILED = Result("exit status 1")
ALIVE = State(Phase.ALIVE, "RUNNING")
ENDED = State(Phase.ENDED, "OUT_OF_MEMORY", "exit 0:9")
COMPLETED = State(Phase.ENDED, "COMPLETED", "exit 0:0")
STUCK = State(Phase.STUCK, "PENDING", "BadConstraints")
GRACE = 5.0
LOST = "lost: the scheduler does not know it any more, and it left no result"


@pytest.mark.parametrize(
    ("result", "state", "waited", "reason"),
    [
        (None, ALIVE, None, None),
        (None, None, None, None),
        (None, None, 0.0, None),
        (None, None, 4.9, None),
        (None, None, 5.0, LOST),
        (None, ENDED, 0.0, None),
        (None, ENDED, 5.0, "OUT_OF_MEMORY (exit 0:9)"),
        (None, COMPLETED, 4.9, None),
        (None, COMPLETED, 5.0, "COMPLETED (exit 0:0), but it left no result that can be read"),
        (None, STUCK, None, "Slurm will not start it: PENDING (BadConstraints)"),
        (None, STUCK, 0.0, "Slurm will not start it: PENDING (BadConstraints)"),
        (FAILED, ENDED, 0.0, "exit status 1; OUT_OF_MEMORY (exit 0:9)"),
        (FAILED, ALIVE, 0.0, None),
        (FAILED, ALIVE, 5.0, "exit status 1"),
        (FAILED, None, 0.0, None),
        (FAILED, None, 5.0, "exit status 1"),
    ],
)
def test_verdict(
    result: Result | None, state: State | None, waited: float | None, reason: str | None
) -> None:
    assert verdict(result, state, waited, GRACE) == reason


def _left(folder: Path, *left: Any) -> Path:
    path = result_path(str(folder), "7")
    assert path == JobPaths(folder, job_id="7", task_id=0).result_pickle
    if left:
        cloudpickle_dump(left, path)
    return path


def test_results(tmp_path: Path) -> None:
    assert read_result(_left(tmp_path)) is None
    assert read_result(_left(tmp_path, "success", None)) == Result(None)
    assert Result(None).succeeded
    trace = "Traceback (most recent call last):\n  File x\nmodule.CommandError: exit status 3\n"
    failed = read_result(_left(tmp_path, "error", trace))
    assert failed == Result("exit status 3")
    assert not failed.succeeded
    trace = "Traceback (most recent call last):\n  File x\nOSError: no space: left\n"
    assert read_result(_left(tmp_path, "error", trace)) == Result("OSError: no space: left")


@pytest.mark.parametrize("content", [b"", b"\x80\x05", b"text"])
def test_a_result_that_cannot_be_read_is_not_there_yet(tmp_path: Path, content: bytes) -> None:
    path = _left(tmp_path)
    path.write_bytes(content)
    assert read_result(path) is None


def test_tail(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert tail(path) == []
    assert tail(tmp_path) == []
    path.write_bytes(b"first\n\xff broken \nslurmstepd: killed\n")
    assert tail(path) == ["first", "\ufffd broken", "slurmstepd: killed"]
    assert tail(path, ("slurmstepd", "srun:")) == ["slurmstepd: killed"]
    path.write_text("\n".join(map(str, range(100))))
    assert tail(path) == [str(n) for n in range(100 - TAIL, 100)]


REPORTED = {
    "22.05": "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=12.0. Some of your"
    " processes may have been killed by the cgroup out-of-memory handler.",
    "23.11": "slurmstepd: error: Detected 1 oom_kill event in StepId=12.batch. Some of the step"
    " tasks have been OOM Killed.",
    "24.11": "slurmstepd-h3: error: Detected 1 oom_kill event in StepId=1007.0. Some of the step"
    " tasks have been OOM Killed.",
    "24.11, srun": "srun: error: h3: task 0: Out Of Memory",
    "without cgroups": "slurmstepd: error: Step 12.0 exceeded memory limit (4 > 3), being killed",
}


def _submission(folder: Path) -> Submission:
    return Submission(
        job_id="7",
        cluster="slurm",
        folder=str(folder),
        key="out",
        fingerprint="f",
        title="greedy",
        logs=str(folder / "logs"),
    )


@pytest.mark.fault(
    "too little memory, in the words of each version of Slurm",
    area="cluster",
    provoked="what 22.05, 23.11, 24.11 and a Slurm without cgroups print into a job's output",
)
@pytest.mark.parametrize("version", REPORTED)
def test_too_little_memory_in_the_words_of_every_version(
    tmp_path: Path, observed: Callable[[str], None], version: str
) -> None:
    output = output_path(str(tmp_path), "7")
    output.write_text(f"submitit INFO (x) - started\n{REPORTED[version]}\n")
    text = report(_submission(tmp_path), "FAILED (exit 1:0)")
    assert "failed: FAILED (exit 1:0); out of memory: give the rule more mem_mb\n" in text
    assert REPORTED[version] in text
    output.unlink()
    text = report(_submission(tmp_path), "OUT_OF_MEMORY (exit 0:125)")
    assert "out of memory: give the rule more mem_mb\n" in text
    assert "mem_mb" not in report(_submission(tmp_path), "FAILED (exit 1:0)")
    observed("reported as out of memory, with the resource to raise")


INNER = """\
host: h3
Building DAG of jobs...
Using shell: /usr/bin/bash
Provided cores: 1 (use --cores to define parallelism)
Rules claiming more threads will be scaled down.
Select jobs to execute...
Execute 1 jobs...

[Wed Nov 25 22:37:08 2026]
localrule a:
    output: done
    resources: tmpdir=/tmp

Epoch 1
  loss: 3
Traceback (most recent call last):
    indented, of the job
ValueError: no such file
RuleException:
CalledProcessError in file "Snakefile", line 5:
Command 'train' returned non-zero exit status 3.
[Wed Nov 25 22:37:08 2026]
Error in rule a:
    message: None
    output: done
    shell:
        train
        (command exited with non-zero exit code)
Shutting down, this might take some time.
Exiting because a job execution failed. Look above for error messages
Storing output in storage.
Elapsed time: 0:00:00.546135
WorkflowError:
At least one job did not complete successfully.
"""


def test_only_what_tells_something_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(INNER)
    assert [line for line in tail(path) if line] == [
        "Epoch 1",
        "  loss: 3",
        "Traceback (most recent call last):",
        "    indented, of the job",
        "ValueError: no such file",
        'CalledProcessError in file "Snakefile", line 5:',
        "Command 'train' returned non-zero exit status 3.",
    ]
    path.write_text(
        "srun: error: h1: task 0: Exited with exit code 1\n"
        "slurmstepd: error: *** STEP 12.0 ON h1 CANCELLED AT 2026-11-25T22:37:08 ***\n"
        "srun: error: h1: task 0: Out Of Memory\n"
    )
    assert tail(path, ("slurmstepd", "srun:")) == ["srun: error: h1: task 0: Out Of Memory"]


def test_states_read_well() -> None:
    assert str(ALIVE) == "RUNNING"
    assert str(ENDED) == "OUT_OF_MEMORY (exit 0:9)"
