"""The presets: each can be planned, says what it costs, and runs through when it is made small."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml

from kdlm.storage.parquet import read_table
from kdlm.study.config import parse
from kdlm.study.jobs import answers_jobs, init_means_jobs, network_jobs, student_jobs

Run = Callable[..., CompletedProcess[str]]

PRESETS = Path(__file__).parents[2] / "workflow/presets"
HOURS_ON_TWO_CORES = ("equivalence", "conditions", "table1", "table1-scikit-image")


def loaded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((PRESETS / f"{name}.yaml").read_text())
    return found


def small(name: str) -> dict[str, Any]:
    """A preset with all kinds of its students, but few and short: of digits, and two seeds."""
    config = copy.deepcopy(loaded(name))
    config["dataset"] = {"name": "digits", "train_images": 200}
    for recipe in config["recipes"].values():
        recipe |= {"epochs": 1}
    config["teachers"] = [one for one in config["teachers"] if one.get("seed", 0) < 2]
    config["arms"] = [arm for arm in config["arms"] if arm.get("teacher_seed", 0) < 2]
    for arm in config["arms"]:
        arm["seeds"] = arm["seeds"][:2]
        arm["temperatures"] = arm.get("temperatures", [])[-1:]
        rungs = arm.get("relative_perturbations", [0.0])
        arm["relative_perturbations"] = [rungs[0], rungs[-1]] if len(rungs) > 1 else rungs
        if arm["architecture"] == "vgg8":
            arm["seeds"] = arm["seeds"][:1]
    means = config["init_means"]
    means |= {"images": 2, "seeds": 4, "layer_seeds": 2, "shard_size": 4}
    if means["dataset"]["name"] == "scikit-image":
        means["dataset"] = {"name": "photographs", "train_images": 100}
    config["theory"]["samples"] = 20
    return config


@pytest.mark.parametrize("name", sorted(path.stem for path in PRESETS.glob("*.yaml")))
def test_a_preset_can_be_planned(snakemake: Run, tmp_path: Path, name: str) -> None:
    run = snakemake(tmp_path, "-n", "-q", "--configfile", str(PRESETS / f"{name}.yaml"))
    assert run.returncode == 0, run.stdout[-2000:]


@pytest.mark.parametrize("name", HOURS_ON_TWO_CORES)
def test_a_preset_of_hours_says_so_first_and_stays_below_a_hundred_minutes(name: str) -> None:
    first = (PRESETS / f"{name}.yaml").read_text().split("\n# yaml-language-server")[0]
    (minutes,) = re.findall(r"About (\d+) minutes on two cores", first)
    assert int(minutes) <= 100


def test_equivalence_has_three_students_of_each_loss_for_each_of_five_teachers() -> None:
    units: dict[tuple[str, str], set[tuple[int, int]]] = {}
    for job in student_jobs(parse(loaded("equivalence"))):
        spec, keys = job.spec, job.keys
        if spec.means == "trained-teacher" and spec.mean_gap == 0:
            of = units.setdefault((spec.loss, keys["temperature"]), set())
            of.add((int(keys["teacher_seed"]), spec.seed))
    every = {(teacher, seed) for teacher in range(5) for seed in range(3)}
    for loss in ("kd", "lm", "centred-lm"):
        assert units[loss, "inf"] == every
    one_each = {(teacher, 0) for teacher in range(5)}
    for temperature in ("1", "4", "16", "64", "1000"):
        assert units["kd", temperature] == one_each
    for loss in ("ce", "regularised-lm-corrected", "standardised-kd"):
        (found,) = [pairs for (name, _), pairs in units.items() if name == loss]
        assert found == one_each


def test_students_of_a_teacher_and_seed_share_their_answers() -> None:
    study = parse(loaded("equivalence"))
    assert set(answers_jobs(study)) == {job.folder for job in student_jobs(study)}


def test_table_1_has_the_seeds_of_the_paper_on_two_sets_of_images() -> None:
    one, other = (parse(loaded(name)) for name in ("table1", "table1-scikit-image"))
    assert one.init_means.seeds == 6000
    assert len({*one.init_means.architectures}) == 4
    assert {job.spec for job in init_means_jobs(one)} == {
        job.spec for job in init_means_jobs(other)
    }
    assert {one.init_means.dataset.name, other.init_means.dataset.name} == {
        "photographs", "scikit-image",
    }  # fmt: skip
    # but for the name and the images it is one study
    same = {"study", "init_means"}
    assert one.model_dump(exclude=same) == other.model_dump(exclude=same)


@pytest.mark.slow
@pytest.mark.parametrize("name", HOURS_ON_TWO_CORES)
def test_a_small_form_of_a_preset_runs_through(snakemake: Run, tmp_path: Path, name: str) -> None:
    config = small(name)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(config))
    run = snakemake(tmp_path, "--configfile", "small.yaml", "--cores", "2")
    assert run.returncode == 0, run.stdout[-3000:]
    folder, study = tmp_path / "results" / config["study"], parse(config)
    runs = read_table(folder / "tables/runs.parquet", "runs")
    assert len(runs) == len(network_jobs(study))
    claims = read_table(folder / "claims.parquet", "claims")
    measured = claims[~claims["measured_on"].str.contains("not measured:")]
    wanted = {
        "equivalence": {"equivalence-accuracy", "gap-dose", "natural-gap", "energy-solution"},
        "conditions": {"centred-classifier", "centred-classifier-adam", "sums-stay", "means-stay"},
    }.get(name, {"table1", "table1-without-resnet44", "table1-resnet44", "prop1-linear"})
    assert wanted <= set(measured["id"]), claims[["id", "measured_on"]].to_string()
