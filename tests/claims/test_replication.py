"""The claim about published accuracies, on made-up runs of the cifar100 preset."""

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from kdlm import published
from kdlm.claims.evidence import Evidence
from kdlm.study.config import parse
from kdlm.study.jobs import student_jobs
from kdlm.study.schemas import SCHEMAS
from kdlm.tables.published_rows import published_rows
from tests.claims.world import EVIDENCE, row

PRESET = Path(__file__).parents[2] / "workflow/presets/cifar100.yaml"
ID = "published-accuracy"


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    """Students of the preset, as accurate as was published, a quarter of a point off by seed."""
    rows: list[dict[str, Any]] = []
    for job in student_jobs(parse(yaml.safe_load(PRESET.read_text()))):
        spec, keys = job.spec, dict(job.keys)
        known = published.ACCURACIES[keys["teacher"].split("-he-")[0], spec.architecture]
        recipe = spec.recipe
        rows.append(
            keys | {"role": "student", "status": "finished", "seed": spec.seed,
                    "teacher_seed": int(keys["teacher_seed"]), "temperature": spec.temperature,
                    "mean_gap": spec.mean_gap, "perturbation": spec.perturbation,
                    "relative_perturbation": spec.relative_perturbation,
                    "epochs": recipe.epochs, "optimizer": recipe.optimizer,
                    "weight_decay": recipe.weight_decay, "ce_weight": recipe.ce_weight,
                    "last_accuracy": (known.ce if spec.loss == "ce" else known.kd)
                    + 0.0025 * (spec.seed - 2)}
        )  # fmt: skip
    return pd.DataFrame(rows).reindex(columns=list(SCHEMAS["runs"]))


def evidence(runs: pd.DataFrame, dataset: str = "cifar100") -> Evidence:
    return dataclasses.replace(EVIDENCE, runs=runs, dataset=dataset)


def chosen(runs: pd.DataFrame) -> dict[tuple[tuple[str, str], str], pd.DataFrame]:
    return {(pair, loss): rows for pair, loss, _, rows in published_rows(runs)}


def test_each_published_pair_has_its_five_students(runs: pd.DataFrame) -> None:
    found = chosen(runs)
    assert set(found) == {(pair, loss) for pair in published.ACCURACIES for loss in ("CE", "KD")}
    for (_, loss), rows in found.items():
        assert sorted(rows["seed"]) == [0, 1, 2, 3, 4]
        assert set(rows["recipe"]) == {"standard" if loss == "CE" else "published"}


def test_students_as_accurate_as_published_support_the_claim(runs: pd.DataFrame) -> None:
    found = row(evidence(runs), ID, "as stated")
    assert found["verdict"] == "supported"
    assert found["n"] == 5
    assert "worst of 12 published accuracies" in found["measured_on"]


@pytest.mark.parametrize(
    ("pair", "loss"), [(("vgg13", "vgg8"), "KD"), (("wrn-40-2", "wrn-16-2"), "CE")]
)
def test_one_pair_three_points_off_refutes_it(
    runs: pd.DataFrame, pair: tuple[str, str], loss: str
) -> None:
    off = runs.copy()
    off.loc[chosen(runs)[pair, loss].index, "last_accuracy"] -= 0.03
    found = row(evidence(off), ID, "as stated")
    assert found["verdict"] == "refuted"
    assert found["value"] == pytest.approx(-0.03)
    assert f"{loss} of {pair[0]} to {pair[1]}" in found["measured_on"]


def test_other_students_do_not_matter(runs: pd.DataFrame) -> None:
    used = pd.concat(chosen(runs).values()).index
    off = runs.copy()
    off.loc[~off.index.isin(used), "last_accuracy"] = 0.01
    assert row(evidence(off), ID, "as stated") == row(evidence(runs), ID, "as stated")


@pytest.mark.parametrize(
    ("dataset", "epochs", "reason"),
    [
        ("cifar10", 240, "published accuracies are those on cifar100"),
        ("digits", 240, "published accuracies are those on cifar100"),
        ("cifar100", 20, "no students of a published pair with the published recipe"),
    ],
)
def test_without_such_students_it_is_inconclusive_and_says_why(
    runs: pd.DataFrame, dataset: str, epochs: int, reason: str
) -> None:
    found = row(evidence(runs.assign(epochs=epochs), dataset), ID, "as stated")
    assert found["verdict"] == "inconclusive"
    assert reason in found["measured_on"]


def test_a_lost_student_leaves_it_open(runs: pd.DataFrame) -> None:
    lost = runs.astype({"reason": object})
    place = chosen(runs)[("resnet56", "resnet20"), "KD"].index[0]
    lost.loc[place, ["last_accuracy", "reason"]] = [None, "student X diverged"]
    found = row(evidence(lost), ID, "as stated")
    assert found["verdict"] == "inconclusive"
    assert "student X diverged" in found["measured_on"]


def test_published_numbers_are_accuracies_in_their_order() -> None:
    for known in published.ACCURACIES.values():
        assert 0.5 < known.ce < known.kd < known.teacher < 1
