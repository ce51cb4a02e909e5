"""The DAG, end to end, on a tiny config in a folder of its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from kdlm.errors import InputError
from kdlm.figures import FIGURES, draw
from kdlm.report import OUTPUTS
from kdlm.storage.parquet import read_table
from kdlm.study.config import parse, read_study
from kdlm.study.jobs import student_jobs

ROOT = Path(__file__).parents[2]

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_every_output_is_there(finished: Path, tiny: dict[str, Any]) -> None:
    results = finished / "results/tiny"
    for figure in FIGURES:
        assert (results / f"figures/{figure}.svg").stat().st_size > 1000
        assert (results / f"figures/{figure}.png").stat().st_size > 1000
    for name in OUTPUTS:
        assert (results / name).stat().st_size > 1000
    students = list(results.glob("students/**/run.json"))
    assert len(students) == len(list(student_jobs(parse(tiny))))


def test_the_config_is_resolved_first(snakemake: Run, tmp_path: Path, tiny: dict[str, Any]) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny))
    files = [f"results/tiny/{name}" for name in (
        "data/digits.safetensors", "data/photographs.safetensors", "study.json",
    )]  # fmt: skip
    run = snakemake(tmp_path, "--cores", "1", "--configfile", "tiny.yaml", "--", *files)
    assert run.returncode == 0, run.stdout[-2000:]
    *data, resolved = ((tmp_path / file).stat().st_mtime_ns for file in files)
    assert resolved < min(data)


def test_a_config_longer_than_the_longest_argument_is_resolved(
    snakemake: Run, tmp_path: Path, tiny: dict[str, Any]
) -> None:
    arms = [tiny["arms"][0] | {"seeds": [number]} for number in range(600)]
    config = tiny | {"arms": arms}
    study = parse(config)
    # Linux allows an argument 128 KiB
    assert len(study.canonical_json()) > 128 * 1024
    (tmp_path / "long.yaml").write_text(yaml.safe_dump(config))
    run = snakemake(tmp_path, "--configfile", "long.yaml", "--", "results/tiny/study.json")
    assert run.returncode == 0, run.stdout[-2000:]
    assert read_study(tmp_path / "results/tiny") == study


def test_the_equations_come_out_as_the_mathematics_says(finished: Path) -> None:
    claims = read_table(finished / "results/tiny/claims.parquet", "claims")
    verdicts = claims.set_index("id")["verdict"]
    for claim in ("eq7-printed", "eq8-printed", "b4-printed"):
        assert verdicts[claim] == "refuted"
    for claim in ("eq1", "eq2", "eq4-zero-mean", "eq5", "eq6", "eq7-corrected", "eq8-corrected",
                  "a3", "b3", "b4-corrected", "sums-stay"):  # fmt: skip
        assert verdicts[claim] == "supported", claim
    # what this small study does not hold is inconclusive, and says so
    assert verdicts["centred-classifier"] == "inconclusive"
    assert verdicts["table1"] == "inconclusive"
    assert claims.loc[claims["id"] == "table1", "measured_on"].str.contains("not measured").all()


def test_afterwards_there_is_nothing_to_do(snakemake: Run, finished: Path) -> None:
    run = snakemake(finished, "--configfile", "tiny.yaml")
    assert run.returncode == 0
    assert "Nothing to be done" in run.stdout


def test_duckdb_reads_the_tree_as_one_table(finished: Path) -> None:
    pattern = finished / "results/tiny/students/**/history.parquet"
    rows = duckdb.execute(
        f"select loss, temperature, seed, max(accuracy) as accuracy "
        f"from read_parquet('{pattern}', hive_partitioning = true) "
        f"where split = 'test' group by all"
    ).df()
    assert set(rows["loss"]) == {"ce", "kd", "lm"}
    assert rows["accuracy"].between(0, 1).all()


def test_the_recorded_command_runs_without_snakemake(snakemake: Run, finished: Path) -> None:
    target = "results/tiny/tables/runs.parquet"
    run = snakemake(finished, target, "-n", "-p", "--force", "--configfile", "tiny.yaml")
    assert run.returncode == 0, run.stdout[-2000:]
    lines = run.stdout.splitlines()
    command = next(line for line in lines if "python -m kdlm collect" in line)
    command = command.removeprefix("Shell command: ")
    subprocess.run(
        command, shell=True, cwd=finished, check=True,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("theads", 2, "did you mean 'threads'?"),
        ("arms", [], "arms: the list is empty"),
        ("dataset", {"name": "mnist"}, "unknown dataset 'mnist'; known: digits"),
    ],
)
def test_a_bad_config_stops_before_any_job(
    snakemake: Run, tmp_path: Path, tiny: dict[str, Any], key: str, value: Any, expected: str
) -> None:
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(tiny | {key: value}))
    run = snakemake(tmp_path, "--configfile", "bad.yaml")
    assert run.returncode == 1
    assert expected in run.stdout
    assert "Traceback" not in run.stdout
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_a_function_of_the_tables(
    name: str, finished: Path, tiny: dict[str, object], tmp_path: Path
) -> None:
    drawn = finished / "results/tiny"
    shutil.copytree(drawn / "tables", tmp_path / "tables")
    shutil.copy(drawn / "claims.parquet", tmp_path)
    draw(name, parse(tiny), tmp_path)
    for suffix in ("svg", "png"):
        again = (tmp_path / f"figures/{name}.{suffix}").read_bytes()
        assert again == (drawn / f"figures/{name}.{suffix}").read_bytes()


def test_an_unknown_figure_lists_the_known(tiny: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'nothing'.*gradient_limit"):
        draw("nothing", parse(tiny), tmp_path)


def test_how_often_a_training_is_saved_reruns_nothing(snakemake: Run, finished: Path) -> None:
    run = snakemake(
        finished, "-n", "--configfile", "tiny.yaml",
        "--set-resources", "distill:checkpoint_minutes=1", "train_teacher:checkpoint_epochs=1",
    )  # fmt: skip
    assert "Nothing to be done" in run.stdout
