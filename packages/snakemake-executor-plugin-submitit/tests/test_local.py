"""This machine as a cluster, without Snakemake."""

import subprocess
from pathlib import Path

import psutil
import pytest

from snakemake_executor_plugin_submitit.cluster import Phase, State
from snakemake_executor_plugin_submitit.local import LocalMachine
from snakemake_executor_plugin_submitit.outcome import Result, read_result, result_path
from snakemake_executor_plugin_submitit.payload import JobCommand
from snakemake_executor_plugin_submitit.resources import request
from study import wait_for


def _submit(machine: LocalMachine, folder: Path, *commands: str) -> list[str]:
    jobs = [
        JobCommand(
            command=command,
            folder=str(folder),
            logs=str(folder / "logs"),
            title="rule",
            tag="tag",
            runtime=3600,
            notice=90,
            max_requeues=0,
            requeue_at_limit=True,
        )
        for command in commands
    ]
    return machine.submit(folder / "batch", request(1, {}), "rule", "tag", jobs)


@pytest.mark.parametrize("setup", [[], ["export SAID=words", "true"]])
def test_jobs_run_and_end(tmp_path: Path, setup: list[str]) -> None:
    machine = LocalMachine(setup=setup)
    well, badly = _submit(machine, tmp_path, 'echo "${SAID-nothing}" > said', "exit 5")
    wait_for(lambda: not machine.states([well, badly]), lambda: "they go on")
    folder = str(tmp_path / "batch")
    assert read_result(result_path(folder, well)) == Result(None)
    assert read_result(result_path(folder, badly)) == Result("exit status 5")
    assert (tmp_path / "said").read_text() == ("words\n" if setup else "nothing\n")


@pytest.mark.parametrize("setup", [[], ["true"]])
def test_cancel(tmp_path: Path, setup: list[str]) -> None:
    machine = LocalMachine(setup=setup)
    (job_id,) = _submit(machine, tmp_path, "echo $$ > new; mv new begun; exec sleep 600")
    wait_for((tmp_path / "begun").exists, lambda: "it does not begin")
    process = psutil.Process(int((tmp_path / "begun").read_text()))
    assert machine.states([job_id]) == {job_id: State(Phase.ALIVE, "RUNNING")}
    machine.cancel([job_id])
    wait_for(lambda: not machine.states([job_id]), lambda: "it goes on")
    wait_for(lambda: _ended(process), lambda: "its process goes on")
    machine.cancel([job_id])


def _ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_process_of_others_is_no_job() -> None:
    with subprocess.Popen(["sleep", "600"]) as other:
        assert LocalMachine(setup=[]).states([str(other.pid), "4194304"]) == {}
        other.kill()
