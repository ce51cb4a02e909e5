"""Rerunning jobs of an archive, with the archive and its commands made up."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kdlm.reproduce import rerun as reruns
from kdlm.reproduce.outcome import Level, Outcomes, State
from kdlm.reproduce.rerun import Rerunnable, rerun, rerunnable
from kdlm.reproduce.unpacked import Unpacked
from kdlm.study.config import parse
from tests.forged import bare

BOTH = (Level.RERUN, Level.TOLERANCE)


def content(arguments: list[str], name: str) -> bytes:
    """What a command leaves in a file: a function of what it is told."""
    return f"{arguments[0]} {arguments[2]} {name}".encode()


def files_of(arguments: list[str]) -> dict[str, bytes]:
    """Files that a command makes, by name."""
    output = arguments[arguments.index("--output") + 1]
    if arguments[0] == "prepare" or output.endswith(".parquet"):
        return {output: content(arguments, output)}
    names = ("history.parquet", "logits.parquet", "model.safetensors")
    return {f"{output}/{name}": content(arguments, name) for name in names}


@dataclass
class Archive:
    """A made-up archive, and what was run of it."""

    unpacked: Unpacked
    ran: list[list[str]] = field(default_factory=list)
    changes: dict[str, bytes] = field(default_factory=dict)
    """What a command leaves instead, by the end of a file's name."""
    failing: str = ""
    """Command that fails."""
    threads: dict[str, int] = field(default_factory=dict)

    def run(self, arguments: list[str], folder: Path, threads: int = 1) -> str | None:
        """As `Unpacked.run`."""
        self.ran.append(arguments)
        self.threads[arguments[0]] = threads
        if arguments[0] == self.failing:
            return f"kdlm {arguments[0]}: it failed"
        for name, data in files_of(arguments).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            other = next((v for end, v in self.changes.items() if name.endswith(end)), data)
            path.write_bytes(other)
        return None

    def count(self, command: str) -> int:
        return sum(arguments[0] == command for arguments in self.ran)

    def outcomes(
        self, jobs: list[Rerunnable], levels: tuple[Level, ...] = (Level.RERUN,)
    ) -> dict[str, tuple[State, str]]:
        """What became of the jobs' outputs at the first of the levels."""
        found = Outcomes(levels)
        rerun(self.unpacked, jobs, found, levels)
        return {name: states[levels[0]] for name, states in found.states.items()}


def every_command(jobs: list[Rerunnable], prefix: str) -> list[list[str]]:
    datasets = sorted({job.dataset for job in jobs})
    return [
        *(["prepare", "--name", name, "--output", f"{prefix}/data/{name}.safetensors"]
          for name in datasets),
        *(job.arguments(prefix) for job in jobs),
    ]  # fmt: skip


@pytest.fixture
def archive(tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Archive:
    config = tiny | {"threads": 3}
    jobs = rerunnable(parse(config))
    digests = {}
    for arguments in every_command(jobs, "results/tiny"):
        for name, data in files_of(arguments).items():
            digests[name] = hashlib.sha256(data).hexdigest()
            if not name.endswith(".safetensors"):
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name).write_bytes(data)
    for job in jobs:
        (tmp_path / "results/tiny" / job.folder / "run.json").write_text("{}")
    (tmp_path / "environment").mkdir()
    (tmp_path / "environment/installed.json").write_text("{}")
    monkeypatch.setattr(reruns, "differences", lambda *_: [])
    made = Archive(bare(tmp_path, config, digests))
    monkeypatch.setattr(Unpacked, "run", lambda _, *arguments: made.run(*arguments))
    return made


def student(archive: Archive) -> Rerunnable:
    return next(job for job in rerunnable(archive.unpacked.study) if job.teacher)


def test_what_comes_out_as_it_was_holds(archive: Archive) -> None:
    jobs = rerunnable(archive.unpacked.study)
    found = archive.outcomes(jobs)
    assert len(found) == sum(len(job.outputs) for job in jobs)
    assert set(found.values()) == {(State.HELD, "")}
    # each dataset once, each teacher once, whoever starts from them
    assert archive.count("prepare") == 2
    assert archive.count("train-teacher") == 1
    assert archive.threads["distill"] == 3


@pytest.mark.parametrize("end", ["history.parquet", "logits.parquet", "model.safetensors"])
def test_an_output_that_comes_out_otherwise_fails_alone(archive: Archive, end: str) -> None:
    job = student(archive)
    archive.changes[f"{job.folder}/{end}"] = b"something else"
    found = archive.outcomes([job])
    for name, (state, reason) in found.items():
        if name.startswith(f"results/tiny/{job.folder}/"):
            expected = (State.FAILED, "other bytes") if name.endswith(end) else (State.HELD, "")
            assert (state, reason) == expected


def test_a_rerun_on_another_dataset_fails_and_says_so(archive: Archive) -> None:
    job = student(archive)
    archive.changes["digits.safetensors"] = b"other images"
    found = archive.outcomes([job])
    assert found
    for state, reason in found.values():
        assert state == State.FAILED
        assert "dataset digits is not the one the study was run on" in reason
    # nothing is trained on it
    assert archive.count("distill") == archive.count("train-teacher") == 0


def test_initialisation_means_have_a_dataset_of_their_own(archive: Archive) -> None:
    job = next(job for job in rerunnable(archive.unpacked.study) if job.command == "init-means")
    archive.changes["digits.safetensors"] = b"other images"
    assert set(archive.outcomes([job]).values()) == {(State.HELD, "")}
    archive.changes["photographs.safetensors"] = b"other images"
    (state, reason), *_ = archive.outcomes([job]).values()
    assert state == State.FAILED
    assert "photographs" in reason


@pytest.mark.parametrize("command", ["prepare", "train-teacher", "distill"])
def test_a_command_that_fails_is_the_reason_of_what_it_was_to_make(
    archive: Archive, command: str
) -> None:
    job = student(archive)
    archive.failing = command
    for name, (state, reason) in archive.outcomes([job]).items():
        if job.folder in name:
            assert (state, reason) == (State.FAILED, f"kdlm {command}: it failed")


def test_a_teacher_whose_weights_are_archived_is_not_trained_again(archive: Archive) -> None:
    job = student(archive)
    place = archive.unpacked.results / str(job.teacher)
    (place / "model.safetensors").write_bytes(b"archived weights")
    archive.outcomes([job])
    assert archive.count("train-teacher") == 0
    copied = archive.unpacked.folder / "rerun/results/tiny" / str(job.teacher)
    assert (copied / "model.safetensors").read_bytes() == b"archived weights"
    assert archive.count("distill") == 1


def test_a_teacher_that_is_asked_for_is_trained_even_so(archive: Archive) -> None:
    job = student(archive)
    teacher = next(one for one in rerunnable(archive.unpacked.study) if one.folder == job.teacher)
    (archive.unpacked.results / teacher.folder / "model.safetensors").write_bytes(b"archived")
    archive.outcomes([teacher, job])
    assert archive.count("train-teacher") == 1


Judge = Callable[[str], list[str]]


@pytest.mark.parametrize("levels", [(Level.RERUN,), BOTH])
def test_equal_bytes_are_not_asked_for_where_the_machine_differs(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, levels: tuple[Level, ...]
) -> None:
    monkeypatch.setattr(reruns, "differences", lambda *_: ["torch: 1 there, 2 here"])
    monkeypatch.setattr(reruns, "first_difference", lambda *_: None)
    job = student(archive)
    outcomes = Outcomes(levels)
    rerun(archive.unpacked, [job], outcomes, levels)
    states = outcomes.states[f"results/tiny/{job.folder}/history.parquet"]
    assert states[Level.RERUN] == (State.REFUSED, "torch: 1 there, 2 here")
    # within tolerances it is run all the same
    assert archive.count("distill") == (1 if Level.TOLERANCE in levels else 0)
    if Level.TOLERANCE in levels:
        assert states[Level.TOLERANCE] == (State.HELD, "")


def test_tolerances_are_those_of_the_archived_config(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    def compared(*arguments: Any) -> str | None:
        asked.append(arguments)
        return "column gap: too far" if arguments[2] == "history" else None

    monkeypatch.setattr(reruns, "first_difference", compared)
    job = student(archive)
    found = archive.outcomes([job], (Level.TOLERANCE,))
    folder = f"results/tiny/{job.folder}"
    assert found[f"{folder}/history.parquet"] == (State.FAILED, "column gap: too far")
    assert found[f"{folder}/logits.parquet"] == (State.HELD, "")
    archived = archive.unpacked.folder
    assert (
        archived / folder / "history.parquet", archived / "rerun" / folder / "history.parquet",
        "history", archive.unpacked.study.tolerances,
    ) in asked  # fmt: skip


def test_an_output_without_a_digest_fails(archive: Archive) -> None:
    job = student(archive)
    name = f"results/tiny/{job.folder}/logits.parquet"
    del archive.unpacked.digests[name]
    state, reason = archive.outcomes([job])[name]
    assert state == State.FAILED
    assert "neither it nor" in reason


def test_a_second_rerun_starts_from_nothing_of_the_first(archive: Archive) -> None:
    job = student(archive)
    archive.outcomes([job])
    shutil.rmtree(archive.unpacked.folder / "rerun")
    archive.ran.clear()
    assert set(archive.outcomes([job]).values()) == {(State.HELD, "")}
    assert archive.count("train-teacher") == archive.count("distill") == 1
