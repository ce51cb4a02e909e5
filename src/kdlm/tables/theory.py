"""Tables `gradient_limit` and `identities`, on random logits and on logits of trained networks."""

from collections.abc import Container, Iterator
from pathlib import Path

import pandas as pd
import torch

from kdlm.networks.devices import configure_torch
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
        InputError: the logits of a network are missing or damaged, or belong to another spec.

    """
    # one thread, so that the last bits do not depend on the machine's cores or on OMP_NUM_THREADS
    configure_torch(1)
    limits, found = theory(study, folder)
    write_tables(folder, gradient_limit=limits, identities=found)


def theory(
    study: Study, folder: Path, missing: Container[Path] = ()
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return tables ``gradient_limit`` and ``identities`` of a study.

    They are evaluated on random logits and on the test logits of the first student of each loss. A
    student that diverged is left out: its logits can be so large that no temperature of the study
    is near the limit.

    Args:
        study: the study.
        folder: the study's folder.
        missing: folders of networks that are not there; their students are left out.

    Raises:
        InputError: the logits of a network are missing or damaged, or belong to another spec.

    """
    random = random_cases(study.theory.samples, study.theory.seed)
    cases = [*random, *_trained(study, folder, missing)]
    limits = [
        gradient_limit(case.student, case.teacher, study.theory.temperatures).assign(
            source=case.name
        )
        # With two classes the term in 1/T vanishes by symmetry and the limit is reached as 1/T², so
        # the slope of 1/T that claim eq7-slope expects is for three or more classes.
        for case in cases
        if case.student.shape[1] > 2
    ]
    rows = [row for case in cases for row in identities(case)]
    return pd.concat(limits, ignore_index=True), pd.DataFrame(rows)


def _trained(study: Study, folder: Path, missing: Container[Path]) -> Iterator[Case]:
    """Yield a case of the test logits of the first student of each loss and of its teacher."""
    for job in theory_jobs(study):
        # a student always has a teacher; the condition is for the type checker
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
