"""`kdlm clean`: what a finished study no longer needs is removed, and nothing else."""

import copy
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kdlm.cleaning import PARTS, clean, describe
from kdlm.cli import main
from kdlm.errors import InputError
from kdlm.storage.locks import acquire_folder, lock_folder
from kdlm.study.config import Study, parse
from kdlm.study.jobs import NETWORK_FILES, answers_jobs, init_means_jobs, network_jobs

Run = Callable[..., subprocess.CompletedProcess[str]]
Observed = Callable[[str], None]

ANSWERS = "answers/teacher=x/seed=0"


@pytest.fixture
def study(tiny: dict[str, Any]) -> Study:
    return parse(tiny)


@pytest.fixture
def folder(tmp_path: Path, study: Study) -> Path:
    """The folder of a study that is finished: every output is there, though empty."""
    folder = tmp_path / "results/tiny"
    written = {
        "study.json": study.canonical_json(),
        "claims.parquet": "",
        f"{ANSWERS}/answers.parquet": "a" * 5000,
        f"{ANSWERS}/.lock": "",
        "answers/teacher=x/seed=1/answers.parquet": "a" * 7000,
        "benchmarks/answers/teacher=x/seed=0.tsv": "s\th:m:s\tmax_rss\n41.6\t0:00:41\t12.5\n",
        "logs/collect.log": "finished on somewhere\n",
        "checkpoints/students/x/checkpoint.safetensors": "c" * 300,
    }
    written |= {f"{job.folder}/{name}": "" for job in network_jobs(study) for name in NETWORK_FILES}
    written |= {f"{job.folder}/means.parquet": "" for job in init_means_jobs(study)}
    for name, text in written.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir()}


def test_what_is_removed_and_what_stays(folder: Path, study: Study) -> None:
    before = files(folder)
    found = {part.name: part for part in clean(study, folder)}
    gone = {path for path in before if path.parts[0] in PARTS}
    # the lock that was taken
    assert files(folder) == before - gone | {Path(".lock")}
    assert not any((folder / name).exists() for name in PARTS)
    assert (found["answers"].files, found["answers"].bytes) == (3, 12_000)
    assert (found["checkpoints"].files, found["checkpoints"].bytes) == (1, 300)
    assert found["logs"].bytes == len("finished on somewhere\n")
    answers = [(str(one.path), one.bytes, one.seconds) for one in found["answers"].answers]
    assert answers == [
        (f"{ANSWERS}/answers.parquet", 5000, 41.6),
        ("answers/teacher=x/seed=1/answers.parquet", 7000, None),
    ]


def test_a_second_time_there_is_nothing_to_remove(folder: Path, study: Study) -> None:
    clean(study, folder)
    before = files(folder)
    assert [(part.files, part.bytes) for part in clean(study, folder)] == [(0, 0)] * len(PARTS)
    assert files(folder) == before


def test_a_dry_run_says_the_same_and_removes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(folder)
    assert main(["clean", str(folder), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert files(folder) == before
    assert main(["clean", str(folder)]) == 0
    assert capsys.readouterr().out == told.replace("would be removed", "removed")


def test_what_an_added_student_costs_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["clean", str(folder)]) == 0
    told = capsys.readouterr().out
    assert re.search(r"^answers/ +12,000 bytes in 3 files: ", told, re.MULTILINE)
    assert "12,322 bytes removed" in told
    assert "a file of up to 7,000 bytes, made in up to 42 s." in told
    command = "  snakemake --cores all --configfile results/tiny/study.json -- "
    assert told.endswith(f"{command}results/tiny/{ANSWERS}/answers.parquet\n")
    assert main(["clean", str(folder)]) == 0
    assert "costs no more for that" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "s\n", "s\th\n1\n", "s\nfast\n", "m\n1\n", "\udcff"])
def test_a_benchmark_that_is_none_says_no_time(folder: Path, study: Study, text: str) -> None:
    benchmark = folder / "benchmarks/answers/teacher=x/seed=0.tsv"
    benchmark.write_text(text, errors="surrogateescape")
    found = clean(study, folder)
    assert [one.seconds for one in found[0].answers] == [None, None]
    assert "7,000 bytes. Make it first" in describe(found, study)


@pytest.mark.parametrize("lost", ["claims.parquet", "run.json", "means.parquet"])
def test_an_unfinished_study_is_refused(folder: Path, study: Study, lost: str) -> None:
    missing = next(folder.rglob(lost))
    missing.unlink()
    before = files(folder)
    with pytest.raises(InputError, match=f"{lost} is missing: the study is not finished"):
        clean(study, folder)
    assert files(folder) == before
    assert clean(study, folder, unfinished=True)[0].bytes == 12_000
    assert not (folder / "checkpoints").exists()


@pytest.mark.fault(
    "cleaning a study that is running",
    area="two at once",
    provoked="`kdlm clean` while a snakemake holds the study, and while a job alone goes on",
)
def test_a_running_study_is_refused(folder: Path, study: Study, observed: Observed) -> None:
    before = files(folder)
    job = folder / network_jobs(study)[-1].folder
    for held in (acquire_folder(folder), lock_folder(job)):
        with held, pytest.raises(InputError, match=rf"being worked on by process {os.getpid()} on"):
            clean(study, folder, unfinished=True)
    assert before <= files(folder)
    clean(study, folder)
    observed("refused in one line that names the process; nothing is removed")


def test_the_folder_of_another_study_is_refused(folder: Path, study: Study) -> None:
    other = folder.rename(folder.with_name("other"))
    before = files(other)
    with pytest.raises(InputError, match="is not the folder of study tiny"):
        clean(study, other)
    assert files(other) == before


def test_a_study_behind_a_link_is_cleaned(folder: Path, study: Study, tmp_path: Path) -> None:
    """Of the study's folder, or of ``results``: both may be on another disk."""
    elsewhere = tmp_path / "disk/anything"
    elsewhere.parent.mkdir()
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)
    assert clean(study, folder)[0].bytes == 12_000
    assert folder.is_symlink()
    assert not (elsewhere / "answers").exists()


@pytest.mark.fault(
    "links among what is to be cleaned",
    area="hostile input",
    provoked="answers/ that is a link to another folder; a link inside logs/; a loop; a pipe",
)
def test_links_are_not_followed(
    folder: Path, study: Study, tmp_path: Path, observed: Observed
) -> None:
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (treasure / "file").write_text("of somebody")
    (folder / "answers").rename(folder / "kept")
    (folder / "answers").symlink_to(treasure)
    before = files(folder)
    with pytest.raises(InputError, match="answers is a link, which is not followed"):
        clean(study, folder)
    assert files(folder) == before
    (folder / "answers").unlink()
    (folder / "logs/away").symlink_to(treasure)
    (folder / "logs/loop").symlink_to("loop")
    os.mkfifo(folder / "logs/pipe")
    os.mkfifo(folder / "logs/.lock")
    clean(study, folder)
    assert not (folder / "logs").exists()
    assert (treasure / "file").read_text() == "of somebody"
    observed("a link in the place of a folder is refused by name; others are removed, not followed")


def test_a_file_in_the_place_of_a_folder_is_refused(folder: Path, study: Study) -> None:
    shutil.rmtree(folder / "logs")
    (folder / "logs").write_text("")
    with pytest.raises(InputError, match="logs is no folder"):
        clean(study, folder)
    assert (folder / "answers").exists()


@pytest.mark.fault(
    "cleaning where nothing can be removed",
    area="files",
    provoked="`kdlm clean` on a disk that has become read-only; folders nested 1,500 deep",
)
def test_what_cannot_be_removed_is_one_line(
    folder: Path,
    small_disk: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    observed: Observed,
) -> None:
    place = small_disk("size=64m") / "tiny"
    shutil.copytree(folder, place)
    deep = place / "logs"
    for _ in range(1500):
        deep /= "d"
        deep.mkdir()
    assert main(["clean", str(place)]) == 1
    assert "nested too deeply for Python; remove them by hand" in one_line(capsys)
    subprocess.run(["rm", "-r", place / "logs"], check=True)
    subprocess.run(["mount", "-o", "remount,ro", place.parent], check=True)
    assert main(["clean", str(place)]) == 1
    assert "cannot be written (Read-only file system)" in one_line(capsys)
    assert main(["clean", str(place), "--dry-run"]) == 0
    observed("one line that names the folder")


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.startswith("kdlm: ")
    assert error.count("\n") == 1
    return error


def test_after_cleaning_nothing_reruns(
    snakemake: Run, finished: Path, tiny: dict[str, Any]
) -> None:
    clean(parse(tiny), finished / "results/tiny")
    run = snakemake(finished, "-n", "--configfile", "tiny.yaml")
    assert run.returncode == 0, run.stdout[-2000:]
    assert "Nothing to be done" in run.stdout


@pytest.mark.slow
def test_a_student_added_to_a_cleaned_study_reruns_no_other(
    snakemake: Run, checkout: Path, tiny: dict[str, Any]
) -> None:
    config = copy.deepcopy(tiny)
    config["arms"][0]["temperatures"] = [4, 8, "inf"]
    (checkout / "more.yaml").write_text(yaml.safe_dump(config))
    clean(parse(tiny), checkout / "results/tiny")
    files = sorted({f"results/tiny/{job.folder}/answers.parquet"
                    for job in answers_jobs(parse(tiny)).values()})  # fmt: skip
    assert len(files) == 2
    run = snakemake(checkout, "--configfile", "tiny.yaml", "--", *files)
    assert run.returncode == 0, run.stdout[-3000:]
    run = snakemake(checkout, "-n", "-q", "rules", "--configfile", "more.yaml")
    counts = dict(re.findall(r"^(\w+) +(\d+)$", run.stdout, re.MULTILINE))
    new = len(network_jobs(parse(config))) - len(network_jobs(parse(tiny)))
    assert int(counts["distill"]) == new > 0
    assert "answers" not in counts


# What a cleaned study does when a student is added, with Snakemake alone: the rule of the answers,
# and students of two losses that read them. The file is larger than those whose checksums Snakemake
# compares when a time has changed.
SNAKEFILE = """
LOSSES = config.get("losses", "kd").split()
rule all:
    input:
        "claims",
rule answers:
    output:
        "answers/{seed}",
    shell:
        "head -c 2000000 /dev/zero > {output}"
rule distill:
    input:
        answers=ancient("answers/{seed}"),
    output:
        "students/{loss}-{seed}",
    shell:
        "sha256sum {input} > {output}"
rule judge:
    input:
        expand("students/{loss}-0", loss=LOSSES),
    output:
        "claims",
    shell:
        "cat {input} > {output}"
"""


@pytest.mark.slow
def test_answers_made_first_rerun_no_finished_student(snakemake: Run, tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "more.yaml").write_text(yaml.safe_dump({"losses": "kd lm"}))

    def to_do(*arguments: str) -> dict[str, int]:
        run = snakemake(tmp_path, "-n", "-q", "rules", *arguments)
        assert run.returncode == 0, run.stdout[-2000:]
        rows = re.findall(r"^(\w+) +(\d+)$", run.stdout, re.MULTILINE)
        return {rule: int(count) for rule, count in rows if rule not in ("all", "total")}

    assert snakemake(tmp_path).returncode == 0
    shutil.rmtree(tmp_path / "answers")
    assert to_do() == {}
    # in one run the finished student of the seed is trained again
    assert to_do("--configfile", "more.yaml") == {"answers": 1, "distill": 2, "judge": 1}
    assert snakemake(tmp_path, "--", "answers/0").returncode == 0
    assert to_do("--configfile", "more.yaml") == {"distill": 1, "judge": 1}
    assert to_do() == {}
