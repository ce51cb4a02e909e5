"""What `kdlm plan` says a study costs, against a dry run, a finished study and the networks."""

import copy
import csv
import math
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from kdlm.cli import main
from kdlm.commands.plan import by_rule
from kdlm.networks.architectures import ARCHITECTURES, build
from kdlm.planning.earlier import read_earlier, scaled
from kdlm.planning.jobs import PlannedJob, data_of, planned_jobs
from kdlm.planning.rates import NETWORKS, TEST_IMAGES
from kdlm.study import names
from kdlm.study.config import DatasetConfig, parse

Run = Callable[..., subprocess.CompletedProcess[str]]

ROOT = Path(__file__).parents[2]


def jobs_of(config: dict[str, Any]) -> list[PlannedJob]:
    return list(planned_jobs(parse(config)))


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(["plan", *arguments]) == 0
    return capsys.readouterr().out


def test_every_architecture_has_its_facts() -> None:
    assert NETWORKS.keys() == ARCHITECTURES.keys()
    bundled = {name for name, facts in names.DATASETS.items() if facts.train_images}
    assert TEST_IMAGES.keys() == bundled


@pytest.mark.parametrize("name", NETWORKS)
def test_facts_are_those_of_the_network(name: str) -> None:
    model = build(name, 100, 3, image_side=32).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, 32, 32))
    facts, state = NETWORKS[name], model.state_dict()
    classifier = model.get_parameter("classifier.weight")
    assert classifier.shape[1] == facts.features
    # an addition for each multiplication
    assert counter.get_total_flops() / 2 - classifier.numel() == facts.operations
    kinds = (torch.nn.Conv2d, torch.nn.Linear)
    assert sum(isinstance(module, kinds) for module in model.modules()) == facts.layers
    numbers = sum(tensor.numel() for tensor in state.values())
    assert numbers - classifier.numel() - 100 == facts.numbers
    assert len(state) == facts.tensors


@pytest.mark.parametrize("answers", ["auto", "never"])
@pytest.mark.parametrize("name", ["tiny", "cifar100"])
def test_jobs_are_those_of_a_dry_run(
    snakemake: Run, tiny: dict[str, Any], tmp_path: Path, name: str, answers: str
) -> None:
    config = copy.deepcopy(tiny)
    if name == "cifar100":
        config = yaml.safe_load((ROOT / "workflow/presets/cifar100.yaml").read_text())
    config["answers"] = answers
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    run = snakemake(tmp_path, "-n", "--quiet", "rules", "--configfile", "config.yaml")
    assert run.returncode == 0, run.stdout[-3000:]
    rows = re.findall(r"^(\w+) +(\d+)$", run.stdout, re.MULTILINE)
    announced = {rule: int(count) for rule, count in rows if rule not in ("study", "total")}
    assert dict(Counter(job.rule for job in jobs_of(config))) == announced


def test_files_are_those_of_a_finished_study(finished: Path, tiny: dict[str, Any]) -> None:
    """Each file belongs to the rule whose job names its folder, log or benchmark."""
    folder = finished / "results/tiny"
    files = [path for path in folder.rglob("*") if path.is_file()]
    jobs = jobs_of(tiny)
    # Snakemake's own lock on the study is no job's
    assert sum(job.files for job in jobs) == len(files) - 1
    assert all((folder / job.benchmark).is_file() for job in jobs)
    metadata = [path for path in (finished / ".snakemake/metadata").rglob("*") if path.is_file()]
    outputs = sum(
        path.relative_to(folder).parts[0] not in ("logs", "benchmarks") and path.name != ".lock"
        for path in files
    )
    assert len(metadata) == outputs


def test_disk_is_about_that_of_a_finished_study(finished: Path, tiny: dict[str, Any]) -> None:
    folder = finished / "results/tiny"
    planned = {row.rule: row.bytes for row in by_rule(jobs_of(tiny))}

    def used(*patterns: str) -> int:
        found = [path for pattern in patterns for path in folder.glob(pattern)]
        return sum(path.stat().st_size for path in found if path.is_file())

    for rule, patterns in {
        "prepare_dataset": ["data/**/*"],
        "train_teacher": ["teachers/**/*"],
        "distill": ["students/**/*"],
        "answers": ["answers/**/*"],
        "init_means": ["init_means/**/*"],
    }.items():
        assert planned[rule] == pytest.approx(used(*patterns), rel=0.2), rule
    # tables and figures depend on results
    assert sum(planned.values()) == pytest.approx(used("**/*"), rel=0.25)


def test_time_grows_with_the_work(tiny: dict[str, Any]) -> None:
    def seconds(rule: str, **changes: Any) -> float:
        config = copy.deepcopy(tiny)
        config["recipes"]["short"] |= changes
        return sum(job.seconds for job in jobs_of(config) if job.rule == rule)

    once, twice, thrice = (seconds("distill", epochs=epochs) for epochs in (1, 2, 3))
    assert twice - once == pytest.approx(thrice - twice)
    assert twice > once
    assert seconds("distill", precision="float64") > once
    assert seconds("distill", batch_size=32) > once


def test_a_teacher_that_runs_beside_its_students_costs_more(tiny: dict[str, Any]) -> None:
    shared = jobs_of(tiny | {"answers": "always"})
    alone = jobs_of(tiny | {"answers": "never"})
    students = [
        sum(job.seconds for job in jobs if job.rule == "distill") for jobs in (shared, alone)
    ]
    assert students[0] < students[1]


@pytest.mark.parametrize("device", ["cpu", "auto", "cuda"])
def test_trainings_take_a_gpu_unless_the_device_is_the_cpu(
    tiny: dict[str, Any], device: str
) -> None:
    asking = {job.rule for job in jobs_of(tiny | {"device": device}) if job.on_gpu is not None}
    assert asking == (set() if device == "cpu" else {"train_teacher", "answers", "distill"})


def test_an_earlier_run_is_planned_as_long_as_it_took(finished: Path, tiny: dict[str, Any]) -> None:
    """Of the same study, rule by rule; then of one of three times the epochs."""
    folder = finished / "results/tiny"
    earlier = read_earlier(folder)
    assert earlier.jobs == 36
    took: dict[str, float] = {}
    for job in jobs_of(tiny):
        row = next(csv.DictReader((folder / job.benchmark).open(), delimiter="\t"))
        took[job.rule] = took.get(job.rule, 0.0) + float(row["s"])
    jobs = scaled(jobs_of(tiny), earlier)
    for rule, seconds in took.items():
        planned = math.fsum(job.seconds for job in jobs if job.rule == rule)
        assert planned == pytest.approx(seconds), rule
    config = copy.deepcopy(tiny)
    config["recipes"]["short"]["epochs"] = 3
    more = scaled(jobs_of(config), earlier)
    ratio = sum(job.seconds for job in more) / sum(job.seconds for job in jobs)
    assert 1 < ratio < 3


def test_benchmarks_of_strangers_are_passed_over(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(finished / "results/tiny", tmp_path / "tiny")
    benchmarks = sorted((folder / "benchmarks").rglob("*.tsv"))
    contents = ["", "s\n", "s\tx\n", "s\nnan\n", "s\ninf\n", "s\n-3\n", "x\n3\n", "s\n" + "9" * 400,
                '"' * 5000, "\0", "s\n1e-400\n"]  # fmt: skip
    for path, content in zip(benchmarks, contents, strict=False):
        path.write_text(content)
    (benchmarks[-1]).unlink()
    benchmarks[-1].symlink_to("/dev/zero")
    assert read_earlier(folder).jobs == len(benchmarks) - len(contents) - 1
    for path in benchmarks:
        path.unlink()
    (tmp_path / "tiny.yaml").write_text((folder / "study.json").read_text())
    arguments = ["plan", str(tmp_path / "tiny.yaml"), "--from", str(folder)]
    assert main(arguments) == 1
    assert "no benchmarks/**.tsv of its jobs is there" in capsys.readouterr().err


def test_a_folder_of_images_is_counted(
    tiny: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny | {"dataset": {"name": "imagefolder", "root": str(tmp_path), "image_side": 8}}
    for split, each in (("train", 5), ("test", 2)):
        for kind in ("cat", "dog", "eel"):
            (tmp_path / split / kind).mkdir(parents=True)
            for number in range(each):
                (tmp_path / split / kind / f"{number}.png").touch()
    dataset = DatasetConfig.model_validate(config["dataset"])
    data = data_of(dataset)
    assert (data.train, data.test, data.classes, data.side) == (15, 6, 3, 8)
    assert jobs_of(config)
    shutil.rmtree(tmp_path / "train")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["plan", str(tmp_path / "config.yaml")]) == 1
    assert "dataset.root: " in capsys.readouterr().err


@pytest.mark.parametrize("preset", ["config.yaml", *sorted(
    path.relative_to(ROOT).as_posix() for path in (ROOT / "workflow/presets").glob("*.yaml")
)])  # fmt: skip
def test_it_is_a_screenful(
    preset: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = printed(capsys, str(ROOT / preset), "--cores", "8")
    lines = text.splitlines()
    assert len(lines) <= 24
    table = lines[2 : lines.index("", 2)]
    assert max(len(line) for line in table) <= 80
    assert "wall time on 8 cores" in text
    jobs = jobs_of(yaml.safe_load((ROOT / preset).read_text()))
    total = next(line for line in lines if line.startswith("all ")).split()
    assert total[1] == f"{len(jobs):,}"


def test_wall_time_falls_with_cores_until_the_longest_chain(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def wall(cores: int) -> str:
        text = printed(capsys, str(ROOT / "config.yaml"), "--cores", str(cores))
        (line,) = (line for line in text.splitlines() if line.startswith("wall time"))
        return line.partition(": ")[2]

    assert len({wall(1), wall(2), wall(4)}) == 3
    assert wall(1000) == wall(100_000)


def test_it_answers_at_once_and_without_torch(tmp_path: Path) -> None:
    start = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "kdlm", "plan",
         ROOT / "workflow/presets/cifar100.yaml"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    # 0.4 s on an idle machine
    assert time.monotonic() - start < 30
    imported = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}
    assert "kdlm.planning.jobs" in imported
    assert not imported & {"torch", "pandas", "pyarrow", "numpy", "scipy", "sklearn", "snakemake"}
