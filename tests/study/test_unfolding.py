"""Each number of a config ends up in the specs and folders of the jobs that it is about."""

import copy
from typing import Any

import pytest

from kdlm.errors import InputError
from kdlm.study import names
from kdlm.study.config import Study, parse
from kdlm.study.jobs import init_means_jobs, network_jobs, student_jobs, theory_jobs
from kdlm.study.tolerances import TOLERANCES

Config = dict[str, Any]


def students(config: Config, **arm: Any) -> Any:
    """Jobs of one arm, with changes."""
    changed = copy.deepcopy(config)
    changed["arms"] = [
        {"teacher": "resnet8-he-short", "architecture": "resnet14", "initialisation": "xavier",
         "recipe": "short", "losses": ["lm"], "seeds": [2], **arm}
    ]  # fmt: skip
    return [*student_jobs(parse(changed))]


@pytest.mark.parametrize(
    ("key", "values", "field"),
    [
        ("seeds", [2, 5, 9], "seed"),
        ("mean_gaps", [0, 1.5, -4], "mean_gap"),
        ("perturbations", [0, 1, 3], "perturbation"),
    ],
)
def test_a_list_of_an_arm_is_a_field_of_the_spec_and_a_key_of_the_folder(
    config: Config, key: str, values: list[Any], field: str
) -> None:
    jobs = students(config, **{key: values})
    assert [getattr(job.spec, field) for job in jobs] == values
    assert [float(job.keys[field]) for job in jobs] == values
    assert len({job.folder for job in jobs}) == len(values)


def test_losses_are_run_at_their_own_temperatures(config: Config) -> None:
    jobs = students(config, losses=[*names.LOSSES], temperatures=[2, 8])
    found = {(job.spec.loss, job.spec.temperature) for job in jobs}
    kin = ("kd", "reverse-kd", "standardised-kd")
    tempered = {(loss, temperature) for loss in kin for temperature in (2.0, 8.0)}
    infinite = {(loss, float("inf")) for loss in names.LOSSES if loss not in ("ce", *kin)}
    assert found == {("ce", 1.0)} | tempered | infinite


def test_a_teachers_seed_is_not_its_students(config: Config) -> None:
    config["teachers"].append(config["teachers"][0] | {"seed": 7})
    for job in students(config, teacher_seed=7, seeds=[1, 2]):
        assert job.spec.seed in (1, 2)
        assert job.teacher.spec.seed == 7
        assert job.keys["teacher_seed"] == "7"
    # nor is the teacher of another seed taken for the one that is asked for
    with pytest.raises(InputError, match="with seed 8"):
        students(config, teacher_seed=8)


@pytest.mark.parametrize("name", names.DATASETS)
def test_augmentation_is_that_of_the_dataset(config: Config, name: str) -> None:
    facts = names.DATASETS[name]
    config["dataset"] = {"name": name}
    if facts.ships_with is None:
        config["dataset"]["root"] = "somewhere"
    if facts.image_side is None:
        config["dataset"]["image_side"] = 32
    study = parse(config)
    for job in network_jobs(study):
        spec = job.spec.model_dump()
        assert (spec["crop_padding"], spec["flip"]) == (facts.crop_padding, facts.flip)


def test_a_mirrored_digit_is_no_digit_and_a_mirrored_picture_is_one() -> None:
    assert {name for name, facts in names.DATASETS.items() if not facts.flip} == {"digits"}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("device", ["cpu", "cuda", "auto"])
def test_threads_and_device_are_those_of_the_study(
    config: Config, threads: int, device: str
) -> None:
    study = parse(config | {"threads": threads, "device": device})
    for job in network_jobs(study):
        assert (job.spec.threads, job.spec.device) == (threads, device)
    assert all(job.spec.threads == threads for job in init_means_jobs(study))


def test_a_recipe_is_its_entrys_own(config: Config) -> None:
    config["recipes"]["other"] = config["recipes"]["short"] | {"learning_rate": 0.001}
    jobs = students(config, recipe="other")
    assert {job.spec.recipe.learning_rate for job in jobs} == {0.001}
    assert {job.teacher.spec.recipe.learning_rate for job in jobs} == {0.05}
    with pytest.raises(InputError, match="unknown recipe 'none'"):
        students(config, recipe="none")


@pytest.mark.parametrize(("seeds", "size"), [(10, 3), (9, 3), (2, 5), (7, 1)])
def test_shards_hold_every_seed_once(config: Config, seeds: int, size: int) -> None:
    config["init_means"] |= {"seeds": seeds, "shard_size": size, "batchnorm": ["train"]}
    jobs = [*init_means_jobs(parse(config))]
    drawn = [
        seed
        for job in jobs
        for seed in range(job.spec.first_seed, job.spec.first_seed + job.spec.seeds)
    ]
    assert drawn == [*range(seeds)]
    assert max(job.spec.seeds for job in jobs) <= size
    assert len({job.folder for job in jobs}) == len(jobs)


@pytest.mark.parametrize(("seeds", "size"), [(10, 3), (9, 3), (2, 5)])
@pytest.mark.parametrize("recorded", [0, 1, 2, 4, 9])
def test_shards_record_the_layers_of_the_first_seeds(
    config: Config, seeds: int, size: int, recorded: int
) -> None:
    recorded = min(recorded, seeds)
    config["init_means"] |= {"seeds": seeds, "shard_size": size, "layer_seeds": recorded}
    jobs = [job for job in init_means_jobs(parse(config)) if job.keys["batchnorm"] == "eval"]
    drawn = [
        seed
        for job in jobs
        for seed in range(job.spec.first_seed, job.spec.first_seed + job.spec.layer_seeds)
    ]
    assert drawn == [*range(recorded)]


def test_the_theory_has_the_first_student_of_each_loss_in_the_configs_order(
    config: Config,
) -> None:
    found = {job.spec.loss: job for job in theory_jobs(parse(config))}
    for job in student_jobs(parse(config)):
        first = found.pop(job.spec.loss, None)
        assert first is None or first.keys == job.keys
    assert not found


def test_a_tolerance_of_the_config_changes_that_one_alone(config: Config) -> None:
    study: Study = parse(config | {"tolerances": {"gap": {"absolute": 7}}})
    assert study.tolerances["gap"].absolute == 7
    assert {k: v for k, v in study.tolerances.items() if k != "gap"} == {
        k: v for k, v in TOLERANCES.items() if k != "gap"
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "adam", "momentum": 0.9}, "short.momentum: it is for sgd"),
        ({"optimizer": "adam", "momentum": 0.0, "nesterov": True}, "short.nesterov: it is for sgd"),
        ({"momentum": 0.0, "nesterov": True}, "short.momentum: nesterov needs one"),
        ({"schedule": {"name": "step", "milestones": [3, 2]}}, "milestones: they must rise"),
        ({"schedule": {"name": "step", "milestones": [2, 2]}}, "milestones: they must rise"),
        ({"schedule": {"name": "step"}}, "milestones: they are given for the step schedule"),
        ({"schedule": {"name": "cosine", "milestones": [1]}}, "milestones: they are given for"),
        ({"epoch": 3}, "did you mean 'epochs'"),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(
    config: Config, changes: dict[str, Any], message: str
) -> None:
    config["recipes"]["short"] |= changes
    with pytest.raises(InputError, match=message):
        parse(config)


@pytest.mark.parametrize("temperature", [0, -1, float("nan"), "0", 1e-10, 1e31])
def test_a_temperature_that_is_none_is_refused(config: Config, temperature: Any) -> None:
    with pytest.raises(InputError, match="temperature"):
        students(config, losses=["kd"], temperatures=[temperature])


@pytest.mark.parametrize(
    ("number", "text"),
    [(4, "4"), (4.0, "4"), (1e4, "10000"), (0.5, "0.5"), (float("inf"), "inf"), (-4.0, "-4")],
)
def test_a_number_has_one_spelling(config: Config, number: float, text: str) -> None:
    if number > 0:
        (job,) = students(config, losses=["kd"], temperatures=[number])
        assert job.keys["temperature"] == text
    if abs(number) < float("inf"):
        (job,) = students(config, mean_gaps=[number])
        assert job.keys["mean_gap"] == text
