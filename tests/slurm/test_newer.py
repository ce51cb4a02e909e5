"""What Slurm 24.11 does to a workflow and 22.05 does not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.slurm24.cluster import NamespaceCluster

from .controller import Controller, Job, until

Observed = Callable[[str], None]

CONSUMER = """
rule last:
    input: "out/saved/done"
    output: "seen"
    resources: mem_mb=300, runtime=10, exclude="NODE"
    shell: "for second in $(seq 45); do cat {input} || echo gone; sleep 1; done > {output} 2>&1"
"""


@pytest.mark.fault(
    "a preempted job that finishes within its grace",
    area="cluster",
    provoked="a job of the urgent partition on its node, while it writes its output",
)
def test_a_success_does_not_run_again(
    slurm: NamespaceCluster, tmp_path: Path, observed: Observed
) -> None:
    """24.11 requeues a preempted job even if it exits 0; its output has consumers by then."""
    node = slurm.nodes[2]
    elsewhere = ",".join({*slurm.nodes} - {node})
    saves = "trap '' TERM; touch running; sleep 12; echo saved > out/saved/done"
    run = Controller(
        slurm, tmp_path, {"saved": Job(saves, threads=2, resources={"exclude": elsewhere})}
    )
    with (tmp_path / "Snakefile").open("a") as file:
        file.write(CONSUMER.replace("NODE", node))
    run.start("all", "last")
    until("it runs", (tmp_path / "running").exists)
    run.slurm(
        "sbatch", "--partition=urgent", f"--nodelist={node}", "--cpus-per-task=2", "--mem=100",
        "--output=/dev/null", "--wrap=sleep 1",
    )  # fmt: skip
    assert run.wait() == 0, run.said
    assert run.starts("saved") == 1
    assert {*(tmp_path / "seen").read_text().splitlines()} == {"saved"}
    assert run.queued() == []
    observed("its success stands; it does not run again, and its output stays as it is")


@pytest.mark.fault(
    "a second snakemake without Snakemake's lock",
    area="cluster",
    provoked="`snakemake --nolock` twice in one folder while jobs write their outputs",
)
def test_a_second_controller_leaves_running_jobs_alone(
    slurm: NamespaceCluster, tmp_path: Path, observed: Observed
) -> None:
    writes = "for line in 1 2 3 4 5 6; do echo $line >> out/NAME/done; sleep 5; done"
    jobs = {name: Job(writes.replace("NAME", name)) for name in ("left", "right")}
    first = Controller(slurm, tmp_path, jobs)
    first.start()
    outputs = [tmp_path / f"out/{name}/done" for name in jobs]
    until("both write", lambda: all(path.exists() for path in outputs))
    said = tmp_path / "output"
    said.rename(tmp_path / "output.first")
    second = Controller(slurm, tmp_path, jobs)
    assert second.run() == 1
    assert "the snakemake of" in second.said
    assert all(path.exists() for path in outputs), "the refusal deleted outputs in progress"
    assert first.wait() == 0
    assert [path.read_text().split() for path in outputs] == [[*"123456"]] * 2
    observed("refused as a whole before anything is touched; the first one's jobs finish")


@pytest.mark.fault(
    "more jobs than the account may submit",
    area="cluster",
    provoked="twenty jobs where MaxSubmitJobs is 15",
)
def test_a_submit_limit_is_waited_for(
    slurm: NamespaceCluster, tmp_path: Path, observed: Observed
) -> None:
    jobs = {
        f"job{number}": Job("sleep 3", resources={"slurm_account": "small"}) for number in range(20)
    }
    run = Controller(slurm, tmp_path, jobs)
    # of the minutes for which a submission is tried otherwise
    assert run.run("--submitit-submit-patience", "1") == 0, run.said
    assert run.done == set(jobs)
    assert "Not submitted" not in run.said
    observed("as many as fit are submitted, the others when there is room; all finish")


def test_the_documented_recipe_for_mpi_works(slurm: NamespaceCluster, tmp_path: Path) -> None:
    """An inner srun inherits the cores of the first node, which on the others may be taken."""
    run = Controller(slurm, tmp_path, {})
    srun = "srun --nodes={resources.nodes} --ntasks={resources.tasks} hostname > hosts"
    (tmp_path / "Snakefile").write_text(f"""
rule all:
    input: "hosts"
rule mpi:
    output: "hosts"
    resources: runtime=5, mem_mb=300, tasks=3, nodes=3, exclude="{slurm.nodes[3]}"
    shell: "{srun}"
""")
    other = run.slurm(
        "sbatch", "--parsable", f"--nodelist={slurm.nodes[1]}", "--mem=100", "--output=/dev/null",
        "--wrap=sleep 600",
    ).strip()  # fmt: skip
    until("it runs", lambda: "RUNNING" in run.slurm("squeue", f"--jobs={other}", "-o%T"))
    try:
        assert run.run() == 0, run.said
    finally:
        run.slurm("scancel", other)
    assert {*(tmp_path / "hosts").read_text().split()} == {*slurm.nodes[:3]}


def test_out_of_memory_is_named(slurm: NamespaceCluster, tmp_path: Path) -> None:
    greedy = Job("python -c 'x = bytearray(10**9)'")
    run = Controller(slurm, tmp_path, {"greedy": greedy})
    assert run.run() == 1
    assert "out of memory: give the rule more mem_mb" in run.failure("greedy")
