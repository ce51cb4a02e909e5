"""Claims about the energy of the gap, against shares computed from raw logits of all samples."""

import copy
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kdlm.claims.evidence import Evidence
from kdlm.study.config import Study, parse
from kdlm.study.jobs import StudentJob, student_jobs
from kdlm.tables.networks import networks
from kdlm.tables.runs import histories, runs
from tests.claims.world import AS_STATED, CORRECTED, EVIDENCE, row
from tests.tables import raw_logits
from tests.tables.raw_logits import EPOCHS, SPLITS, Array, Raw

SAMPLES, CLASSES = 5, 3

TEACHER = {"architecture": "resnet8", "recipe": "short"}
ARM = {
    "teacher": "resnet8-he-short", "architecture": "resnet8", "initialisation": "he",
    "recipe": "short", "losses": ["kd", "lm"], "temperatures": [math.inf], "seeds": [0, 1],
}  # fmt: skip
CENTRED = {"teacher": "resnet8-he-centred-short", "initialisation": "he-centred"}
ONE = {"losses": ["kd"], "seeds": [0]}


@pytest.fixture(scope="module")
def study(tiny: dict[str, Any]) -> Study:
    config = copy.deepcopy(tiny)
    short = config["recipes"]["short"] | {"epochs": EPOCHS}
    config["recipes"] = {
        "short": short,
        "adam": short | {"optimizer": "adam", "momentum": 0},
        "mixed": short | {"ce_weight": 0.5},
    }
    config["teachers"] = [
        TEACHER | {"initialisation": "he"},
        TEACHER | {"initialisation": "he-centred"},
    ]
    config["arms"] = [
        ARM,
        ARM | CENTRED | {"losses": ["ce", "kd", "lm"]},
        # none of these is what a claim is about
        ARM | {"losses": ["ce"], "temperatures": []},
        ARM | {"losses": ["kd"], "temperatures": [4]},
        ARM | ONE | {"mean_gaps": [5]},
        ARM | ONE | {"perturbations": [1]},
        ARM | ONE | {"relative_perturbations": [1e-3]},
        ARM | ONE | {"recipe": "mixed"},
        ARM | ONE | {"means": ["natural"]},
        ARM | ONE | {"means": ["untrained-teacher"]},
        ARM | CENTRED | ONE | {"recipe": "adam"},
        ARM | CENTRED | ONE | {"mean_gaps": [5]},
        ARM | ONE | {"initialisation": "he-centred"},
    ]
    return parse(config)


def centred(job: StudentJob) -> bool:
    """Whether the mean logits of student and teacher are zero in each sample."""
    return (
        job.keys["teacher"] == "resnet8-he-centred-short"
        and job.keys["initialisation"] == "he-centred"
        and job.keys["recipe"] == "short"
        and job.keys["mean_gap"] == "0"
    )


def equal_on_average(job: StudentJob) -> bool:
    """Whether the claims about equal average means are about the student."""
    wanted = {
        "initialisation": "he", "recipe": "short", "temperature": "inf",
        "means": "trained-teacher", "mean_gap": "0", "perturbation": "0",
        "relative_perturbation": "0",
    }  # fmt: skip
    alike = all(job.keys[key] == value for key, value in wanted.items())
    return alike and job.keys["loss"] in ("kd", "lm")


def made_up(job: StudentJob, epoch: int, split: str) -> tuple[Array, Array]:
    """Gaps of mean 0 where a claim looks, of no sample where means are 0, and wild elsewhere."""
    generator = np.random.default_rng([*str(job.folder).encode(), epoch, *split.encode()])
    student, teacher = generator.normal(size=(2, SAMPLES, CLASSES))
    if centred(job):
        student, teacher = (z - z.mean(axis=1, keepdims=True) for z in (student, teacher))
    elif equal_on_average(job):
        student -= student.mean() - teacher.mean()
    else:
        student += 100
    return student, teacher


def share(student: Array, teacher: Array) -> float:
    """The gap's share of the loss of logits matching, sample by sample and class by class."""
    energy = loss = 0.0
    for z_s, z_t in zip(student.tolist(), teacher.tolist(), strict=True):
        energy += (sum(z_s) / CLASSES - sum(z_t) / CLASSES) ** 2 / 2
        loss += sum((a - b) ** 2 for a, b in zip(z_s, z_t, strict=True)) / (2 * CLASSES)
    return energy / loss


def students(study: Study, about: Callable[[StudentJob], bool]) -> list[StudentJob]:
    return [job for job in student_jobs(study) if about(job)]


def judged(
    study: Study,
    folder: Path,
    raw: Raw,
    diverged: Callable[[StudentJob], bool] = lambda _: False,
) -> Evidence:
    """The evidence whose runs and histories are gathered from files made of raw logits."""
    raw_logits.write(study, folder, raw, diverged)
    found = networks(study, folder, needs=())
    return dataclasses.replace(EVIDENCE, runs=runs(found), histories=histories(found))


def changed(
    where: Callable[[StudentJob, int, str], bool], change: Callable[[Array, Array], Array]
) -> Raw:
    """The made-up raw logits with the student's changed in some places."""

    def raw(job: StudentJob, epoch: int, split: str) -> tuple[Array, Array]:
        student, teacher = made_up(job, epoch, split)
        return (change(student, teacher) if where(job, epoch, split) else student), teacher

    return raw


def without_gap(student: Array, teacher: Array) -> Array:
    """The student's logits with the teacher's mean in each sample."""
    gap: Array = (student - teacher).mean(axis=1, keepdims=True)
    return student - gap


def of_one_sample(student: Array, teacher: Array) -> Array:  # noqa: ARG001
    """The student's logits, one sample's all one logit higher."""
    changed = student.copy()
    changed[3] += 1
    return changed


START = [(0, "initial")]
END = [(EPOCHS, "test")]
CLAIMS = {
    "energy-start": (AS_STATED, equal_on_average, START, 2),
    "energy-solution": (AS_STATED, equal_on_average, END, 2),
    "energy-centred": (CORRECTED, centred, SPLITS, 2),
}
"""Form, students, epochs and splits, and number of initial networks of each claim."""


@pytest.mark.parametrize("claim", CLAIMS)
def test_the_worst_student_decides(claim: str, study: Study, tmp_path: Path) -> None:
    form, about, places, initial_networks = CLAIMS[claim]
    values = [share(*made_up(job, *place)) for job in students(study, about) for place in places]
    found = row(judged(study, tmp_path, made_up), claim, form)
    assert found["value"] == pytest.approx(max(values), abs=1e-15)
    assert found["ci_low"] == found["value"] == found["ci_high"]
    assert found["n"] == initial_networks
    assert found["verdict"] == ("supported" if claim == "energy-centred" else "refuted")
    assert f"{len(students(study, about))} students of 1 teachers" in found["measured_on"]


@pytest.mark.parametrize(("claim", "places"), [("energy-start", START), ("energy-solution", END)])
def test_equal_means_in_every_sample_turn_the_verdict_round(
    claim: str, places: list[tuple[int, str]], study: Study, tmp_path: Path
) -> None:
    there = changed(lambda job, *at: equal_on_average(job) and at in places, without_gap)
    found = row(judged(study, tmp_path / "there", there), claim, AS_STATED)
    assert found["verdict"] == "supported"
    assert found["value"] < 1e-15
    elsewhere = changed(lambda job, *at: equal_on_average(job) and at not in places, without_gap)
    found = row(judged(study, tmp_path / "elsewhere", elsewhere), claim, AS_STATED)
    assert found["verdict"] == "refuted"
    # one student is enough
    some = changed(
        lambda job, *at: equal_on_average(job) and at in places and job.keys["seed"] == "0",
        without_gap,
    )
    assert row(judged(study, tmp_path / "some", some), claim, AS_STATED)["verdict"] == "refuted"


@pytest.mark.parametrize(("epoch", "split"), [(0, "initial"), (1, "train"), (EPOCHS, "probe")])
def test_a_gap_in_one_sample_of_one_student_turns_the_verdict_round(
    epoch: int, split: str, study: Study, tmp_path: Path
) -> None:
    (last, *_) = reversed(students(study, centred))
    raw = changed(lambda job, *at: (job, *at) == (last, epoch, split), of_one_sample)
    found = row(judged(study, tmp_path, raw), "energy-centred", CORRECTED)
    assert found["verdict"] == "refuted"
    assert found["value"] == pytest.approx(share(*raw(last, epoch, split)))
    assert f"seed {last.keys['seed']}, epoch {epoch}" in found["measured_on"]


def test_shares_are_said_by_initialisation_and_loss_and_beside_other_means(
    study: Study, tmp_path: Path
) -> None:
    said = row(judged(study, tmp_path, made_up), "energy-start", AS_STATED)["measured_on"]
    for loss, label in (("kd", "KD"), ("lm", "LM")):
        jobs = [job for job in students(study, equal_on_average) if job.keys["loss"] == loss]
        largest = max(share(*made_up(job, 0, "initial")) for job in jobs)
        assert f"he, {label} {largest:.1e}" in said
    for means in ("natural", "untrained-teacher"):
        (job,) = [job for job in student_jobs(study) if job.keys["means"] == means]
        assert f"{means} means {share(*made_up(job, 0, 'initial')):.1e}" in said


def test_a_lost_student_leaves_open_what_the_others_do_not_refute(
    study: Study, tmp_path: Path
) -> None:
    def lost(job: StudentJob) -> bool:
        return job.keys["seed"] == "1" and job.keys["loss"] == "lm"

    evidence = judged(study, tmp_path / "one", made_up, lost)
    found = row(evidence, "energy-centred", CORRECTED)
    assert found["verdict"] == "inconclusive"
    assert "loss NaN or infinite in epoch 1" in found["measured_on"]
    for claim in ("energy-start", "energy-solution"):
        assert row(evidence, claim, AS_STATED)["verdict"] == "refuted"
    equal = changed(lambda job, *_: equal_on_average(job), without_gap)
    evidence = judged(study, tmp_path / "equal", equal, lost)
    for claim in ("energy-start", "energy-solution"):
        assert row(evidence, claim, AS_STATED)["verdict"] == "inconclusive"
    # the claims need no student of another loss, recipe or gap
    others = judged(
        study,
        tmp_path / "others",
        made_up,
        lambda job: not centred(job) and not equal_on_average(job),
    )
    before = judged(study, tmp_path / "none", made_up)
    for claim, (form, *_) in CLAIMS.items():
        one, other = (row(evidence, claim, form) for evidence in (before, others))
        assert (one["verdict"], one["value"]) == (other["verdict"], other["value"])


def test_each_recipe_has_its_own_end(study: Study, tmp_path: Path) -> None:
    """Students of a longer recipe that end without a gap do not hide those of a shorter one."""
    evidence = judged(study, tmp_path, made_up)
    before = row(evidence, "energy-solution", AS_STATED)
    short = evidence.histories[evidence.histories["recipe"] == "short"]
    later = short["epoch"] + (short["epoch"] > 0)
    longer = short.assign(recipe="long", epoch=later, gap_share=0.0)
    of_runs = evidence.runs[evidence.runs["recipe"] == "short"].assign(recipe="long")
    both = dataclasses.replace(
        evidence,
        histories=pd.concat([evidence.histories, longer], ignore_index=True),
        runs=pd.concat([evidence.runs, of_runs], ignore_index=True),
    )
    found = row(both, "energy-solution", AS_STATED)
    assert (found["value"], found["verdict"]) == (before["value"], "refuted")


def test_the_margin_decides(study: Study, tmp_path: Path) -> None:
    evidence = judged(study, tmp_path, made_up)
    wide = dataclasses.replace(evidence, margins=EVIDENCE.margins.model_copy(update={"energy": 1}))
    assert row(evidence, "energy-start", AS_STATED)["verdict"] == "refuted"
    assert row(wide, "energy-start", AS_STATED)["verdict"] == "supported"


def test_claims_without_students_are_not_measured(study: Study, tmp_path: Path) -> None:
    evidence = judged(study, tmp_path, made_up)
    table = evidence.histories
    for claim, (form, *_) in CLAIMS.items():
        other = table[table["initialisation"] != ("he-centred" if form == CORRECTED else "he")]
        of_runs = evidence.runs[evidence.runs["initialisation"].isin(other["initialisation"])]
        found = row(dataclasses.replace(evidence, histories=other, runs=of_runs), claim, form)
        assert found["verdict"] == "inconclusive"
        assert found["measured_on"] == "not measured: no such students in this study"
