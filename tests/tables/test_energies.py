"""Table ``energies`` against energies computed from raw logits, one sample at a time."""

import copy
import math
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kdlm.storage.parquet import read_table
from kdlm.study.config import Study, parse
from kdlm.study.jobs import StudentJob, student_jobs
from kdlm.study.schemas import ENERGY_KEYS, SCHEMAS
from kdlm.tables.energies import energies
from kdlm.tables.networks import networks
from kdlm.tables.runs import collect, histories
from tests.tables import raw_logits
from tests.tables.raw_logits import EPOCHS, SPLITS, Array

SAMPLES, CLASSES = 4, 3

ARM = {
    "teacher": "resnet8-he-short", "architecture": "resnet8", "initialisation": "he",
    "recipe": "short", "losses": ["kd", "lm"], "temperatures": [4, math.inf], "seeds": [0, 1, 2],
}  # fmt: skip


@pytest.fixture(scope="module")
def study(tiny: dict[str, Any]) -> Study:
    config = copy.deepcopy(tiny)
    config["recipes"]["short"]["epochs"] = EPOCHS
    config["teachers"] += [config["teachers"][0] | {"seed": 7}]
    config["arms"] = [
        ARM,
        # another teacher seed of the same arm
        ARM | {"teacher_seed": 7, "seeds": [0]},
        ARM | {"losses": ["lm"], "temperatures": [], "mean_gaps": [5], "seeds": [0]},
        ARM | {"losses": ["lm"], "temperatures": [], "means": ["natural"], "seeds": [0]},
        # whose initial weights were moved
        ARM | {"losses": ["kd"], "perturbations": [1]},
        ARM | {"losses": ["kd"], "relative_perturbations": [1e-3]},
    ]
    return parse(config)


def made_up(job: StudentJob, epoch: int, split: str) -> tuple[Array, Array]:
    generator = np.random.default_rng([*str(job.folder).encode(), epoch, *split.encode()])
    student, teacher = generator.normal(size=(2, SAMPLES, CLASSES))
    return student + generator.normal(), teacher


def lost(job: StudentJob) -> bool:
    return job.keys["loss"] == "lm" and job.keys["seed"] == "2"


def never(_: StudentJob) -> bool:
    return False


def measured(student: Array, teacher: Array) -> dict[str, float]:
    """Energy, share, rms and mean of the gap, by loops over samples and classes."""
    gaps = [
        sum(z_s) / CLASSES - sum(z_t) / CLASSES
        for z_s, z_t in zip(student.tolist(), teacher.tolist(), strict=True)
    ]
    squares = sum(gap**2 for gap in gaps) / SAMPLES
    distance = float(((student - teacher) ** 2).sum()) / (SAMPLES * CLASSES)
    return {
        "gap_energy": squares / 2,
        "gap_share": squares / distance,
        "gap_rms": math.sqrt(squares),
        "gap": sum(gaps) / SAMPLES,
    }


def expected(study: Study) -> dict[tuple[Any, ...], list[dict[str, float]]]:
    """What is measured of each student, by the keys of the table."""
    found: dict[tuple[Any, ...], list[dict[str, float]]] = defaultdict(list)
    for job in student_jobs(study):
        keys = job.keys
        if lost(job):
            continue
        if keys["perturbation"] != "0" or keys["relative_perturbation"] != "0":
            continue
        names = ("teacher", "architecture", "initialisation", "recipe", "loss")
        arm = (
            *(keys[name] for name in names),
            float(keys["temperature"]),
            keys["means"],
            float(keys["mean_gap"]),
        )
        for place in SPLITS:
            found[*arm, *place].append(measured(*made_up(job, *place)))
    return found


@pytest.fixture(scope="module")
def table(study: Study, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("study")
    raw_logits.write(study, folder, made_up, lost)
    collect(study, folder)
    return read_table(folder / "tables/energies.parquet", "energies")


def test_there_is_a_row_for_each_arm_epoch_and_split(study: Study, table: pd.DataFrame) -> None:
    assert list(table.columns) == list(SCHEMAS["energies"])
    keys = list(table[list(ENERGY_KEYS)].itertuples(index=False, name=None))
    assert sorted(keys) == sorted(expected(study))


def test_numbers_are_those_over_seeds_and_teacher_seeds(study: Study, table: pd.DataFrame) -> None:
    students = expected(study)
    for found in table.to_dict("records"):
        values = students[tuple(found[key] for key in ENERGY_KEYS)]
        assert found["n"] == len(values)
        for measure in ("gap_energy", "gap_share", "gap_rms", "gap"):
            of_all = [value[measure] for value in values]
            assert found[f"{measure}_mean"] == pytest.approx(statistics.mean(of_all))
            if len(of_all) > 1:
                assert found[f"{measure}_sd"] == pytest.approx(statistics.stdev(of_all))
            else:
                assert math.isnan(found[f"{measure}_sd"])
        shares = [value["gap_share"] for value in values]
        assert found["gap_share_min"] == pytest.approx(min(shares))
        assert found["gap_share_max"] == pytest.approx(max(shares))


def test_seeds_and_teacher_seeds_are_counted_and_lost_students_are_not(table: pd.DataFrame) -> None:
    main = table[(table["mean_gap"] == 0) & (table["means"] == "trained-teacher")]
    # three seeds of one teacher and one of the other; of LM one student diverged
    assert set(main.loc[main["loss"] == "kd", "n"]) == {4}
    assert set(main.loc[main["loss"] == "lm", "n"]) == {3}
    assert set(table.loc[table["means"] == "natural", "n"]) == {1}


def test_a_number_that_one_student_lacks_is_null(study: Study, tmp_path: Path) -> None:
    raw_logits.write(study, tmp_path, made_up, never)
    by_epoch = histories(networks(study, tmp_path, needs=())).reset_index(drop=True)
    before = energies(by_epoch)
    (first, *_) = by_epoch.index[(by_epoch["role"] == "student") & (by_epoch["split"] == "test")]
    by_epoch.loc[first, "gap_rms"] = math.nan
    after = energies(by_epoch)
    changed = after["gap_rms_mean"].isna()
    assert changed.sum() == 1
    assert after.loc[changed, "gap_rms_sd"].isna().all()
    pd.testing.assert_frame_equal(after[~changed], before[~changed])


def test_without_students_the_table_is_empty(study: Study, tmp_path: Path) -> None:
    raw_logits.write(study, tmp_path, made_up, never)
    by_epoch = histories(networks(study, tmp_path, needs=()))
    assert energies(by_epoch[by_epoch["role"] == "teacher"]).empty


def test_teachers_alone_have_no_energies() -> None:
    """As in a study of which no student is left."""
    alone = pd.DataFrame([{"role": "teacher", "status": "finished", "epoch": 0, "split": "probe"}])
    table = energies(alone)
    assert list(table.columns) == list(SCHEMAS["energies"])
    assert table.empty
