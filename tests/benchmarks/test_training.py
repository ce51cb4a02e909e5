"""How the training benchmark counts and divides."""

from pathlib import Path

import pytest

from benchmarks.training import (
    WARM_UP,
    WAYS,
    answer,
    count,
    images_per_second,
    known,
    ratio_of_study,
)
from benchmarks.work import BATCH, Pair, Work, prepare_work
from kdlm.errors import InputError


def test_operations_are_the_published_ones() -> None:
    cost = count(Pair("resnet20", "resnet8"))
    # multiplications and additions: 40.8 million for ResNet-20 and 12.4 for ResNet-8
    assert cost.teacher == pytest.approx(2 * 40.8e6, rel=0.02)
    # backward, every layer but the first has a gradient for its weights and one for its input
    assert cost.student == pytest.approx(3 * 2 * 12.4e6, rel=0.03)


def test_the_rate_of_one_training_is_that_of_its_steps() -> None:
    times = [100.0 + 0.25 * step for step in range(WARM_UP + 5)]
    times[0] = 0.0
    assert images_per_second([times], len(times)) == pytest.approx(BATCH / 0.25)


def test_the_rate_of_two_is_that_of_the_time_both_ran() -> None:
    quick = [0.25 * step for step in range(WARM_UP + 41)]
    # this one is half as fast, and is still running when the other ends
    slow = [0.5 * step for step in range(WARM_UP + 41)]
    rate = images_per_second([quick, slow], len(quick))
    assert rate == pytest.approx(BATCH * (4 + 2), rel=0.05)


def test_a_training_that_ended_early_is_no_measurement() -> None:
    with pytest.raises(SystemExit, match="diverged"):
        images_per_second([[float(step) for step in range(20)]], 21)


def test_trainings_one_after_the_other_are_no_measurement() -> None:
    first = [float(step) for step in range(20)]
    with pytest.raises(SystemExit, match="at the same time"):
        images_per_second([first, [100 + time for time in first]], 20)


def test_ways_have_names_of_their_own() -> None:
    assert len({way.name for way in WAYS}) == len(WAYS)


def test_a_known_student_reads_what_was_answered(tmp_path: Path) -> None:
    work = Work(tmp_path, Pair("resnet20", "resnet8"), "float32", threads=1, steps=3)
    prepare_work(work)
    assert len(answer(work)) == work.steps
    assert len(known(work)) == work.steps
    # the student asks the file: without it there is none
    work.answers.unlink()
    with pytest.raises(InputError, match="missing"):
        known(work)


def test_a_study_pays_for_its_answers_once() -> None:
    # 20 students at 100 images/s against the same at 300 and one pass at 600: 60 of 61 parts
    assert ratio_of_study(100.0, 300.0, 600.0) == pytest.approx(3 * 40 / 41)
