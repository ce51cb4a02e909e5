"""Tables ``runs``, ``histories`` and ``comparisons``, gathered from networks that are made up."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kdlm.study.config import Study
from kdlm.study.jobs import teacher_jobs
from kdlm.study.schemas import SCHEMAS
from kdlm.tables import comparisons as comparisons_table
from kdlm.tables import networks as networks_of
from kdlm.tables import runs as runs_table
from kdlm.tables.networks import Network
from tests.tables import made_up_study
from tests.tables.made_up_study import ACCURACY, CLASSES, TEST, jobs, logits

KEYS = ["role", "teacher", "teacher_seed", "architecture", "initialisation", "recipe", "loss",
        "temperature", "mean_gap", "perturbation", "seed"]  # fmt: skip


@pytest.fixture(scope="module")
def study(tiny: dict[str, Any]) -> Study:
    return made_up_study.study(tiny)


@pytest.fixture(scope="module")
def folder(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made up")
    made_up_study.write(study, path)
    return path


@pytest.fixture(scope="module")
def networks(study: Study, folder: Path) -> list[Network]:
    return networks_of.networks(study, folder)


@pytest.fixture(scope="module")
def runs(networks: list[Network]) -> pd.DataFrame:
    return runs_table.runs(networks)


def test_every_network_has_its_row(study: Study, runs: pd.DataFrame) -> None:
    assert len(runs) == len(jobs(study))
    assert (runs["status"] == "finished").all()
    assert not runs[KEYS].duplicated().any()
    assert runs["role"].tolist() == [role for role, _, _ in jobs(study)]


def test_accuracy_is_that_of_the_last_epoch_beside_the_best(runs: pd.DataFrame) -> None:
    assert runs["last_accuracy"].tolist() == [ACCURACY[-1]] * len(runs)
    assert runs["best_accuracy"].tolist() == [max(ACCURACY)] * len(runs)
    # the first of several
    assert runs["best_epoch"].tolist() == [1 + ACCURACY.index(max(ACCURACY))] * len(runs)


def test_moments_are_of_the_test_logits(runs: pd.DataFrame) -> None:
    for number, row in enumerate(runs.to_dict("records")):
        z = logits(number, TEST).astype(np.float64)
        squares = absolute = 0.0
        for sample in z:
            squares += sum((value - sample.mean()) ** 2 for value in sample)
            absolute += sum(abs(value) for value in sample)
        assert row["logit_mean"] == pytest.approx(z.mean())
        assert row["logit_rms"] == pytest.approx(math.sqrt(squares / z.size))
        assert row["logit_magnitude"] == pytest.approx(absolute / z.size)
        assert row["num_classes"] == CLASSES


def test_parameters_are_those_of_the_architecture(runs: pd.DataFrame) -> None:
    """Counted layer by layer, as the paper has the network."""

    def convolution(inputs: int, outputs: int, side: int) -> int:
        # weights, and scale and shift of BatchNorm
        return inputs * outputs * side**2 + 2 * outputs

    def expected(depth: int) -> int:
        blocks = (depth - 2) // 6
        total = convolution(1, 16, 3)
        for inputs, outputs in ((16, 16), (16, 32), (32, 64)):
            total += convolution(inputs, outputs, 3) + convolution(outputs, outputs, 3)
            total += convolution(inputs, outputs, 1) if inputs != outputs else 0
            total += (blocks - 1) * 2 * convolution(outputs, outputs, 3)
        return total + 64 * CLASSES + CLASSES

    found = runs.groupby("architecture")["parameters"].unique()
    assert {name: [*values] for name, values in found.items()} == {
        "resnet8": [expected(8)],
        "resnet14": [expected(14)],
    }


def test_recipes_are_those_of_the_networks(study: Study, runs: pd.DataFrame) -> None:
    for (_, _, spec), row in zip(jobs(study), runs.to_dict("records"), strict=True):
        for column in ("epochs", "weight_decay", "ce_weight", "optimizer"):
            assert row[column] == getattr(spec.recipe, column)


def test_histories_are_each_networks_own(networks: list[Network], study: Study) -> None:
    histories = runs_table.histories(networks)
    assert len(histories) == len(jobs(study)) * (1 + 3 * len(ACCURACY))
    by = histories.fillna({"teacher": "", "loss": ""}).groupby(
        ["role", *KEYS[1:]], dropna=False, sort=False
    )
    objectives = by["objective"].unique()
    # no number of another network is among a network's
    assert sorted(value for values in objectives for value in values) == [
        1.0 + number for number in range(len(jobs(study)))
    ]
    assert set(histories.columns) <= set(SCHEMAS["histories"])


@pytest.fixture(scope="module")
def comparisons(networks: list[Network]) -> pd.DataFrame:
    return comparisons_table.comparisons(networks)


def test_a_temperature_is_over_the_rms_of_its_own_teacher(
    study: Study, runs: pd.DataFrame, comparisons: pd.DataFrame
) -> None:
    teachers = runs[runs["role"] == "teacher"]
    names = teachers["architecture"] + "-" + teachers["initialisation"] + "-" + teachers["recipe"]
    rms = dict(zip(zip(names, teachers["seed"], strict=True), teachers["logit_rms"], strict=True))
    assert len(set(rms.values())) == len(rms) == len(teacher_jobs(study))
    for row in comparisons.to_dict("records"):
        expected = row["temperature_a"] / rms[row["teacher"], row["teacher_seed"]]
        assert row["temperature_over_rms"] == pytest.approx(expected)


def test_students_are_compared_within_their_teacher_recipe_and_seed_alone(
    comparisons: pd.DataFrame,
) -> None:
    objective = comparisons[comparisons["kind"] == "objective"]
    assert (objective["seed_a"] == objective["seed_b"]).all()
    assert set(comparisons["teacher"]) == {"resnet8-he-short", "resnet14-he-centred-long"}
    floor = comparisons[comparisons["kind"] == "floor"]
    same = ["loss", "temperature", "mean_gap", "seed"]
    assert (floor[[f"{key}_a" for key in same]].to_numpy()
            == floor[[f"{key}_b" for key in same]].to_numpy()).all()  # fmt: skip
    assert {*floor["perturbation_a"], *floor["perturbation_b"]} == {0, 1}
    assert not floor.empty


def test_a_network_of_another_spec_or_damaged_is_missing_and_named(
    study: Study, tmp_path: Path
) -> None:
    made_up_study.write(study, tmp_path)
    (_, first, _), (role, second, spec), *_, (_, last, _) = jobs(study)
    (tmp_path / first / "history.parquet").unlink()
    changed = spec.model_copy(update={"seed": spec.seed + 1})
    made_up_study.write_network(tmp_path / second, 1, role, changed)
    (tmp_path / last / "model.safetensors").write_bytes(b"no network")
    found = networks_of.networks(study, tmp_path)
    lost = [network for network in found if network.status == "missing"]
    assert [network.folder for network in lost] == [tmp_path / one for one in (first, second, last)]
    for network, file in zip(lost, ("history.parquet", "history.parquet", "model.safetensors"),
                             strict=True):  # fmt: skip
        assert str(network.folder / file) in str(network.reason)
    # weights are looked at where they are needed only
    few = networks_of.networks(study, tmp_path, needs=())
    assert [network.status for network in few].count("missing") == 2
    row = runs_table.runs(found).iloc[0]
    assert row["status"] == "missing"
    assert math.isnan(row["last_accuracy"])
    # its recipe is known all the same
    assert row["epochs"] == len(ACCURACY)


def test_a_diverged_student_has_its_recipe_and_the_reason_but_no_number(
    study: Study, tmp_path: Path
) -> None:
    made_up_study.write(study, tmp_path)
    number, (role, place, spec) = next(
        (i, job) for i, job in enumerate(jobs(study)) if job[0] == "student"
    )
    where = {"epoch": 3, "batch": 2, "what": "loss"}
    made_up_study.write_network(tmp_path / place, number, role, spec, where)
    found = networks_of.networks(study, tmp_path)
    table = runs_table.runs(found)
    row = table.iloc[number]
    assert row["status"] == "diverged"
    assert row["reason"].endswith("loss NaN or infinite in epoch 3, batch 2")
    assert row["epochs"] == len(ACCURACY)
    for column in ("last_accuracy", "best_accuracy", "logit_mean", "logit_rms", "logit_magnitude"):
        assert math.isnan(row[column]), column
        assert table.drop(index=number)[column].notna().all(), column
    # its pairs are there, without a distance
    pairs = comparisons_table.comparisons(found)
    lost = pairs[pairs["status"] == "diverged"]
    assert not lost.empty
    assert lost[["weights_distance", "logits_distance", "agreement"]].isna().all(axis=None)
    finished = pairs[pairs["status"] == "finished"]
    assert finished[["weights_distance", "logits_distance", "agreement"]].notna().all(axis=None)
