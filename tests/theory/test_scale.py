"""The theory's tables do not depend on the unit of the logits, nor on whose logits come first."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from kdlm.storage.parquet import read_arrow, write_table
from kdlm.study.config import Study
from kdlm.study.jobs import theory_jobs
from kdlm.tables.theory import theory
from kdlm.theory.gradient_limit import gradient_limit, random_logits
from kdlm.theory.identities import Case, identities
from tests.tables import made_up_study

# as the jobs do; small tensors are not worth more, least of all on a busy machine
torch.set_num_threads(1)

TEMPERATURES = [1, 4, 16, 64, 256, 1e3, 1e4, 1e5, 1e6, math.inf]


def pair(student_sd: float = 2.0, teacher_sd: float = 5.0, classes: int = 6) -> list[Tensor]:
    generator = torch.Generator().manual_seed(9)
    return [
        random_logits(40, classes, sd, student_mean=mean, teacher_mean=mean, generator=generator)[0]
        for sd, mean in ((student_sd, 1.0), (teacher_sd, -2.0))
    ]


@pytest.mark.parametrize("unit", [1e-3, 0.1, 30.0, 1e3])
def test_the_limit_does_not_depend_on_the_unit_of_logits(unit: float) -> None:
    student, teacher = pair()
    one = gradient_limit(student, teacher, TEMPERATURES)
    other = gradient_limit(unit * student, unit * teacher, [unit * t for t in TEMPERATURES])
    for column in ("temperature_over_rms", "relative_distance", "relative_distance_max", "slope"):
        np.testing.assert_allclose(
            other[column], one[column], rtol=1e-6, atol=1e-12, err_msg=column
        )
    np.testing.assert_allclose(other["gradient_norm"], unit * one["gradient_norm"], rtol=1e-9)


def test_the_slope_is_that_of_temperatures_far_above_the_teachers_rms_alone() -> None:
    student, teacher = pair()
    rms = float((teacher - teacher.mean(dim=1, keepdim=True)).square().mean().sqrt())
    far = [100 * rms, 1e3 * rms, 1e4 * rms]
    near = [0.1 * rms, rms, 9.9 * rms]
    alone = gradient_limit(student, teacher, far).groupby("form")["slope"].first()
    both = (
        gradient_limit(student, teacher, [*near, *far, math.inf]).groupby("form")["slope"].first()
    )
    pd.testing.assert_series_equal(alone, both)
    assert alone["corrected"] == pytest.approx(-1, abs=0.02)
    # not the student's: that may be as large as it will
    wide = gradient_limit(50 * student, teacher, [*near, *far]).groupby("form")["slope"].first()
    fewer = gradient_limit(50 * student, teacher, far).groupby("form")["slope"].first()
    pd.testing.assert_series_equal(wide, fewer)


def test_the_median_and_the_largest_are_over_samples() -> None:
    student, teacher = pair()
    table = gradient_limit(student, teacher, TEMPERATURES).set_index(["form", "temperature"])
    singly = pd.concat(
        [gradient_limit(student[i : i + 1], teacher[i : i + 1], TEMPERATURES) for i in range(40)]
    ).groupby(["form", "temperature"])["relative_distance"]
    # torch's median is the lower of the two in the middle
    lower = singly.quantile(0.5, interpolation="lower")
    for where, row in table.iterrows():
        assert row["relative_distance"] == pytest.approx(lower[where], abs=1e-12)
        assert row["relative_distance_max"] == pytest.approx(singly.max()[where], abs=1e-12)


# the identities


def case(student: Tensor, teacher: Tensor) -> Case:
    targets = torch.arange(len(student)) % student.shape[1]
    return Case("a case", student, teacher, targets)


def found(student: Tensor, teacher: Tensor, claim: str) -> float:
    (row,) = [row for row in identities(case(student, teacher)) if row["claim"] == claim]
    return float(row["value"])


def softmax(values: Any) -> Any:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("student_sd", "teacher_sd"), [(2.0, 5.0), (0.3, 60.0), (200.0, 3.0)])
def test_the_scale_of_3_is_looked_at_from_the_teachers_rms_on(
    student_sd: float, teacher_sd: float
) -> None:
    student, teacher = pair(student_sd, teacher_sd)
    z, v = student.numpy(), teacher.numpy()
    rms = math.sqrt(np.square(v - v.mean(axis=1, keepdims=True)).mean())
    norms = []
    for temperature in (1.0, 4.0, 16.0, 64.0, 256.0, 1e3, 1e4, 1e5, 1e6):
        if temperature >= rms:
            # (A.3) times T²
            gradient = temperature * (softmax(z / temperature) - softmax(v / temperature))
            norms.append(math.sqrt(np.square(gradient).sum(axis=1).mean()))
    d = (z - z.mean(axis=1, keepdims=True)) - (v - v.mean(axis=1, keepdims=True))
    norms.append(math.sqrt(np.square(d / z.shape[1]).sum(axis=1).mean()))
    ratio = found(student, teacher, "eq3-scale")
    assert ratio == pytest.approx(max(norms) / min(norms), rel=1e-6)
    assert ratio > 1


@pytest.mark.parametrize("claim", ["eq7-printed", "eq8-printed", "b4-printed"])
def test_one_bad_sample_is_not_hidden_by_many_good_ones(claim: str) -> None:
    student, teacher = pair()
    # every sixth sample has the target 0, wherever it stands
    chosen = range(0, 36, 6)
    values = [found(student[i : i + 1], teacher[i : i + 1], claim) for i in chosen]
    assert max(values) > 1.1 * np.median(values)
    assert found(student[:36], teacher[:36], claim) >= max(values) * (1 - 1e-9)


# logits of trained networks


@pytest.fixture(scope="module")
def study(tiny: dict[str, Any]) -> Study:
    return made_up_study.study(tiny)


@pytest.fixture(scope="module")
def folder(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made up")
    made_up_study.write(study, path)
    return path


@pytest.fixture(scope="module")
def known(study: Study, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    return theory(study, folder)


def rewrite(path: Path, split: str, change: Any) -> None:
    """Change the logits of one split of a file."""
    table = read_arrow(path, "logits")
    frame = table.to_pandas()
    chosen = frame["split"] == split
    assert chosen.any()
    frame.loc[chosen, "logits"] = pd.Series(
        [change(values) for values in frame.loc[chosen, "logits"]], index=frame.index[chosen]
    )
    metadata = table.schema.metadata[b"kdlm.spec"]
    write_table("logits", frame, path, json.loads(metadata))


def test_theory_pairs_teacher_and_student_on_the_test_images(
    study: Study,
    folder: Path,
    known: tuple[pd.DataFrame, pd.DataFrame],
    tmp_path: Path,
) -> None:
    copy = shutil.copytree(folder, tmp_path / "study")
    teachers = {job.teacher.folder for job in theory_jobs(study) if job.teacher}
    for teacher in teachers:
        rewrite(copy / teacher / "logits.parquet", "train", lambda values: values * 100 + 3)
    after = theory(study, copy)
    for one, other in zip(known, after, strict=True):
        pd.testing.assert_frame_equal(one, other)
    # of the test images every number counts
    for teacher in teachers:
        rewrite(copy / teacher / "logits.parquet", "test", lambda values: values * 100)
    changed = theory(study, copy)
    assert not changed[0].equals(known[0])


def test_theory_is_that_of_the_stored_logits(
    study: Study, known: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    limits, rows = known
    every = [place for _, place, _ in made_up_study.jobs(study)]
    for job in theory_jobs(study):
        assert job.teacher is not None
        keys = job.keys
        name = f"student of {keys['loss']}, T = {keys['temperature']}, gap {keys['mean_gap']}"
        student, teacher = (
            torch.from_numpy(made_up_study.logits(every.index(place), made_up_study.TEST)).double()[
                : study.theory.samples
            ]
            for place in (job.folder, job.teacher.folder)
        )
        expected = gradient_limit(student, teacher, study.theory.temperatures)
        own = limits[limits["source"] == name].reset_index(drop=True)
        pd.testing.assert_frame_equal(own[expected.columns], expected)
        labels = torch.tensor(
            [(i + every.index(job.folder)) % made_up_study.CLASSES
             for i in range(study.theory.samples)]
        )  # fmt: skip
        wanted = pd.DataFrame(identities(Case(name, student, teacher, labels)))
        found = rows[rows["case"] == name].reset_index(drop=True)
        pd.testing.assert_frame_equal(found, wanted)


def test_two_classes_are_left_out_of_the_limit_alone(
    known: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    limits, rows = known
    assert not limits["source"].str.contains("K = 2,").any()
    assert rows["case"].str.contains("K = 2,").any()
    assert limits["source"].str.contains("K = 10,").any()


def test_a_student_that_is_missing_is_left_out_with_its_teachers(
    study: Study, folder: Path, known: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    first, *_ = theory_jobs(study)
    assert first.teacher is not None
    student, teacher = folder / first.folder, folder / first.teacher.folder
    name = f"student of {first.spec.loss},"
    for missing in ({student}, {teacher}):
        _, rows = theory(study, folder, missing)
        assert not rows["case"].str.startswith(name).any()
    assert known[1]["case"].str.startswith(name).any()
