"""Claims about equations, on files with logits and histories of made-up students."""

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdlm.study.config import Study
from tests.claims import raw
from tests.claims.raw import Array, column, folders, judged

Config = dict[str, Any]
DECIDED = [
    ("eq1", "as stated", "supported"),
    ("eq2", "as stated", "supported"),
    ("eq4-zero-mean", "as stated", "supported"),
    ("eq7-printed", "printed", "refuted"),
    ("eq8-printed", "printed", "refuted"),
    ("eq8-corrected", "corrected", "supported"),
    ("b3", "as stated", "supported"),
    ("b4-printed", "printed", "refuted"),
    ("b4-corrected", "corrected", "supported"),
    ("eq7-slope", "corrected", "supported"),
]


@pytest.fixture(scope="module")
def study(tiny: Config) -> Study:
    return raw.study(tiny)


@pytest.fixture(scope="module")
def folder(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("raw")
    raw.write(study, path)
    return path


def test_no_missing_network_leaves_an_equation_open(
    study: Study, folder: Path, tmp_path: Path
) -> None:
    """One student, then all networks but one, are gone: their logits are further cases, no more."""
    part = tmp_path / "part"
    shutil.copytree(folder, part)
    whole = raw.gathered_theory(study, folder)
    (first,) = folders(part, "students", "loss=lm", "recipe=plain", "seed=0")
    shutil.rmtree(first)
    one = raw.gathered_theory(study, part)
    for path in folders(part)[1:]:
        shutil.rmtree(path)
    hardly = raw.gathered_theory(study, part)
    for claim, form, verdict in DECIDED:
        found = [judged(evidence, claim, form) for evidence in (whole, one, hardly)]
        assert [row["verdict"] for row in found] == [verdict] * 3, claim
        assert found[0]["n"] > found[2]["n"]
        assert "missing" not in found[0]["measured_on"]
        assert "; 1 of 8 networks missing" in found[1]["measured_on"]
        assert "of 8 networks missing" in found[2]["measured_on"]


def test_one_source_that_falls_otherwise_refutes_the_slope(study: Study, tmp_path: Path) -> None:
    """Where z^s = -z^t the term in 1/T vanishes, and the distance falls as 1/T^2."""

    def mirrored(keys: Config, z: Array) -> Array:
        one = raw.logits({}, 0)
        if keys["role"] == "teacher":
            return one
        return -one if keys["loss"] == "lm" else z

    raw.write(study, tmp_path, change_logits=mirrored)
    found = judged(raw.gathered_theory(study, tmp_path), "eq7-slope", "corrected")
    assert found["verdict"] == "refuted"
    assert found["value"] == found["ci_low"] == found["ci_high"]
    assert "worst: student of lm" in found["measured_on"]
    # the slope of that source, from its logits
    (path, *_) = folders(tmp_path, "students", "loss=lm")
    samples = study.theory.samples
    student = np.array(column(path / "logits.parquet", "logits", split="test"))[:samples]
    rms = np.sqrt(np.square(student - student.mean(axis=1, keepdims=True)).mean())
    temperatures = [t for t in study.theory.temperatures if 10 * rms < t < math.inf]
    distances = []
    for t in temperatures:
        powers = [np.exp(z / t) for z in (student, -student)]
        p, q = (power / power.sum(axis=1, keepdims=True) for power in powers)
        limit = 2 * (student - student.mean(axis=1, keepdims=True)) / student.shape[1]
        apart = np.linalg.norm(t * (p - q) - limit, axis=1) / np.linalg.norm(limit, axis=1)
        distances.append(np.median(apart))
    slope = np.polyfit(np.log(temperatures), np.log(distances), 1)[0]
    assert found["value"] == pytest.approx(slope, rel=1e-3)


@pytest.mark.parametrize(("claim", "loss"), [("eq5", "kd"), ("eq6", "ce")])
def test_one_epoch_of_training_refutes_a_zero_sum(
    study: Study, tmp_path: Path, claim: str, loss: str
) -> None:
    """Also where another network is missing, which alone leaves the claim open."""

    def change(keys: Config, rows: list[Config]) -> None:
        if keys.get("loss") == loss and keys["seed"] == "1" and keys["recipe"] == "plain":
            rows[3]["logit_gradient_sum"] = 0.02

    for name, changing in (("bad", change), ("good", None)):
        raw.write(study, tmp_path / name, changing)
        whole = judged(raw.gathered_theory(study, tmp_path / name), claim)
        shutil.rmtree(folders(tmp_path / name, "students", f"loss={loss}", "seed=2")[0])
        part = judged(raw.gathered_theory(study, tmp_path / name), claim)
        if name == "bad":
            assert (whole["verdict"], part["verdict"]) == ("refuted", "refuted")
            assert whole["value"] == part["value"] == 0.02
        else:
            assert (whole["verdict"], part["verdict"]) == ("supported", "inconclusive")
