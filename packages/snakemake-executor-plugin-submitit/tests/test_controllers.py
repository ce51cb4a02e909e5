"""Controllers that die, and two that meet in one folder."""

import signal
from collections.abc import Callable

import pytest

from fake_slurm import FakeSlurm
from study import Study

SNAKEFILE = """
rule all:
    input: "kept", "changed"

rule kept:
    output: "kept"
    shell: "echo once >> kept.runs; until test -e go; do sleep 1; done; touch {output}"

rule changed:
    output: "changed"
    params: value=config["value"]
    shell:
        "echo {params.value} >> changed.runs; until test -e go; do sleep 1; done;"
        " touch {output}"
"""


def test_the_next_controller_adopts_what_runs(slurm: FakeSlurm, study: Study) -> None:
    study.write(SNAKEFILE)
    first = study.start("--config", "value=1")
    first.until(lambda: bool(study.lines("kept.runs") and study.lines("changed.runs")))
    first.process.send_signal(signal.SIGKILL)
    first.end()
    old = first.submitted

    again = ("--nolock", "--rerun-incomplete", "--config", "value=2")
    second = study.start(*again)
    second.until(lambda: len(study.lines("changed.runs")) == 2)
    assert f"Adopted job {old['kept']}, which still runs: kept" in second.text
    assert slurm.state_of(old["changed"]) == "CANCELLED"

    # a third one while the second lives
    text = study.start(*again).fail()
    assert f"submitit: the snakemake of process {second.process.pid} on " in text
    assert "nothing was touched: wait for it, or stop it" in text

    (study.folder / "go").touch()
    second.succeed()
    assert study.lines("kept.runs") == ["once"]
    assert study.lines("changed.runs") == ["1", "2"]
    assert len(slurm.jobs()) == 3
    assert not list(study.folder.glob(".snakemake/submitit/controllers/*"))


WRITING = """
rule all:
    input: expand("o/{i}", i=range(2))

rule slow:
    output: "o/{i}"
    shell:
        "echo run >> runs; echo line >> {output}; until test -e go; do sleep 1; done;"
        " wc -l {output}"
"""


@pytest.mark.fault(
    "a second snakemake while jobs of the first write their outputs",
    area="cluster",
    provoked="the same command, with --nolock, in the same folder",
)
def test_a_second_controller_touches_nothing(
    slurm: FakeSlurm, study: Study, observed: Callable[[str], None]
) -> None:
    study.write(WRITING)
    first = study.start("--nolock")
    outputs = [study.folder / "o" / name for name in "01"]
    first.until(lambda: all(output.exists() for output in outputs))
    text = study.start("--nolock", "--rerun-incomplete", "--retries", "2").fail()
    assert f"submitit: the snakemake of process {first.process.pid} on " in text
    assert "Error in rule" not in text
    assert "executor.py" not in text
    assert all(output.exists() for output in outputs)
    # one that makes nothing of that may run meanwhile
    study.write(WRITING + '\nrule other:\n    output: "p"\n    shell: "touch {output}"\n')
    study.start("--nolock", "p").succeed()
    (study.folder / "go").touch()
    first.succeed()
    assert study.lines("runs") == ["run", "run"]
    assert len(slurm.jobs()) == 3
    assert not list(study.folder.glob(".snakemake/submitit/controllers/*"))
    observed("refused as a whole before anything is touched, in one line; the first run finishes")


def test_jobs_that_a_checkpoint_reveals_are_claimed_too(slurm: FakeSlurm, study: Study) -> None:
    study.write("""
        def found(wildcards):
            checkpoints.split.get()
            return "p/1"

        rule all:
            input: found

        checkpoint split:
            output: "split"
            shell: "until test -e split.go; do sleep 1; done; touch {output}"

        rule slow:
            output: "p/{i}"
            shell: "touch begun; until test -e go; do sleep 1; done; touch {output}"
    """)
    blind = study.start("--nolock")
    blind.says("Submitted job")
    other = study.start("--nolock", "p/1")
    other.until((study.folder / "begun").exists)
    (study.folder / "split.go").touch()
    assert f"the snakemake of process {other.process.pid} on " in blind.fail()
    (study.folder / "go").touch()
    other.succeed()
    assert len(slurm.jobs()) == 2


def test_what_finishes_before_its_turn_is_not_made_again(slurm: FakeSlurm, study: Study) -> None:
    study.write("""
        rule all:
            input: "a/done", "b/done"
        rule b:
            output: "b/done"
            priority: 1
            shell: "touch b.began; until test -e a.ended; do sleep 1; done; touch {output}"
        rule a:
            output: "a/done"
            shell:
                "echo run >> a.runs; until test -e go; do sleep 1; done;"
                " touch {output} a.ended"
    """)
    first = study.start("a/done")
    first.until(lambda: bool(study.lines("a.runs")))
    first.process.send_signal(signal.SIGKILL)
    first.end()
    second = study.start("--nolock", "--rerun-incomplete", "--jobs", "1")
    second.until((study.folder / "b.began").exists)
    (study.folder / "go").touch()
    text = second.succeed()
    assert f"Adopted job {first.submitted['a']}, which has just finished: a" in text
    assert study.lines("a.runs") == ["run"]
    assert len(slurm.jobs()) == 2
    assert not list(study.folder.glob(".snakemake/submitit/batches/*"))


def test_what_cannot_be_looked_for_is_waited_for(slurm: FakeSlurm, study: Study) -> None:
    """As the error of a job it would have Snakemake delete what the running job writes."""
    study.write("""
        rule a:
            output: "done"
            shell:
                "echo run | tee -a runs {output}; until test -e go; do sleep 1; done;"
                " test -e {output}"
    """)
    first = study.start()
    first.until(lambda: bool(study.lines("runs")))
    first.process.send_signal(signal.SIGKILL)
    first.end()
    slurm.fault("squeue", "Unable to contact slurm controller (connect failure)")
    second = study.start("--nolock", "--rerun-incomplete")
    second.says("whether jobs of an earlier run are still there is asked again in 2 s")
    assert (study.folder / "done").exists()
    slurm.fault("squeue", None)
    second.says(f"Adopted job {first.submitted['a']}, which still runs: a")
    (study.folder / "go").touch()
    second.succeed()
    assert study.lines("runs") == ["run"]
    assert len(slurm.jobs()) == 1


@pytest.mark.fault(
    "snakemake killed between a submission and its record",
    area="cluster",
    provoked="`kill -9` with two jobs of an array whose ids are in no journal; then again",
)
def test_death_between_submission_and_its_record(
    slurm: FakeSlurm, study: Study, observed: Callable[[str], None]
) -> None:
    """The next controller knows no ids, and the tasks of the array have said their own names."""
    study.write("""
        rule all:
            input: "a/done", "b/done"
        rule one:
            output: "{name}/done"
            shell:
                "echo run >> {wildcards.name}.runs; until test -e go; do sleep 1; done;"
                " touch {output}"
    """)

    def runs(count: int) -> bool:
        return all(len(study.lines(f"{name}.runs")) == count for name in "ab")

    first = study.start()
    first.until(lambda: runs(1))
    first.process.send_signal(signal.SIGKILL)
    first.end()
    comments = {words[-1] for words in slurm.calls("scontrol") if words[0] == "update"}
    assert {comment.rpartition(" ")[0] for comment in comments} == {
        "Comment=one name=a",
        "Comment=one name=b",
    }
    (journal,) = study.files(".snakemake/submitit/controllers/*/journal.jsonl")
    submitting, _submitted = journal.read_text().splitlines(keepends=True)
    journal.write_text(submitting)

    second = study.start("--nolock", "--rerun-incomplete")
    second.until(lambda: runs(2))
    assert [slurm.state_of(job_id) for job_id in first.submitted.values()] == ["CANCELLED"] * 2
    (study.folder / "go").touch()
    second.succeed()
    assert runs(2)
    observed("the jobs without a record are cancelled, and submitted once more; all outputs there")
