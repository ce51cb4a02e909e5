"""What jobs ask for and are told, read from a dry run: GPUs, memory, datasets, specs, teachers."""

import copy
import re
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from kdlm.study.config import Study, parse
from kdlm.study.jobs import StudentJob, student_jobs, teacher_jobs
from kdlm.study.specs import StudentSpec, TeacherSpec

Run = Callable[..., subprocess.CompletedProcess[str]]

TRAINED = ("train_teacher", "answers", "distill")
"""Rules whose jobs run networks on the device of the config."""


@dataclass(frozen=True)
class Planned:
    """A job of a dry run."""

    rule: str
    inputs: list[str]
    resources: dict[str, str]
    words: list[str]
    """Of its command, without the shell's own constructions."""

    def option(self, name: str) -> str | None:
        """The word after an option."""
        return self.words[self.words.index(name) + 1] if name in self.words else None


def planned(text: str) -> list[Planned]:
    """The jobs that a dry run prints."""
    found = []
    for block in re.split(r"^\[.*\]$", text, flags=re.MULTILINE)[1:]:
        rule = re.search(r"^(?:local)?rule (\w+):", block, re.MULTILINE)
        command = re.search(r"^Shell command: (.*)$", block, re.MULTILINE)
        if rule is None or command is None or command[1] == "None":
            continue
        resources = re.search(r"^ +resources: (.*)$", block, re.MULTILINE)
        inputs = re.search(r"^ +input: (.*)$", block, re.MULTILINE)
        found.append(
            Planned(
                rule[1],
                inputs[1].split(", ") if inputs else [],
                dict(pair.split("=") for pair in resources[1].split(", ")) if resources else {},
                shlex.split(re.sub(r"\$\(dirname (\S+)\)", r"\1", command[1])),
            )
        )
    return found


@dataclass(frozen=True)
class Plan:
    """A config, and the jobs of its dry run."""

    study: Study
    jobs: list[Planned]

    def of(self, rule: str) -> list[Planned]:
        found = [job for job in self.jobs if job.rule == rule]
        assert found, rule
        return found


@pytest.fixture(scope="module")
def plan(
    snakemake: Run, tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Plan]:
    """Function that plans a study for another device or dataset, each once."""
    known: dict[str, Plan] = {}

    def of(device: str, **dataset: Any) -> Plan:
        config = copy.deepcopy(tiny) | {"device": device}
        config["threads"] = 2
        config["teachers"].append(config["teachers"][0] | {"seed": 5})
        config["arms"].append(config["arms"][1] | {"teacher_seed": 5})
        config["dataset"] = dataset or config["dataset"]
        text = yaml.safe_dump(config)
        if text not in known:
            folder = tmp_path_factory.mktemp("plan")
            (folder / "plan.yaml").write_text(text)
            run = snakemake(folder, "-n", "-p", "--configfile", "plan.yaml")
            assert run.returncode == 0, run.stdout[-3000:]
            known[text] = Plan(parse(config), planned(run.stdout))
        return known[text]

    return of


@pytest.mark.parametrize(("device", "gpus"), [("cpu", "0"), ("auto", "1"), ("cuda", "1")])
def test_trainings_ask_for_a_gpu_unless_the_device_is_the_cpu(
    plan: Callable[..., Plan], device: str, gpus: str
) -> None:
    jobs = plan(device).jobs
    assert {job.resources["gpu"] for job in jobs if job.rule in TRAINED} == {gpus}
    # nothing else has a use for one
    assert not any("gpu" in job.resources for job in jobs if job.rule not in TRAINED)


def test_every_job_says_how_long_and_how_much_memory(plan: Callable[..., Plan]) -> None:
    for job in plan("cpu").jobs:
        assert int(job.resources["mem_mb"]) >= 500, job.rule
        assert int(job.resources["runtime"]) >= 5, job.rule


def test_a_training_is_told_its_spec_and_its_teacher(plan: Callable[..., Plan]) -> None:
    known = plan("cpu")
    students: dict[str, StudentJob] = {
        job.spec.canonical_json() + str(job.teacher.folder if job.teacher else ""): job
        for job in student_jobs(known.study)
    }
    told = known.of("distill")
    assert len(told) == len(students)
    for job in told:
        spec, teacher = job.option("--spec"), job.option("--teacher")
        assert spec is not None
        assert teacher is not None
        # the folder is taken of one of the teacher's files
        folder = str(Path(teacher).parent.relative_to("results/tiny"))
        found = students.pop(StudentSpec.model_validate_json(spec).canonical_json() + folder)
        output = job.option("--output")
        assert output is not None
        assert str(Path(output).parent) == f"results/tiny/{found.folder}"
        for name in ("model.safetensors", "logits.parquet"):
            assert f"results/tiny/{folder}/{name}" in job.inputs
        checkpoint = job.option("--checkpoint")
        assert checkpoint == f"results/tiny/checkpoints/{found.folder}/checkpoint.safetensors"
    assert not students
    specs = {job.option("--spec") for job in known.of("train_teacher")}
    assert {TeacherSpec.model_validate_json(str(spec)) for spec in specs} == {
        job.spec for job in teacher_jobs(known.study)
    }


def test_a_training_has_the_datasets_file_and_the_means_have_theirs(
    plan: Callable[..., Plan],
) -> None:
    known = plan("cpu")
    for rule, name in (
        ("train_teacher", "digits"), ("distill", "digits"), ("init_means", "photographs"),
    ):  # fmt: skip
        for job in known.of(rule):
            assert job.option("--data") == f"results/tiny/data/{name}.safetensors"


def test_a_dataset_is_prepared_with_the_options_of_its_own_config(
    plan: Callable[..., Plan],
) -> None:
    pictures = {"name": "imagefolder", "root": "my pictures", "download": False, "image_side": 12}
    jobs = {job.option("--name"): job for job in plan("auto", **pictures).of("prepare_dataset")}
    assert set(jobs) == {"imagefolder", "photographs"}
    own, other = jobs["imagefolder"], jobs["photographs"]
    assert own.option("--root") == "my pictures"
    assert own.option("--image-side") == "12"
    assert "--no-download" in own.words
    options = {"--root", "--image-side", "--no-download", "--train-images"}
    assert not options & set(other.words)
    prepared = plan("auto", name="digits", train_images=200).of("prepare_dataset")
    kept = {job.option("--name"): job.option("--train-images") for job in prepared}
    assert kept == {"digits": "200", "photographs": None}


def test_every_attempt_asks_for_more_memory() -> None:
    # the function is cut out of the rules: a dry run shows the first attempt alone
    rules = (Path(__file__).parents[2] / "workflow/rules/common.smk").read_text()
    cut = re.search(r"^def growing\(.*?\n(?=\n\n)", rules, re.MULTILINE | re.DOTALL)
    assert cut
    found: dict[str, Any] = {}
    exec(cut[0], found)  # noqa: S102
    asked = [found["growing"](700)(None, attempt) for attempt in (1, 2, 3)]
    assert asked == [700, 1400, 2100]
