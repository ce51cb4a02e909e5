"""What can go wrong on a cluster, done on purpose: all other jobs finish, all reports are right."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from .base import Cluster
from .controller import Controller, Job, until

Observed = Callable[[str], None]

BYSTANDERS = [f"bystander{number}" for number in range(4)]

# Handles what it is told as training does: saves, ends; the next start goes on from there. At a
# preemption Slurm sends SIGTERM to every process of a job.
SAVER = """python -c "
import pathlib, signal, sys, time
saved = pathlib.Path('saved.NAME')
def save(number, frame):
    saved.write_text(str(number))
    sys.exit(1)
signal.signal(signal.SIGUSR2, save)
signal.signal(signal.SIGTERM, save)
if not saved.exists():
    time.sleep(600)
" """


def _saver(name: str) -> str:
    return SAVER.replace("NAME", name)


@pytest.fixture(scope="module")
def calamity(slurm: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Controller:
    """One run in which eight of twelve jobs meet a fault of their own."""
    folder = tmp_path_factory.mktemp("calamity")
    slurm.give(folder)
    jobs = {name: Job("sleep 2") for name in BYSTANDERS}
    jobs |= {name: Job("sleep 600") for name in ("cancelled", "killed")}
    jobs |= {
        "overdue": Job("sleep 600", resources={"runtime": 1}),
        "greedy": Job("python -c 'x = bytearray(10**9)'"),
        "nowhere": Job(resources={"slurm_partition": "nowhere"}),
        "orphaned": Job("test $(wc -l < starts.job_orphaned) -gt 1 || sleep 600", threads=2),
        "preempted": Job(_saver("preempted"), threads=2),
        "resumed": Job(_saver("resumed"), resources={"runtime": 2}),
    }
    run = Controller(slurm, folder, jobs)
    run.start()
    until("some run", run.started("cancelled", "killed", "overdue", "resumed"))
    run.slurm("scancel", run.job_id("cancelled"))
    _payload(run.job_id("killed")).kill()
    until("all run", run.started("orphaned", "preempted"), 120)
    node = run.node("orphaned")
    slurm.kill_slurmd(node)
    urgent = run.slurm(
        "sbatch", "--parsable", "--partition=urgent", f"--nodelist={run.node('preempted')}",
        "--cpus-per-task=2", "--mem=100", "--output=/dev/null", "--wrap=sleep 5",
    ).strip()  # fmt: skip
    until("urgent job ended", lambda: urgent not in _states(run).split(), 120)
    until("node lost", lambda: "orphaned" not in _states(run) or _pending(run, "orphaned"), 120)
    slurm.start_slurmd(node)
    assert run.wait(420) == 1
    return run


def _states(run: Controller) -> str:
    return run.slurm("squeue", "--me", "--noheader", "--array", "--format=%i %T %k")


def _pending(run: Controller, job: str) -> bool:
    return f"{run.job_id(job)} PENDING" in _states(run)


def _payload(job_id: str) -> psutil.Process:
    """The process of submitit's that runs a job."""
    array, _, task = job_id.partition("_")
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            words = process.cmdline()
        except psutil.Error:
            continue
        same = (
            environment.get("SLURM_ARRAY_JOB_ID", environment.get("SLURM_JOB_ID")) == array
            and environment.get("SLURM_ARRAY_TASK_ID", "") == task
        )
        if same and "submitit.core._submit" in words and "srun" not in words[0]:
            return process
    raise AssertionError(f"no process of job {job_id}")


def test_every_other_job_finishes(calamity: Controller) -> None:
    assert calamity.done == {*BYSTANDERS, "orphaned", "preempted", "resumed"}
    assert all(calamity.starts(job) == 1 for job in BYSTANDERS)


@pytest.mark.fault(
    "scancel of one task of an array",
    area="cluster",
    provoked="`scancel` of a running task",
)
def test_scancel_of_one_task(calamity: Controller, observed: Observed) -> None:
    assert "CANCELLED" in calamity.failure("cancelled")
    observed("reported as CANCELLED with log and reason; every other task of the array finished")


@pytest.mark.fault(
    "SIGKILL of a job's process",
    area="cluster",
    provoked="`kill -9` of the process on the node that runs the job",
)
def test_sigkill_of_a_process(calamity: Controller, observed: Observed) -> None:
    assert "FAILED" in calamity.failure("killed")
    observed(
        "reported as FAILED by accounting's word, for it left no result; every other job finished"
    )


@pytest.mark.fault(
    "a time limit",
    area="cluster",
    provoked="a job of ten minutes with a limit of one, that saves nothing",
)
def test_time_limit(calamity: Controller, observed: Observed) -> None:
    assert "TIMEOUT" in calamity.failure("overdue")
    observed("runs to its limit, reported as TIMEOUT; every other job finished")


@pytest.mark.fault(
    "out of memory on a node",
    area="cluster",
    provoked="a job that takes more than three times its mem_mb",
)
def test_out_of_memory(calamity: Controller, observed: Observed) -> None:
    failure = calamity.failure("greedy")
    assert "out of memory" in failure or "OUT_OF_MEMORY" in failure or "0:9" in failure
    observed("reported as out of memory, with the resource to raise; every other job finished")


@pytest.mark.fault(
    "an impossible request",
    area="cluster",
    provoked="slurm_partition=nowhere",
)
def test_no_such_partition(calamity: Controller, observed: Observed) -> None:
    assert "Not submitted: sbatch: error: invalid partition specified: nowhere" in calamity.said
    assert calamity.starts("nowhere") == 0
    observed("reported in sbatch's own words, nothing started; every other job finished")


@pytest.mark.fault(
    "a node that dies",
    area="cluster",
    provoked="slurmd and all that runs on its node killed under a job",
)
def test_a_node_that_dies(calamity: Controller, observed: Observed) -> None:
    """Slurm runs its jobs again elsewhere, and nothing is reported but the success."""
    assert calamity.failure("orphaned") == ""
    assert calamity.starts("orphaned") == 2
    observed("Slurm runs the job again, and its success is all that is reported")


@pytest.mark.fault(
    "a preemption, and a time limit, of a job that saves",
    area="cluster",
    provoked="a job of the urgent partition on its node; a limit of two minutes",
)
@pytest.mark.parametrize("job", ["preempted", "resumed"])
def test_preemption_and_time_limit_of_a_job_that_saves(
    calamity: Controller, job: str, observed: Observed
) -> None:
    """The signal reaches the process that saves; the requeued job goes on from there."""
    assert (calamity.folder / f"saved.{job}").exists()
    assert calamity.failure(job) == ""
    assert calamity.starts(job) == 2
    observed(
        "the signal reaches the process, which saves; requeued, it goes on from there and succeeds"
    )


def test_a_report_names_the_log_and_shows_its_end(calamity: Controller) -> None:
    log = f".snakemake/submitit/logs/job_greedy/{calamity.job_id('greedy')}.log"
    assert (calamity.folder / log).is_file()
    assert f"{log} ends with:" in calamity.said


@pytest.mark.fault(
    "the run after all that",
    area="cluster",
    provoked="`snakemake -n --rerun-incomplete` after the faults above",
)
def test_the_next_run_makes_what_is_missing_and_no_more(
    calamity: Controller, observed: Observed
) -> None:
    assert calamity.run("-n") == 0
    counts = [line.split() for line in calamity.said.splitlines()]
    planned = {words[0] for words in counts if len(words) == 2 and words[0].startswith("job_")}
    missing = {"cancelled", "killed", "overdue", "greedy", "nowhere"}
    assert planned == {f"job_{name}" for name in missing}
    until("nothing left", lambda: calamity.queued() == [])
    observed("names the jobs that failed and no others")


@pytest.mark.fault(
    "slurmctld restarted and slurmdbd stopped during a run",
    area="cluster",
    provoked="both stopped while jobs run and while another is to be submitted, then started",
)
def test_the_scheduler_comes_and_goes(slurm: Cluster, tmp_path: Path, observed: Observed) -> None:
    """slurmctld restarted and away at a submission, slurmdbd stopped, during one run."""
    waits = "until test -e go; do sleep 1; done"
    jobs = {f"first{number}": Job(waits) for number in range(3)}
    jobs["failing"] = Job(f"{waits}; exit 3")
    run = Controller(slurm, tmp_path, jobs)
    # a second stage, submitted while the controller is away; a job on the cluster would not be
    # reported as finished then
    with (tmp_path / "Snakefile").open("a") as file:
        file.write(
            "localrules: here\n"
            "rule here:\n"
            "    output: 'here'\n"
            "    shell: 'until test -e go; do sleep 1; done; touch {output}'\n"
            "rule last:\n"
            "    input: 'here'\n"
            "    output: 'last'\n"
            "    resources: mem_mb=300, runtime=10\n"
            "    shell: 'touch {output}'\n"
        )
    run.start("all", "last")
    until("all run", run.started(*jobs))
    slurm.stop_slurmdbd()
    slurm.stop_slurmctld()
    (tmp_path / "go").touch()
    try:
        until("last tried", lambda: "next try in" in run.said, 90)
    finally:
        slurm.start_slurmctld()
        slurm.start_slurmdbd()
    assert run.wait() == 1
    assert run.done == {"first0", "first1", "first2"}
    assert (tmp_path / "last").exists()
    assert "exit status 1" in run.failure("failing")
    assert all(run.starts(job) == 1 for job in jobs)
    observed("jobs go on; the submission is tried again until it succeeds; each job ran once")


@pytest.mark.fault(
    "Ctrl-C",
    area="cluster",
    provoked="SIGINT to snakemake with twelve jobs running or waiting",
)
def test_ctrl_c_cancels_every_job(slurm: Cluster, tmp_path: Path, observed: Observed) -> None:
    run = Controller(slurm, tmp_path, {f"job{number}": Job("sleep 600") for number in range(12)})
    run.start()
    until("all submitted", lambda: len(run.queued()) == 12)
    run.signal(signal.SIGINT)
    assert run.wait(60) == 1
    until("nothing left", lambda: run.queued() == [])
    assert "Cancelled 12 jobs." in run.said
    observed("every job cancelled, none left in the queue")


@pytest.mark.fault(
    "snakemake killed on the login node",
    area="cluster",
    provoked="`kill -9` with ten jobs on the cluster, then the same command again",
)
def test_a_killed_controller_is_followed_by_another(
    slurm: Cluster, tmp_path: Path, observed: Observed
) -> None:
    jobs = {f"job{number}": Job("sleep 20") for number in range(10)}
    run = Controller(slurm, tmp_path, jobs)
    run.start()
    until("some run, others wait", lambda: any(run.starts(job) for job in jobs))
    run.signal(signal.SIGKILL)
    run.wait()
    assert run.run() == 0, run.said
    assert run.done == set(jobs)
    assert [run.starts(job) for job in jobs] == [1] * 10
    assert "Adopted job" in run.said
    observed("running and waiting jobs adopted; each ran once; all outputs there")


@pytest.fixture(params=["a file in its place", "read-only", "full"])
def bad_logs(request: pytest.FixtureRequest, slurm: Cluster, tmp_path: Path) -> Iterator[Path]:
    """A folder for logs that takes none."""
    folder = tmp_path / "logs"
    if request.param == "a file in its place":
        folder.write_text("")
        yield folder
        return
    folder.mkdir()
    options = "size=4k,nr_inodes=1,mode=755" if request.param == "full" else "ro"
    if not slurm.mount(folder, options):
        pytest.skip("this root may not mount, as in a container")
    yield folder
    slurm.unmount(folder)


@pytest.mark.fault(
    "a log folder that is full, read-only or a file",
    area="cluster",
    provoked="a full and a read-only file system, and a file, in its place",
)
def test_logs_that_cannot_be_written_fail_no_job(
    slurm: Cluster, tmp_path: Path, bad_logs: Path, observed: Observed
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    slurm.give(work)
    run = Controller(slurm, work, {"works": Job(), "fails": Job("echo w''hy >&2; exit 3")})
    assert run.run("--submitit-logdir", os.fspath(bad_logs)) == 1
    assert run.done == {"works"}
    # its text is in the job's own output, of which the report shows the end
    assert "exit status 1" in run.failure("fails")
    assert "why" in run.said
    observed("no job fails for it; the text goes to the job's own output, which the report shows")


@pytest.mark.fault(
    "a cluster without accounting",
    area="cluster",
    provoked="no slurmdbd; jobs cancelled, killed, failing, and out of time and of requeues",
)
def test_without_accounting(
    slurm_without_accounting: Cluster, tmp_path: Path, observed: Observed
) -> None:
    """A job that vanishes from the queue is reported all the same."""
    jobs = {name: Job("sleep 2") for name in BYSTANDERS}
    jobs |= {"cancelled": Job("sleep 600"), "killed": Job("sleep 600"), "fails": Job("exit 3")}
    jobs["stubborn"] = Job(_saver("stubborn"), resources={"runtime": 2})
    run = Controller(slurm_without_accounting, tmp_path, jobs)
    run.start("--submitit-max-requeues", "0")
    until("all run", run.started("cancelled", "killed"))
    run.slurm("scancel", run.job_id("cancelled"))
    _payload(run.job_id("killed")).kill()
    until("both reported", lambda: run.failure("cancelled") and run.failure("killed"))
    assert run.wait(240) == 1
    assert run.done == set(BYSTANDERS)
    for job, reason in {
        "cancelled": "CANCELLED",
        "killed": "FAILED",
        "fails": "exit status 1",
        "stubborn": "not requeued: this job was already requeued 0 times",
    }.items():
        assert reason in run.failure(job)
    observed("each reported with its reason; every other job finished")
