"""Claims about means and magnitudes of logits, against plain computations from the raw files."""

import dataclasses
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kdlm.study.config import Study
from tests.claims import raw
from tests.claims.raw import CLASSES, EPOCHS, SEEDS, Array, column, folders, judged

Config = dict[str, Any]


@pytest.fixture(scope="module")
def study(tiny: Config) -> Study:
    return raw.study(tiny)


@pytest.fixture(scope="module")
def folder(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unchanged files."""
    path = tmp_path_factory.mktemp("raw")
    raw.write(study, path)
    return path


def plain(keys: Config) -> bool:
    """Whether the claims about CE and KD under SGD without weight decay are about this student."""
    return (
        keys["recipe"] == "plain"
        and keys.get("loss") in ("ce", "kd")
        and keys["initialisation"] == "he"
        and keys.get("relative_perturbation") in (None, "0")
    )


def drifts(paths: list[Path]) -> list[float]:
    """The last epoch's drift of each network over the rms of c(0) over samples and seeds."""
    squares = [
        value**2
        for path in paths
        for value in column(path / "history.parquet", "mean_logit_rms", epoch=0, split="probe")
    ]
    scale = math.sqrt(sum(squares) / len(squares))
    return [
        value / scale
        for path in paths
        for value in column(
            path / "history.parquet", "mean_logit_drift", epoch=EPOCHS, split="probe"
        )
    ]


def test_the_drift_is_that_of_the_worst_student_in_its_first_means(
    study: Study, folder: Path
) -> None:
    found = judged(raw.gathered(study, folder), "means-stay")
    same = ("students", "recipe=plain", "initialisation=he", "relative_perturbation=0")
    every = [folders(folder, *same, f"loss={loss}") for loss in ("ce", "kd")]
    assert [len(one) for one in every] == [len(SEEDS)] * 2
    expected = max(value for arm in every for value in drifts(arm))
    assert found["value"] == found["ci_low"] == found["ci_high"] == pytest.approx(expected)
    assert found["n"] == 2 * len(SEEDS)
    assert found["verdict"] == "refuted"
    # in logits too: what the worst student's means were, and how far they moved
    was, moved = re.findall(r"rms ([\d.]+) moved by ([\d.]+)", found["measured_on"])[0]
    assert float(moved) / float(was) == pytest.approx(expected, rel=0.1)
    for outside in ("LM", "weight decay", "Adam"):
        assert outside in found["measured_on"]


def test_the_teachers_drift_has_a_row(study: Study, folder: Path) -> None:
    found = judged(raw.gathered(study, folder), "means-stay-teacher")
    teachers = folders(folder, "teachers", "initialisation=he")
    assert len(teachers) == 1
    assert found["value"] == pytest.approx(max(drifts(teachers)))
    assert (found["n"], found["verdict"]) == (1, "refuted")


Change = Callable[[Config, list[Config]], None]


def scaled_drift(factor: float, chosen: Callable[[Config], bool]) -> Change:
    def change(keys: Config, rows: list[Config]) -> None:
        for row in rows:
            if chosen(keys) and row["mean_logit_drift"]:
                row["mean_logit_drift"] *= factor

    return change


@pytest.mark.parametrize(
    ("claim", "chosen"),
    [
        ("means-stay", plain),
        ("means-stay-teacher", lambda keys: keys["role"] == "teacher"),
    ],
)
def test_histories_decide_whether_means_stay(
    study: Study, tmp_path: Path, claim: str, chosen: Callable[[Config], bool]
) -> None:
    raw.write(study, tmp_path / "still", scaled_drift(0.01, chosen))
    assert judged(raw.gathered(study, tmp_path / "still"), claim)["verdict"] == "supported"

    def all_but_one(keys: Config, rows: list[Config]) -> None:
        """A single network is enough to refute."""
        fine = keys["role"] == "student" and keys["seed"] != "3"
        scaled_drift(0.01 if fine else 1, chosen)(keys, rows)

    raw.write(study, tmp_path / "one", all_but_one)
    assert judged(raw.gathered(study, tmp_path / "one"), claim)["verdict"] == "refuted"


def test_final_logits_are_no_scale_for_a_drift(study: Study, tmp_path: Path) -> None:
    """Logits that grow in training do not make the same drift smaller."""

    def grown(_: Config, rows: list[Config]) -> None:
        for row in rows:
            row["logit_rms"] *= 1000 if row["epoch"] else 1

    raw.write(study, tmp_path / "one")
    raw.write(study, tmp_path / "other", grown)
    one, other = (judged(raw.gathered(study, tmp_path / n), "means-stay") for n in ("one", "other"))
    assert one["value"] == other["value"]


def test_students_out_of_the_claim_do_not_decide_it(study: Study, tmp_path: Path) -> None:
    """Not LM, not a rung of the ladder, not a centred student, whose first means are zero."""

    def still(keys: Config, rows: list[Config]) -> None:
        for row in rows:
            if row["mean_logit_drift"]:
                row["mean_logit_drift"] *= 0.01 if plain(keys) else 100
            if keys["initialisation"] == "he-centred":
                row["mean_logit_rms"] = 0.0

    raw.write(study, tmp_path, still)
    found = judged(raw.gathered(study, tmp_path), "means-stay")
    assert (found["verdict"], found["n"]) == ("supported", 2 * len(SEEDS))
    assert "inf" not in found["measured_on"]


@pytest.mark.parametrize("layer", ["weight", "bias"])
def test_histories_decide_whether_sums_stay(study: Study, tmp_path: Path, layer: str) -> None:
    values = {}
    for verdict, size in (("supported", 1e-15), ("refuted", 0.02)):

        def change(keys: Config, rows: list[Config], size: float = size) -> None:
            for row in rows:
                if plain(keys) and keys["seed"] == "1" and keys["loss"] == "ce":
                    row[f"classifier_{layer}_sum"] = size * row["epoch"]

        raw.write(study, tmp_path / verdict, change)
        found = judged(raw.gathered(study, tmp_path / verdict), "sums-stay", "corrected")
        assert found["verdict"] == verdict
        values[verdict] = found["value"]
    change_of = {"weight": 1.0, "bias": 0.1}[layer] * EPOCHS
    assert values["refuted"] == pytest.approx(0.02 * EPOCHS / math.sqrt(CLASSES) / change_of)


def magnitudes(folder: Path, loss: str) -> Array:
    """Mean of |z| of the test logits, raw, for each seed of a loss at gap 5."""
    found = []
    for seed in SEEDS:
        (path,) = folders(folder, f"loss={loss}", "mean_gap=5", f"seed={seed}")
        z = np.array(column(path / "logits.parquet", "logits", split="test"))
        found.append(np.abs(z).mean())
    return np.array(found)


def test_l1_is_measured_on_raw_logits_of_the_sign_that_shrinks_less(
    study: Study, folder: Path
) -> None:
    found = judged(raw.gathered(study, folder), "l1-like")
    without = magnitudes(folder, "lm")
    ratios = {
        form: magnitudes(folder, f"regularised-lm-{form}") / without
        for form in ("printed", "corrected")
    }
    worst = max(ratios.values(), key=np.mean)
    # two signs are two groups
    half = stats.t.ppf(1 - 0.1 / 2 / 2, len(SEEDS) - 1) * worst.std(ddof=1) / math.sqrt(len(SEEDS))
    assert found["value"] == pytest.approx(worst.mean())
    assert found["ci_low"] == pytest.approx(worst.mean() - half)
    assert found["ci_high"] == pytest.approx(worst.mean() + half)
    assert found["verdict"] == "refuted"
    l1 = (magnitudes(folder, "l1-lm") / without).mean()
    assert f"LM + l1 {l1:.3f}" in found["measured_on"]


@pytest.mark.parametrize("grows", ["printed", "corrected", "neither"])
def test_logits_decide_whether_the_term_is_like_l1(
    study: Study, tmp_path: Path, grows: str
) -> None:
    """Both signs would have to shrink them."""

    def change(keys: Config, z: Array) -> Array:
        loss = str(keys.get("loss"))
        if not loss.startswith("regularised"):
            return z
        return z if loss.endswith(grows) else 0.3 * (z - 5)

    raw.write(study, tmp_path, change_logits=change)
    found = judged(raw.gathered(study, tmp_path), "l1-like")
    assert found["verdict"] == ("supported" if grows == "neither" else "refuted")


def test_centred_logits_do_not_hide_a_raw_mean(study: Study, tmp_path: Path) -> None:
    """Shrunk about their mean, but with a mean that is far from zero: raw logits grow."""

    def change(keys: Config, z: Array) -> Array:
        shrunk = str(keys.get("loss")).startswith("regularised")
        return 0.3 * (z - 5) + 8 if shrunk else z

    raw.write(study, tmp_path, change_logits=change)
    assert judged(raw.gathered(study, tmp_path), "l1-like")["verdict"] == "refuted"


def test_without_a_gap_the_term_of_8_is_0_and_its_students_say_nothing(
    study: Study, folder: Path
) -> None:
    evidence = raw.gathered(study, folder)
    before = judged(evidence, "l1-like")
    rows = evidence.runs[evidence.runs["mean_gap"] == 5]
    larger = rows["loss"].str.startswith("regularised").map({True: 3.0, False: 1.0})
    none = rows.assign(mean_gap=0.0, logit_magnitude=rows["logit_magnitude"] * larger)
    more = pd.concat([evidence.runs, none], ignore_index=True)
    assert judged(dataclasses.replace(evidence, runs=more), "l1-like") == before


def test_the_l1_arm_is_a_contrast_and_not_needed(
    study: Study, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "without")
    for path in folders(tmp_path / "without", "loss=l1-lm"):
        shutil.rmtree(path)
    found = judged(raw.gathered(study, tmp_path / "without"), "l1-like")
    assert found["value"] == judged(raw.gathered(study, folder), "l1-like")["value"]
    assert "LM + l1" not in found["measured_on"]
