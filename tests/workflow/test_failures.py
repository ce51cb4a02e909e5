"""What fails leaves the rest complete; tables and claims say what is missing."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kdlm.storage.parquet import read_table

Run = Callable[..., subprocess.CompletedProcess[str]]
Observed = Callable[[str], None]

PROFILE = Path(__file__).parents[2] / "workflow/profiles/local"


def _results(folder: Path) -> dict[Path, bytes]:
    """Every file of the tiny study that is a function of its config alone."""
    root = folder / "results/tiny"
    return {
        path.relative_to(root): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
        and path.name not in ("run.json", ".lock")
        and path.relative_to(root).parts[0] not in ("logs", "benchmarks")
    }


def _counts(run: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """How many jobs of each rule a dry run announces."""
    rows = re.findall(r"^(\w+) +(\d+)$", run.stdout, re.MULTILINE)
    return {rule: int(count) for rule, count in rows if rule not in ("study", "total")}


@pytest.mark.fault(
    "one failing student",
    area="reruns",
    provoked="a student's folder that takes no files, run by the local profile; mended; run again",
)
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that takes no files")
def test_a_failing_student_leaves_the_rest_complete_and_the_next_run_mends_it(
    snakemake: Run, finished: Path, tmp_path: Path, observed: Observed
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(finished, folder)
    results = folder / "results/tiny"
    (student,) = results.glob("students/**/loss=kd/temperature=4/*/mean_gap=0/*=0/*=0/seed=1")
    shutil.rmtree(student)
    for gathered in ("tables/runs", "tables/histories", "tables/comparisons", "claims"):
        (results / f"{gathered}.parquet").unlink()
    # as root may write everywhere, a disk that is read-only has to be a special one
    student.symlink_to("/proc")
    run = snakemake(folder, "--configfile", "tiny.yaml", "--profile", str(PROFILE))
    assert run.returncode == 1
    # the profile's logger names it once, with the reason that its log ends with
    assert run.stdout.count("FAILED  distill resnet8-he-short resnet8 he short kd") == 1
    assert f"{student.relative_to(folder)}/model.safetensors cannot be written" in run.stdout
    assert len(run.stdout) < 10_000

    whole, partial = (
        read_table(place / "results/tiny/claims.parquet", "claims").set_index(["id", "form"])
        for place in (finished, folder)
    )
    runs = read_table(results / "tables/runs.parquet", "runs")
    (lost,) = runs[runs["status"] != "finished"].to_dict("records")
    assert (lost["status"], lost["loss"], lost["seed"]) == ("missing", "kd", 1)
    assert str(student.relative_to(folder)) in lost["reason"]
    touched = partial[partial["measured_on"].str.contains(lost["reason"], regex=False)]
    assert {"eq5", "sums-stay", "means-stay"} <= set(touched.index.get_level_values("id"))
    # a universal claim that the other students refute stays refuted
    still = touched["verdict"] == "refuted"
    assert set(touched[still].index.get_level_values("id")) <= {"means-stay"}
    assert (touched.loc[~still, "verdict"] == "inconclusive").all()
    # where only the ladder is lost, a distance is measured and cannot be judged
    judged = ~still & ~touched["measured_on"].str.contains("no ladder: ")
    assert touched.loc[judged, "value"].isna().all()
    others = partial.index.difference(touched.index)
    assert whole.loc[others].equals(partial.loc[others])
    told = subprocess.run(
        [sys.executable, "-m", "kdlm", "claims", results],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f"1 of {len(runs)} networks are not finished" in told.stdout
    # a gathering job of its own names the file
    collect = subprocess.run(
        [sys.executable, "-m", "kdlm", "collect", results],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert collect.returncode == 1
    assert collect.stderr.count("\n") == 1
    assert f"{student}/" in collect.stderr
    observed(
        "the rest is complete; the tables say what is missing and why; claims it touches are "
        "inconclusive unless what is there refutes them, the others as ever"
    )

    student.unlink()
    counts = _counts(snakemake(folder, "-n", "--configfile", "tiny.yaml"))
    assert counts.pop("distill") == 1
    assert set(counts) == {
        "collect", "compare", "judge",
        "figure_accuracy", "figure_distances", "figure_energy", "figure_published_accuracies",
        "figure_routes", "figure_training_means", "write_report",
    }  # fmt: skip
    run = snakemake(folder, "--configfile", "tiny.yaml")
    assert run.returncode == 0, run.stdout[-5000:]
    assert _results(folder) == _results(finished)
    run = snakemake(folder, "-n", "--configfile", "tiny.yaml")
    assert "Nothing to be done" in run.stdout
    observed("the next run trains that student alone; results equal bit for bit")


def _wild(tiny: dict[str, Any]) -> dict[str, Any]:
    """The tiny study with a recipe that sends every training to infinity."""
    config: dict[str, Any] = yaml.safe_load(yaml.safe_dump(tiny))
    config["recipes"]["wild"] = config["recipes"]["short"] | {"learning_rate": 1.0e30}
    return config


@pytest.mark.slow
@pytest.mark.fault(
    "a failing teacher",
    area="reruns",
    provoked="a second teacher, which diverges, and a student of it, with --keep-going",
)
def test_a_teacher_that_fails_leaves_what_needs_it_not_complete(
    snakemake: Run, finished: Path, tiny: dict[str, Any], tmp_path: Path, observed: Observed
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(finished, folder)
    config = _wild(tiny)
    config["teachers"].append(config["teachers"][0] | {"recipe": "wild"})
    arm = config["arms"][0] | {"teacher": "resnet8-he-wild", "losses": ["kd"], "seeds": [0]}
    config["arms"].append(arm | {"temperatures": [4]})
    (folder / "wild.yaml").write_text(yaml.safe_dump(config))
    arguments = ("--keep-going", "--configfile", "wild.yaml")
    run = snakemake(folder, *arguments)
    assert run.returncode == 1
    results = folder / "results/tiny"
    runs = read_table(results / "tables/runs.parquet", "runs")
    assert (runs["status"] == "missing").sum() == 2
    assert (runs["status"] == "finished").sum() == len(runs) - 2
    (log,) = results.glob("logs/teachers/**/*wild*/**/*.log")
    told = log.read_text().splitlines()[-1]
    assert "the teacher diverged in epoch 1, batch " in told
    assert "give its recipe a smaller learning rate" in told
    claims = read_table(results / "claims.parquet", "claims")
    assert (claims["verdict"] == "inconclusive").any()
    assert set(_counts(snakemake(folder, "-n", *arguments))) >= {"train_teacher", "distill"}
    observed(
        "its log ends in one line that says where and what to do; its students are missing in the "
        "tables, all others are there"
    )


@pytest.mark.fault(
    "a student that diverges",
    area="numbers",
    provoked="a recipe with a learning rate of 1e30 in one arm, run by snakemake",
)
def test_a_student_that_diverges_is_recorded_and_not_retried(
    snakemake: Run, finished: Path, tiny: dict[str, Any], tmp_path: Path, observed: Observed
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(finished, folder)
    config = _wild(tiny)
    config["arms"].append(config["arms"][0] | {"recipe": "wild", "losses": ["kd"], "seeds": [0]})
    (folder / "wild.yaml").write_text(yaml.safe_dump(config))
    run = snakemake(folder, "--configfile", "wild.yaml")
    assert run.returncode == 0, run.stdout[-5000:]
    runs = read_table(folder / "results/tiny/tables/runs.parquet", "runs")
    lost, _ = runs[runs["status"] != "finished"].to_dict("records")
    assert (lost["status"], lost["recipe"]) == ("diverged", "wild")
    assert "NaN or infinite in epoch 1, batch " in lost["reason"]
    claims = read_table(folder / "results/tiny/claims.parquet", "claims").set_index("id")
    assert claims.loc["sums-stay", "verdict"] == "inconclusive"
    assert lost["reason"] in claims.loc["sums-stay", "measured_on"]
    # no KD, and it would not have counted one that is
    assert claims.loc["eq6", "verdict"] == "supported"
    assert "Nothing to be done" in snakemake(folder, "-n", "--configfile", "wild.yaml").stdout
    observed(
        "diverged in the tables, with epoch and batch; claims it touches are inconclusive; it is "
        "not trained again"
    )
