"""Tables `gradient_limit` and `identities`, of random logits and of those of trained networks."""

from collections.abc import Container, Iterator
from pathlib import Path

import pandas as pd
import torch

from kdlm.storage.parquet import expect_spec, read_divergence, write_tables
from kdlm.study.config import Study
from kdlm.study.jobs import theory_jobs
from kdlm.tables.networks import test_logits
from kdlm.theory.gradient_limit import gradient_limit
from kdlm.theory.identities import Case, identities, random_cases

__all__ = ["measure", "theory"]


def measure(study: Study, folder: Path) -> None:
    """Write tables ``gradient_limit`` and ``identities`` of the study in ``folder``.

    Raises:
        InputError: the logits of a network are missing, damaged, or of another spec.

    """
    limits, found = theory(study, folder)
    write_tables(folder, gradient_limit=limits, identities=found)


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
    for job in theory_jobs(study):
        # a student always has a teacher
        jobs = [one for one in (job, job.teacher) if one is not None]
        places = [folder / one.folder for one in jobs]
        if any(place in missing for place in places):
            continue
        for one, place in zip(jobs, places, strict=True):
            expect_spec(place / "logits.parquet", one.spec)
        if read_divergence(places[0] / "logits.parquet"):
            continue
        (student, labels), (teacher, _) = (test_logits(place) for place in places)
        keys, samples = job.keys, study.theory.samples
        yield Case(
            f"student of {keys['loss']}, T = {keys['temperature']}, gap {keys['mean_gap']}",
            torch.tensor(student[:samples]),
            torch.tensor(teacher[:samples]),
            torch.tensor(labels[:samples]),
        )
