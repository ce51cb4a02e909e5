"""Jobs: what a config unfolds into, where each lies, and whose student it is."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from kdlm.study.config import parse
from kdlm.study.jobs import (
    answers_jobs,
    describe_answers,
    init_means_jobs,
    network_jobs,
    student_jobs,
    teacher_jobs,
    theory_jobs,
)
from kdlm.study.specs import InitMeansSpec, StudentSpec, TeacherSpec

Config = dict[str, Any]


def test_a_folder_is_the_keys_as_a_hive_path(config: Config) -> None:
    teacher = teacher_jobs(parse(config))[0]
    assert teacher.folder == Path(
        "teachers/architecture=resnet8/initialisation=he/recipe=short/seed=0"
    )
    student = next(student_jobs(parse(config)))
    assert student.folder == Path(
        "students/teacher=resnet8-he-short/teacher_seed=0/architecture=resnet8/initialisation=he/"
        "recipe=short/loss=ce/temperature=1/means=trained-teacher/mean_gap=0/perturbation=0/"
        "relative_perturbation=0/seed=0"
    )
    shard = next(init_means_jobs(parse(config)))
    assert shard.folder == Path(
        "init_means/architecture=resnet8/initialisation=he/batchnorm=train/shard=0"
    )


def test_every_job_has_a_folder_of_its_own(config: Config) -> None:
    study = parse(config)
    folders = [job.folder for job in (*network_jobs(study), *init_means_jobs(study))]
    assert len(set(folders)) == len(folders)


def test_a_student_knows_its_teacher(config: Config) -> None:
    config["teachers"] += [
        {"architecture": "resnet14", "initialisation": "he-centred", "recipe": "short"},
        {"architecture": "resnet14", "initialisation": "he-centred", "recipe": "short", "seed": 3},
    ]
    for seed in (0, 3):
        config["arms"].append(
            config["arms"][1] | {"teacher": "resnet14-he-centred-short", "teacher_seed": seed}
        )
    study = parse(config)
    for job in student_jobs(study):
        assert job.teacher in teacher_jobs(study)
        assert job.teacher is not None
        keys = job.teacher.keys
        name = f"{keys['architecture']}-{keys['initialisation']}-{keys['recipe']}"
        assert (name, keys["seed"]) == (job.keys["teacher"], job.keys["teacher_seed"])
    assert {job.teacher.keys["seed"] for job in student_jobs(study) if job.teacher} == {"0", "3"}


def test_a_hyphen_in_an_architectures_name_is_no_separator(config: Config) -> None:
    config["teachers"].append(
        {"architecture": "wrn-16-2", "initialisation": "he-centred", "recipe": "short"}
    )
    config["arms"].append(config["arms"][1] | {"teacher": "wrn-16-2-he-centred-short"})
    *_, job = student_jobs(parse(config))
    assert job.teacher is not None
    assert job.teacher.spec.architecture == "wrn-16-2"
    assert job.teacher.keys["initialisation"] == "he-centred"
    assert job.teacher.folder.parts[1] == "architecture=wrn-16-2"


def test_specs_are_of_the_jobs_kind(config: Config) -> None:
    study = parse(config)
    assert all(type(job.spec) is TeacherSpec for job in teacher_jobs(study))
    assert all(type(job.spec) is StudentSpec for job in student_jobs(study))
    assert all(type(job.spec) is InitMeansSpec for job in init_means_jobs(study))


def test_overlapping_arms_are_trained_once(config: Config) -> None:
    before = [job.keys for job in student_jobs(parse(config))]
    config["arms"].append(config["arms"][0])
    assert [job.keys for job in student_jobs(parse(config))] == before


def test_shards_cover_every_seed_once(config: Config) -> None:
    seeds = [
        seed
        for job in init_means_jobs(parse(config))
        if job.keys["batchnorm"] == "eval"
        for seed in range(job.spec.first_seed, job.spec.first_seed + job.spec.seeds)
    ]
    assert seeds == [0, 1, 2]


def test_a_spec_records_the_layers_of_its_own_seeds_only(config: Config) -> None:
    spec = next(init_means_jobs(parse(config))).spec.model_dump()
    with pytest.raises(ValidationError, match=r"layer_seeds\s.* 2 seeds, not for 3"):
        InitMeansSpec(**spec | {"layer_seeds": 3})
    del spec["layer_seeds"]
    assert InitMeansSpec(**spec).layer_seeds == spec["seeds"] == 2


def test_the_theory_has_the_first_student_of_each_loss(config: Config) -> None:
    study = parse(config)
    students = list(student_jobs(study))
    losses = [job.spec.loss for job in students]
    assert theory_jobs(study) == [students[losses.index(loss)] for loss in ("ce", "kd", "lm")]


def test_formatting_does_not_change_a_spec(config: Config) -> None:
    one = [job.spec.canonical_json() for job in student_jobs(parse(config))]
    config["arms"][0]["temperatures"] = ["4.0", "inf"]
    assert [job.spec.canonical_json() for job in student_jobs(parse(config))] == one


def test_a_spec_survives_json(config: Config) -> None:
    for job in student_jobs(parse(config)):
        assert StudentSpec.model_validate_json(job.spec.canonical_json()) == job.spec


def test_students_share_answers_exactly_where_teacher_and_views_are_the_same(
    config: Config,
) -> None:
    # of these the last alone has the views of the recipe "short"
    others = {"epochs": 3}, {"batch_size": 64}, {"augment": False}, {"precision": "float64"}, {
        "learning_rate": 0.01
    }  # fmt: skip
    for number, change in enumerate(others):
        config["recipes"][f"other{number}"] = config["recipes"]["short"] | change
    config["teachers"].append(config["teachers"][0] | {"seed": 1})
    arm = config["arms"][1]
    config["arms"] += [
        *(arm | {"recipe": f"other{number}", "seeds": [0, 1]} for number in range(len(others))),
        arm | {"teacher_seed": 1},
    ]
    study = parse(config | {"answers": "always"})
    answers, students = answers_jobs(study), list(student_jobs(study))
    assert set(answers) == {job.folder for job in students}
    for one in students:
        for other in students:
            shared = one.teacher == other.teacher and one.spec.views == other.spec.views
            assert (answers[one.folder] == answers[other.folder]) == shared
            assert (answers[one.folder].folder == answers[other.folder].folder) == shared
    for job in students:
        assert answers[job.folder].teacher == job.teacher
        assert answers[job.folder].spec.seed == job.spec.seed


def test_a_student_that_is_alone_runs_its_teacher_unless_told_otherwise(config: Config) -> None:
    config["arms"] = [
        config["arms"][1] | {"losses": ["lm"], "temperatures": [], "seeds": [0], "mean_gaps": [0],
                             "perturbations": [0]},
    ]  # fmt: skip
    assert answers_jobs(parse(config)) == {}
    assert len(answers_jobs(parse(config | {"answers": "always"}))) == 1
    config["arms"].append(config["arms"][0] | {"losses": ["ce"]})
    assert len(answers_jobs(parse(config))) == 2
    assert len({job.folder for job in answers_jobs(parse(config)).values()}) == 1
    assert answers_jobs(parse(config | {"answers": "never"})) == {}


def test_an_added_seed_adds_answers_and_changes_none(config: Config) -> None:
    before = answers_jobs(parse(config))
    config["arms"][0]["seeds"] = [0, 1, 2]
    after = answers_jobs(parse(config))
    assert before.items() <= after.items()
    added = {job.folder for job in after.values()} - {job.folder for job in before.values()}
    assert len(added) == 1
    assert {job.spec.seed for job in after.values() if job.folder in added} == {2}


def test_what_answers_take_on_disk_is_said(config: Config) -> None:
    study = parse(config)
    files = {job.folder: job.spec for job in answers_jobs(study).values()}
    # a float32 for each class of the digits, each training image and each epoch
    size = sum(spec.epochs for spec in files.values()) * 1437 * 10 * 4
    said = describe_answers(study)
    assert said.startswith(f"answers: auto: {len(answers_jobs(study))} students")
    assert f"from {len(files)} files, {size / 1e9:.3g} GB" in said
    assert "0 students" in describe_answers(parse(config | {"answers": "never"}))
