"""The logits that the theory is measured on: each student's beside its own teacher's."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from kdlm.errors import InputError
from kdlm.storage.parquet import read_table, write_table
from kdlm.study.config import Study
from kdlm.study.jobs import theory_jobs
from kdlm.study.schemas import table_path
from kdlm.tables.theory import measure, theory
from tests.tables.conftest import IMAGES

if TYPE_CHECKING:
    from kdlm.theory.identities import Case


def test_logits_of_the_test_set_are_paired(
    study: Study, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Case] = []

    def noted(case: "Case") -> list[Any]:
        seen.append(case)
        return []

    monkeypatch.setattr("kdlm.tables.theory.identities", noted)
    theory(study, folder)
    trained = [case for case in seen if case.name.startswith("student of")]
    jobs = theory_jobs(study)
    assert [case.name.split()[2].strip(",") for case in trained] == [job.spec.loss for job in jobs]
    for case, job in zip(trained, jobs, strict=True):
        assert job.teacher is not None
        for logits, place in ((case.student, job.folder), (case.teacher, job.teacher.folder)):
            table = read_table(folder / place / "logits.parquet", "logits")
            test = table[table["split"] == "test"]
            stored = np.stack(test["logits"].to_list()).astype(float)
            assert np.array_equal(logits.numpy(), stored)
            assert case.targets.tolist() == test["label"].tolist() == list(range(IMAGES))


def test_both_tables_are_written(study: Study, folder: Path) -> None:
    measure(study, folder)
    limits = read_table(folder / table_path("gradient_limit"), "gradient_limit")
    found = read_table(folder / table_path("identities"), "identities")
    for job in theory_jobs(study):
        assert limits["source"].str.contains(f"student of {job.spec.loss},").any()
        assert found["case"].str.contains(f"student of {job.spec.loss},").any()


def test_students_that_diverged_or_are_missing_serve_no_theory(study: Study, folder: Path) -> None:
    diverged, missing, *_ = theory_jobs(study)
    path = folder / diverged.folder / "logits.parquet"
    table = read_table(path, "logits")
    write_table("logits", table, path, diverged.spec.model_dump(mode="json"), {"epoch": 1})
    limits, found = theory(study, folder, {folder / missing.folder})
    for job in (diverged, missing):
        assert not limits["source"].str.contains(f"student of {job.spec.loss},").any()
        assert not found["case"].str.contains(f"student of {job.spec.loss},").any()
    (folder / missing.folder / "logits.parquet").unlink()
    with pytest.raises(InputError, match=r"logits\.parquet is missing"):
        theory(study, folder)
