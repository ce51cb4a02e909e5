"""How a job ended, from what it left and what its scheduler says."""

from pathlib import Path
from typing import Any

import pytest
from submitit.core.utils import JobPaths, cloudpickle_dump

from snakemake_executor_plugin_submitit.cluster import Phase, State
from snakemake_executor_plugin_submitit.outcome import (
    TAIL,
    Result,
    read_result,
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


def test_states_read_well() -> None:
    assert str(ALIVE) == "RUNNING"
    assert str(ENDED) == "OUT_OF_MEMORY (exit 0:9)"
