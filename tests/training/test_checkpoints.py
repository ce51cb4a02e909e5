"""An interrupted training ends with the bits of one that never was, or starts over and says why."""

import contextlib
import dataclasses
import json
import logging
import random
import shutil
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdlm import signals
from kdlm.data.dataset import Dataset
from kdlm.data.loaders import load
from kdlm.data.prepared import open_prepared, prepare
from kdlm.storage.parquet import read_divergence
from kdlm.study.specs import Recipe, StudentSpec, TeacherSpec
from kdlm.training.checkpoints import CheckpointPolicy
from kdlm.training.students import distill
from kdlm.training.teachers import train_teacher

RECIPE: dict[str, Any] = {
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "schedule": {"name": "cosine"},
    "epochs": 3,
    "batch_size": 64,
    "augment": True,
}
ADAM = {"optimizer": "adam", "momentum": 0.0, "learning_rate": 1e-3}
RECIPES: dict[str, dict[str, Any]] = {
    "sgd": {},
    "float64": {"precision": "float64", "nesterov": True},
    "bfloat16": {"precision": "bfloat16", "ce_weight": 0.1},
    "adam": ADAM,
    "plain": {"momentum": 0.0, "augment": False},
}
COMMON: dict[str, Any] = {
    "architecture": "resnet8",
    "initialisation": "he",
    "crop_padding": 1,
    "flip": False,
    "seed": 0,
    "device": "cpu",
    "threads": 1,
}
Observed = Callable[[str], None]

BATCHES = 4 * RECIPE["epochs"]
OUTPUTS = ("model.safetensors", "history.parquet", "logits.parquet")
SAME_BITS = "goes on from the checkpoint; weights, history and logits equal bit for bit"
STARTS_OVER = "refused in one line; training starts over and ends with its own bits"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 4 batches, one of them not full, and two teachers."""
    folder = tmp_path_factory.mktemp("checkpoints")
    digits = load("digits")
    few = type(digits)(
        name="digits",
        train_images=digits.train_images[:230],
        train_labels=digits.train_labels[:230],
        test_images=digits.test_images[:50],
        test_labels=digits.test_labels[:50],
        classes=digits.classes,
    )
    prepare(few, folder / "digits.safetensors")
    for seed in (0, 1):
        spec = TeacherSpec(recipe=Recipe(**RECIPE | {"epochs": 1}), **COMMON | {"seed": seed})
        train_teacher(spec, folder / "digits.safetensors", folder / f"teacher{seed}")
    return folder


def student(recipe: str = "sgd", **changes: Any) -> StudentSpec:
    facts = COMMON | {"loss": "kd", "temperature": 4.0, "mean_gap": 1.5, "perturbation": 0}
    return StudentSpec(recipe=Recipe(**RECIPE | RECIPES[recipe]), **facts | changes)


class Stopping:
    """Stands for a signal that arrives before the batch ``after``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = -1
        monkeypatch.setattr(signals, "received", self)

    def __call__(self) -> signal.Signals | None:
        self.left -= 1
        return signal.SIGTERM if self.left == -1 else None


@pytest.fixture
def stopping() -> Iterator[Stopping]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Stopping(monkeypatch)


def run(
    folder: Path, spec: StudentSpec, output: Path, keeping: CheckpointPolicy | None = None
) -> None:
    distill(spec, folder / "digits.safetensors", folder / "teacher0", output, keeping)


def contents(output: Path) -> dict[str, bytes]:
    return {name: (output / name).read_bytes() for name in OUTPUTS}


@pytest.fixture(scope="module")
def uninterrupted(folder: Path) -> Callable[[str], dict[str, bytes]]:
    def outcome(recipe: str) -> dict[str, bytes]:
        output = folder / "uninterrupted" / recipe
        if not output.exists():
            run(folder, student(recipe), output)
        return contents(output)

    return outcome


@pytest.mark.fault(
    "a training stopped before any batch",
    area="training",
    provoked="stopped up to four times, before batches drawn by hypothesis; SGD with and without "
    "momentum, Adam, float64, bfloat16",
)
@pytest.mark.parametrize("recipe", RECIPES)
@settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(stops=st.lists(st.integers(0, BATCHES - 1), min_size=1, max_size=4))
def test_stopped_anywhere_it_ends_with_the_same_bytes(
    recipe: str,
    stops: list[int],
    folder: Path,
    uninterrupted: Callable[[str], dict[str, bytes]],
    stopping: Stopping,
    observed: Observed,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    output = tmp_path_factory.mktemp("interrupted")
    keeping = CheckpointPolicy(output / "checkpoints/a/checkpoint.safetensors", 1000, 1000)
    passed, expected = 0, []
    for stop in stops:
        if passed + stop >= BATCHES:
            break
        stopping.left = stop
        with pytest.raises(SystemExit) as caught:
            run(folder, student(recipe), output, keeping)
        assert caught.value.code == 128 + signal.SIGTERM
        passed += stop
        capability = torch.backends.cpu.get_cpu_capability()
        place = {"epoch": passed // 4 + 1, "batch": passed % 4, "cpu_capability": capability}
        expected.append(place)
    stopping.left = -1
    run(folder, student(recipe), output, keeping)
    assert contents(output) == uninterrupted(recipe)
    assert json.loads((output / "run.json").read_text())["resumed_from"] == expected
    assert {path.name for path in output.iterdir()} == {*OUTPUTS, "run.json"}
    observed(SAME_BITS)


@pytest.mark.fault(
    "a teacher's training stopped",
    area="training",
    provoked="stopped in the middle of an epoch, then started again",
)
def test_a_teacher_goes_on_too(
    folder: Path, stopping: Stopping, tmp_path: Path, observed: Observed
) -> None:
    spec = TeacherSpec(recipe=Recipe(**RECIPE), **COMMON)
    data = folder / "digits.safetensors"
    train_teacher(spec, data, tmp_path / "whole")
    keeping = CheckpointPolicy(tmp_path / "checkpoint.safetensors", 1000, 1000)
    stopping.left = 6
    with pytest.raises(SystemExit):
        train_teacher(spec, data, tmp_path / "interrupted", keeping)
    train_teacher(spec, data, tmp_path / "interrupted", keeping)
    assert contents(tmp_path / "whole") == contents(tmp_path / "interrupted")
    assert not keeping.path.exists()
    observed(SAME_BITS)


@pytest.mark.fault(
    "a training stopped just before it diverges",
    area="training",
    provoked="stopped before the very batch whose loss or gradient is not finite",
)
def test_what_diverges_ends_with_the_same_bytes_too(
    folder: Path, stopping: Stopping, tmp_path: Path, observed: Observed
) -> None:
    wild = student().model_copy(
        update={"recipe": Recipe(**RECIPE | {"learning_rate": 10.0, "epochs": 20}), "loss": "lm"}
    )
    run(folder, wild, tmp_path / "whole")
    diverged = read_divergence(tmp_path / "whole/history.parquet")
    assert diverged is not None
    keeping = CheckpointPolicy(tmp_path / "checkpoint.safetensors", 1000, 1000)
    # before the batch in which it diverges: what was the last whole epoch is in the checkpoint
    stopping.left = 4 * (diverged["epoch"] - 1) + diverged["batch"] - 1
    with pytest.raises(SystemExit):
        run(folder, wild, tmp_path / "interrupted", keeping)
    run(folder, wild, tmp_path / "interrupted", keeping)
    assert contents(tmp_path / "whole") == contents(tmp_path / "interrupted")
    observed("it diverges in the same batch; weights, history and logits equal bit for bit")


@pytest.mark.parametrize(
    ("epochs", "minutes", "expected"), [(1, 1000, 2), (2, 1000, 1), (1000, 0, 12), (3, 1000, 0)]
)
def test_it_is_saved_after_epochs_and_after_minutes(
    epochs: int,
    minutes: float,
    expected: int,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    saved = []
    monkeypatch.setattr("kdlm.training.checkpoints.Checkpoint._save", lambda *_: saved.append(1))
    keeping = CheckpointPolicy(tmp_path / "checkpoint.safetensors", epochs, minutes)
    run(folder, student(), tmp_path / "student", keeping)
    assert len(saved) == expected


@pytest.fixture
def interrupted(folder: Path, stopping: Stopping, tmp_path: Path) -> CheckpointPolicy:
    """A checkpoint in the middle of the second epoch."""
    keeping = CheckpointPolicy(tmp_path / "checkpoint.safetensors", 1000, 1000)
    stopping.left = 6
    with pytest.raises(SystemExit):
        run(folder, student(), tmp_path / "student", keeping)
    return keeping


def refused(caplog: pytest.LogCaptureFixture) -> str:
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(lines) == 1
    assert "training starts over" in lines[0]
    assert "\n" not in lines[0]
    return lines[0]


@pytest.mark.fault(
    "a damaged checkpoint",
    area="files",
    provoked="emptied, cut to half its length, one of eight bits flipped",
)
@pytest.mark.parametrize("damage", ["truncated", "emptied", *range(8)])
def test_a_damaged_checkpoint_is_refused(
    damage: str | int,
    interrupted: CheckpointPolicy,
    folder: Path,
    uninterrupted: Callable[[str], dict[str, bytes]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    observed: Observed,
) -> None:
    content = bytearray(interrupted.path.read_bytes())
    if isinstance(damage, int):
        position = random.Random(damage).randrange(len(content))  # noqa: S311
        content[position] ^= 1 << damage
    else:
        content = content[: len(content) // 2] if damage == "truncated" else content[:0]
    interrupted.path.write_bytes(content)
    run(folder, student(), tmp_path / "student", interrupted)
    assert str(interrupted.path) in refused(caplog)
    assert contents(tmp_path / "student") == uninterrupted("sgd")
    observed(STARTS_OVER)


@pytest.mark.fault(
    "another file in the place of a checkpoint",
    area="files",
    provoked="whole weights and a whole table of the study copied to its path",
)
@pytest.mark.parametrize("file", ["model.safetensors", "history.parquet"])
def test_a_file_that_is_no_checkpoint_is_refused(
    file: str,
    folder: Path,
    uninterrupted: Callable[[str], dict[str, bytes]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    observed: Observed,
) -> None:
    keeping = CheckpointPolicy(tmp_path / "checkpoint.safetensors", 1000, 1000)
    shutil.copy(folder / "teacher0" / file, keeping.path)
    run(folder, student(), tmp_path / "student", keeping)
    assert f"{keeping.path} is no checkpoint" in refused(caplog)
    assert contents(tmp_path / "student") == uninterrupted("sgd")
    observed(STARTS_OVER)


def start_over(
    spec: StudentSpec, data: Path, teacher: Path, tmp_path: Path, interrupted: CheckpointPolicy
) -> None:
    """Train beside a checkpoint of something else, and without one: both end the same."""
    distill(spec, data, teacher, tmp_path / "student", interrupted)
    distill(spec, data, teacher, tmp_path / "fresh")
    assert contents(tmp_path / "student") == contents(tmp_path / "fresh")


@pytest.mark.fault(
    "a checkpoint of another spec", area="training", provoked="the checkpoint of another seed"
)
def test_another_spec_is_refused(
    interrupted: CheckpointPolicy,
    folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    observed: Observed,
) -> None:
    data = folder / "digits.safetensors"
    start_over(student(seed=1), data, folder / "teacher0", tmp_path, interrupted)
    assert "is of another spec" in refused(caplog)
    observed(STARTS_OVER)


@pytest.mark.parametrize(
    ("attribute", "value", "other"),
    [
        pytest.param(
            "kdlm.training.students.digest", lambda _: "another", "version of the code",
            marks=pytest.mark.fault(
                "a checkpoint of another version of the code",
                area="training",
                provoked="another digest of the sources that a student is made by",
            ),
        ),
        pytest.param(
            "kdlm.training.students.torch",
            types.SimpleNamespace(**vars(torch) | {"__version__": "0.0"}),
            "version of torch",
            marks=pytest.mark.fault(
                "a checkpoint of another version of torch",
                area="training",
                provoked="torch that says it has another version",
            ),
        ),
    ],
)  # fmt: skip
def test_another_version_is_refused(
    attribute: str,
    value: object,
    other: str,
    interrupted: CheckpointPolicy,
    folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    observed: Observed,
) -> None:
    monkeypatch.setattr(attribute, value)
    data = folder / "digits.safetensors"
    start_over(student(), data, folder / "teacher0", tmp_path, interrupted)
    assert f"is of another {other}" in refused(caplog)
    observed(STARTS_OVER)


@pytest.mark.fault(
    "a checkpoint of another teacher",
    area="training",
    provoked="the checkpoint of a student of a teacher with the same spec but its seed",
)
def test_another_teacher_is_refused(
    interrupted: CheckpointPolicy,
    folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    observed: Observed,
) -> None:
    data = folder / "digits.safetensors"
    start_over(student(), data, folder / "teacher1", tmp_path, interrupted)
    assert "is of another teacher" in refused(caplog)
    observed(STARTS_OVER)


@pytest.mark.fault(
    "a checkpoint of another dataset",
    area="training",
    provoked="one label of the prepared dataset changed since it was saved",
)
def test_another_dataset_is_refused(
    interrupted: CheckpointPolicy,
    folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    observed: Observed,
) -> None:
    prepared = open_prepared(folder / "digits.safetensors")
    prepared.test_labels[0] = (prepared.test_labels[0] + 1) % 10
    fields = {field.name: getattr(prepared, field.name) for field in dataclasses.fields(Dataset)}
    prepare(Dataset(**fields), tmp_path / "other.safetensors")
    start_over(
        student(), tmp_path / "other.safetensors", folder / "teacher0", tmp_path, interrupted
    )
    assert "is of another data set" in refused(caplog)
    observed(STARTS_OVER)


@pytest.mark.fault(
    "no checkpoint can be written",
    area="files",
    provoked="a file in the place of the checkpoints' folder",
)
def test_a_checkpoint_that_cannot_be_written_stops_no_training(
    folder: Path,
    uninterrupted: Callable[[str], dict[str, bytes]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    observed: Observed,
) -> None:
    (tmp_path / "checkpoints").write_text("a file in the place of a folder")
    keeping = CheckpointPolicy(tmp_path / "checkpoints/checkpoint.safetensors", 1, 1000)
    run(folder, student(), tmp_path / "student", keeping)
    assert contents(tmp_path / "student") == uninterrupted("sgd")
    assert "checkpoint.safetensors cannot be written" in caplog.text
    observed("training goes on without, says so in one line a time, and ends with the same bits")


def test_folders_that_others_use_stay(
    folder: Path, stopping: Stopping, tmp_path: Path, interrupted: CheckpointPolicy
) -> None:
    root = tmp_path / "checkpoints"
    mine, other = root / "a/b/checkpoint.safetensors", root / "a/c/checkpoint.safetensors"
    for path in (mine, other):
        path.parent.mkdir(parents=True)
        path.write_bytes(interrupted.path.read_bytes())
    (mine.parent / f".{mine.name}.host.1.part").write_text("killed while it was written")
    stopping.left = -1
    run(folder, student(), tmp_path / "student", CheckpointPolicy(mine, 10, 10))
    assert other.exists()
    assert not mine.parent.exists()
    run(folder, student(), tmp_path / "student", CheckpointPolicy(other, 10, 10))
    assert not root.exists()


def command(folder: Path, recipe: str, output: Path) -> list[str | Path]:
    return [
        sys.executable, "-m", "kdlm", "distill",
        "--spec", student(recipe).canonical_json(),
        "--data", folder / "digits.safetensors",
        "--teacher", folder / "teacher0",
        "--output", output / "student",
        "--checkpoint", output / "checkpoints/x/checkpoint.safetensors",
        "--checkpoint-minutes", "0",
    ]  # fmt: skip


def _written(path: Path) -> int | None:
    """When a file was written; None of one that is not there."""
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mtime_ns
    return None


@pytest.mark.parametrize(
    ("recipe", "first"),
    [
        pytest.param(
            "float64", signal.SIGKILL,
            marks=pytest.mark.fault(
                "SIGKILL while training",
                area="training",
                provoked="`kill -9` at four random moments, then the same command again",
            ),
        ),
        pytest.param(
            "adam", signal.SIGTERM,
            marks=pytest.mark.fault(
                "SIGTERM while training",
                area="training",
                provoked="four random moments, in turn with SIGKILL, then the same command again",
            ),
        ),
        pytest.param(
            "bfloat16", signal.SIGUSR2,
            marks=pytest.mark.fault(
                "SIGUSR2 while training",
                area="training",
                provoked="four random moments, in turn with SIGKILL, then the same command again",
            ),
        ),
    ],
)  # fmt: skip
def test_killed_at_random_moments_it_ends_with_the_same_bytes(
    recipe: str,
    first: signal.Signals,
    folder: Path,
    uninterrupted: Callable[[str], dict[str, bytes]],
    tmp_path: Path,
    observed: Observed,
) -> None:
    chance = random.Random(recipe)  # noqa: S311
    checkpoint = tmp_path / "checkpoints/x/checkpoint.safetensors"
    for number in (first, signal.SIGKILL, first, signal.SIGKILL):
        before = _written(checkpoint)
        process = subprocess.Popen(command(folder, recipe, tmp_path), stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if _written(checkpoint) not in {None, before}:
                break
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.05))
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
        if (tmp_path / "student/run.json").exists():
            break
        if number == signal.SIGKILL:
            assert process.returncode == -signal.SIGKILL
        else:
            assert process.returncode == 128 + number
            assert f"{number.name}: stopped in epoch".encode() in error
            assert b"Traceback" not in error
    subprocess.run(command(folder, recipe, tmp_path), check=True)
    assert contents(tmp_path / "student") == uninterrupted(recipe)
    assert not (tmp_path / "checkpoints").exists()
    assert {path.name for path in (tmp_path / "student").iterdir()} == {
        *OUTPUTS,
        "run.json",
        ".lock",
    }
    observed(SAME_BITS)


@pytest.mark.fault(
    "a signal before torch is imported",
    area="training",
    provoked="SIGUSR2 or Ctrl-C for `kdlm distill` as soon as it heeds them",
)
@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGINT])
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_a_signal_while_torch_is_imported_ends_it_in_good_order(
    number: signal.Signals, folder: Path, tmp_path: Path, observed: Observed
) -> None:
    process = subprocess.Popen(command(folder, "sgd", tmp_path), stderr=subprocess.PIPE)
    status = Path(f"/proc/{process.pid}/status")
    deadline = time.monotonic() + 60
    # the signal is sent as soon as the process handles it: so it is found by who forwards signals
    while time.monotonic() < deadline:
        caught = next(line for line in status.read_text().splitlines() if "SigCgt" in line)
        if int(caught.split()[1], 16) >> (signal.SIGUSR2 - 1) & 1:
            break
        time.sleep(0.001)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert f"{number.name}: stopped in epoch 1 with 0 batches of it done".encode() in error
    assert error.count(b"\n") == 1
    observed("ends in one line before its first batch, with the status of the signal")
