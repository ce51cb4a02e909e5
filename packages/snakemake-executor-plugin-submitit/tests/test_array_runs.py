"""Jobs that go well, end to end on Slurm's commands as the tests have them."""

from fake_slurm import FakeSlurm
from study import Study

WORD = "quite-secret-7f3a"

SNAKEFILE = """
envvars: "A_TEST_SECRET"

rule all:
    input: expand("out/{n}/done", n=range(3)), "joined", "stubborn"

rule part:
    output: "out/{n}/done"
    resources: slurm_partition="short", runtime=7, mem_mb=400
    shell:
        '''
        test "$FROM_SETUP" = yes
        printenv A_TEST_SECRET > secret{wildcards.n}
        cat /proc/[0-9]*/cmdline 2> /dev/null > lines{wildcards.n} || true
        grep -qaF snakemake lines{wildcards.n}
        if grep -qaFf secret{wildcards.n} lines{wildcards.n}; then exit 3; fi
        if grep -rqaFf secret{wildcards.n} .snakemake/submitit; then exit 4; fi
        touch {output}
        '''

rule first:
    output: "first"
    group: "pair"
    shell: "touch {output}"

rule joined:
    input: "first"
    output: "joined"
    group: "pair"
    shell: "touch {output}"

rule stubborn:
    output: "stubborn"
    resources: mem_mb=lambda wildcards, attempt: 1000 * attempt
    shell: "echo once more >> tries; test $(wc -l < tries) = 2 && touch {output}"
"""


def test_a_run(slurm: FakeSlurm, study: Study) -> None:
    study.write(SNAKEFILE)
    study.environment["A_TEST_SECRET"] = WORD
    slurm.fault("MaxArraySize", 2)
    message = "Batch job submission failed: Unable to contact slurm controller (connect failure)"
    slurm.fault("sbatch", [1, message])
    run = study.start("--retries", "1", "--submitit-setup", "export FROM_SETUP=yes")
    text = run.succeed()
    assert "next try in" in text
    # one that failed, two for the three parts, one for the group, two for the one that is stubborn
    assert len(slurm.calls("sbatch")) == 6

    jobs = slurm.jobs()
    parts = [job["options"] for job in jobs if job["options"].get("partition") == "short"]
    assert [part.get("array") for part in parts].count("0-1%2") == 2
    for part in parts:
        assert part["time"] == "7"
        assert part["mem"] == "400M"
        assert part["job-name"].startswith("part")
        assert part["export"] == "ALL"
    tries = [job["options"]["mem"] for job in jobs if "stubborn" in job["options"]["comment"]]
    assert tries == ["1000M", "2000M"]
    (pair,) = [job for job in jobs if "pair" in job["options"]["comment"]]
    assert slurm.state_of(pair["id"]) == "COMPLETED"

    for n in range(3):
        assert study.lines(f"secret{n}") == [WORD]
    assert not any(WORD in slurm.script(job["id"]) for job in jobs)
    assert WORD not in (slurm.state / "calls.jsonl").read_text()

    # what is left: the failed try
    (log,) = study.files(".snakemake/submitit/logs/**/*.log")
    assert log.parent.name == "stubborn"
    assert log.stem in text
    assert not list(study.folder.glob(".snakemake/submitit/controllers/*"))
    assert len(list(study.folder.glob(".snakemake/submitit/batches/*"))) == 1

    queries = len(slurm.calls("squeue"))
    assert study.start("--submitit-keep-logs", "-n").succeed().count("Nothing to be done") == 1
    assert len(slurm.calls("squeue")) == queries


def test_a_log_that_cannot_be_written_fails_no_job(slurm: FakeSlurm, study: Study) -> None:
    study.write("""
        rule all:
            output: "done"
            shell: "echo words of the job; touch {output}"
    """)
    (study.folder / "logs").write_text("a file in the place of the folder")
    study.start("--submitit-logdir", "logs").succeed()
    assert len(slurm.jobs()) == 1
    assert (study.folder / "done").exists()
