"""The DAG, end to end, on a tiny config in a folder of its own.

One file, so that one worker runs the study while another has all other tests.
"""

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

from kdlm.config import parse
from kdlm.errors import InputError
from kdlm.figures import FIGURES, draw
from kdlm.salvage import salvage
from kdlm.tables import read_table

ROOT = Path(__file__).parents[2]

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_every_output_is_there(finished: Path, tiny: dict[str, Any]) -> None:
    results = finished / "results/tiny"
    for figure in FIGURES:
        assert (results / f"figures/{figure}.svg").stat().st_size > 1000
        assert (results / f"figures/{figure}.png").stat().st_size > 1000
    students = list(results.glob("students/**/run.json"))
    assert len(students) == len(list(parse(tiny).student_jobs()))


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


def test_a_seed_more_is_a_student_more(
    snakemake: Run, finished: Path, tiny: dict[str, Any]
) -> None:
    changed = yaml.safe_load(yaml.safe_dump(tiny))
    changed["arms"][1]["seeds"] = [0, 1]
    (finished / "more.yaml").write_text(yaml.safe_dump(changed))
    run = snakemake(finished, "-n", "--configfile", "more.yaml")
    counts = _counts(run)
    # one gap and its control, and both at no gap of which one is there
    assert counts["distill"] == 3
    assert "train_teacher" not in counts
    assert "init_means" not in counts


def test_a_reformatted_config_is_the_same_study(
    snakemake: Run, finished: Path, tiny: dict[str, Any]
) -> None:
    (finished / "reformatted.yaml").write_text(
        "# a comment\n" + yaml.safe_dump(tiny, default_flow_style=True, sort_keys=False)
    )
    assert (
        "Nothing to be done" in snakemake(finished, "-n", "--configfile", "reformatted.yaml").stdout
    )


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


def test_the_paper_scale_preset_builds(snakemake: Run, tmp_path: Path) -> None:
    preset = ROOT / "workflow/presets/cifar100.yaml"
    run = snakemake(tmp_path, "-n", "-q", "--configfile", str(preset))
    assert run.returncode == 0, run.stdout[-2000:]


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


def _results(folder: Path) -> dict[Path, bytes]:
    """Every file of the tiny study that is a function of its config alone."""
    root = folder / "results/tiny"
    return {
        path.relative_to(root): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
        and path.name != "run.json"
        and path.relative_to(root).parts[0] not in ("logs", "benchmarks")
    }


def _counts(run: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """How many jobs of each rule a dry run announces."""
    lines = [line.split() for line in run.stdout.splitlines()]
    return {
        line[0]: int(line[1])
        for line in lines
        if len(line) == 2 and line[1].isdigit() and not line[0].endswith(":")
    }


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that takes no files")
def test_a_failing_student_leaves_the_rest_complete_and_the_next_run_mends_it(
    snakemake: Run, finished: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(finished, folder)
    results = folder / "results/tiny"
    (student,) = results.glob("students/*/*/*/*/*/loss=kd/temperature=4/mean_gap=0/*=0/seed=1")
    shutil.rmtree(student)
    for gathered in ("tables/runs", "tables/histories", "tables/comparisons", "claims"):
        (results / f"{gathered}.parquet").unlink()
    # as root may write everywhere, a disk that is read-only has to be a special one
    student.symlink_to("/proc")
    run = snakemake(folder, "--configfile", "tiny.yaml", "--keep-going")
    assert run.returncode == 1

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
    assert (touched["verdict"] == "inconclusive").all()
    assert touched["value"].isna().all()
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
    assert f"{student}/model.safetensors" in collect.stderr

    student.unlink()
    counts = _counts(snakemake(folder, "-n", "--configfile", "tiny.yaml"))
    assert counts.pop("distill") == 1
    assert set(counts) == {
        "collect", "compare", "claims", "all", "total",
        "figure_accuracy", "figure_distances", "figure_routes", "figure_training_means",
    }  # fmt: skip
    run = snakemake(folder, "--configfile", "tiny.yaml")
    assert run.returncode == 0, run.stdout[-5000:]
    assert _results(folder) == _results(finished)
    run = snakemake(folder, "-n", "--configfile", "tiny.yaml")
    assert "Nothing to be done" in run.stdout


def test_damage_anywhere_leaves_something_to_tell(
    finished: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(finished / "results/tiny", folder)
    study = parse(tiny)
    # the first student of LM, whose logits serve the theory, and a shard of initialisation means
    (student,) = folder.glob("students/*/*/*/*/*/loss=lm/*/*/*/seed=0/logits.parquet")
    flipped = bytearray(student.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    student.write_bytes(flipped)
    next(folder.glob("init_means/**/means.parquet")).unlink()
    replaced = salvage(study, folder)
    assert folder / "tables/runs.parquet" in replaced
    assert folder / "tables/layer_means.parquet" in replaced
    assert not list(folder.glob(".salvage*"))
    oldest = min(path.stat().st_mtime for path in folder.glob("students/**/run.json"))
    assert all(path.stat().st_mtime < oldest for path in replaced if path.exists())
    # of no initialisation means there is no figure, and the old one would be of another study
    assert folder / "figures/init_means.svg" in replaced
    assert not (folder / "figures/init_means.svg").exists()
    claims = read_table(folder / "claims.parquet", "claims").set_index("id")
    assert "logits.parquet is damaged" in claims.loc["eq2", "measured_on"]
    assert set(claims["verdict"]) == {"inconclusive", "supported"}
    assert claims.loc[["prop1-linear", "table1"], "value"].isna().all()
    # a second time there is nothing new to tell
    assert salvage(study, folder) == []

    shutil.rmtree(folder / "students")
    shutil.rmtree(folder / "teachers")
    with pytest.raises(InputError, match="no network of this study is there"):
        salvage(study, folder)


def test_a_student_that_diverges_is_recorded_and_not_retried(
    snakemake: Run, finished: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(finished, folder)
    config = yaml.safe_load(yaml.safe_dump(tiny))
    config["recipes"]["wild"] = config["recipes"]["short"] | {"learning_rate": 1.0e30}
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


def test_how_often_a_training_is_saved_reruns_nothing(snakemake: Run, finished: Path) -> None:
    run = snakemake(
        finished, "-n", "--configfile", "tiny.yaml",
        "--set-resources", "distill:checkpoint_minutes=1", "train_teacher:checkpoint_epochs=1",
    )  # fmt: skip
    assert "Nothing to be done" in run.stdout
