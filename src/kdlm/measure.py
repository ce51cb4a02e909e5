"""The theory of the study, measured on random logits and on those of its trained networks."""

from collections.abc import Container, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from kdlm.config import Study
from kdlm.identities import Case, identities, random_cases
from kdlm.layout import student_directory, teacher_directory, teacher_of
from kdlm.outputs import read_logits
from kdlm.tables import expect_spec, read_divergence, read_table
from kdlm.theory import gradient_limit

__all__ = ["theory"]


def theory(
    study: Study, folder: Path, missing: Container[Path] = ()
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables ``gradient_limit`` and ``identities`` of a study, less the networks ``missing``.

    A student that diverged is left out too: its logits may be so large that no temperature of the
    study is near the limit.

    Raises:
        InputError: the logits of a network are missing, damaged, or of another spec.

    """
    random = random_cases(study.theory.samples, study.theory.seed)
    cases = [*random, *_trained(study, folder, missing)]
    limits = [
        gradient_limit(case.student, case.teacher, study.theory.temperatures).assign(
            source=case.name
        )
        # with two classes the second order vanishes by symmetry, and the limit is reached as 1/T²
        for case in cases
        if case.student.shape[1] > 2
    ]
    rows = [row for case in cases for row in identities(case)]
    return pd.concat(limits, ignore_index=True), pd.DataFrame(rows)


def _trained(study: Study, folder: Path, missing: Container[Path]) -> Iterator[Case]:
    """Test logits of one student of each loss, with its teacher's."""
    samples = study.theory.samples
    specs = {
        **{folder / teacher_directory(keys): spec for keys, spec in study.teacher_jobs()},
        **{folder / student_directory(keys): spec for keys, spec in study.student_jobs()},
    }
    for keys in study.theory_students():
        places = folder / student_directory(keys), folder / teacher_directory(teacher_of(keys))
        if any(place in missing for place in places):
            continue
        student, teacher = (place / "logits.parquet" for place in places)
        for place in places:
            expect_spec(place / "logits.parquet", specs[place])
        if read_divergence(student):
            continue
        labels = read_table(student, "logits")["label"].to_numpy(np.int64, copy=True)
        yield Case(
            f"student of {keys['loss']}, T = {keys['temperature']}, gap {keys['mean_gap']}",
            read_logits(student, "test").double()[:samples],
            read_logits(teacher, "test").double()[:samples],
            torch.tensor(labels[:samples]),
        )
