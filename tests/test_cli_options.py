"""What the command line hands on to the code, and with which status it ends."""

import io
from pathlib import Path
from typing import Any

import pytest

from kdlm import cli, signals
from kdlm.errors import InputError
from kdlm.study.config import parse, read_study
from kdlm.study.jobs import Job, init_means_jobs, student_jobs, teacher_jobs

Calls = list[tuple[Any, ...]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What trainings and preparations were called with, in the place of doing them."""
    from kdlm.data import loaders
    from kdlm.networks import init_means
    from kdlm.training import students, teachers

    found: Calls = []
    for module, name in (
        (teachers, "train_teacher"), (students, "distill"), (init_means, "draw_init_means"),
        (loaders, "prepare_dataset"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, lambda *args, **keys: found.append((*args, keys)))
    monkeypatch.setattr(signals, "install_handlers", lambda: None)
    return found


def run(job: Job[Any], command: str, folder: Path, *more: str) -> int:
    return cli.main(
        [command, "--spec", job.spec.canonical_json(), "--data", str(folder / "data"),
         "--output", str(folder / "out/here"), *more]
    )  # fmt: skip


# a rule gives the option without a value where a student has no answers
@pytest.mark.parametrize("answers", [[], ["--answers"], ["--answers", "known"]])
def test_a_student_is_told_all_it_has_to_know(
    calls: Calls, tiny: dict[str, Any], tmp_path: Path, answers: list[str]
) -> None:
    answers = [str(tmp_path / one) if one == "known" else one for one in answers]
    *_, job = student_jobs(parse(tiny))
    teacher, kept = tmp_path / "teacher", tmp_path / "kept"
    assert run(
        job, "distill", tmp_path, "--teacher", str(teacher), "--checkpoint", str(kept),
        "--checkpoint-epochs", "3", "--checkpoint-minutes", "0.5", *answers,
    ) == 0  # fmt: skip
    ((spec, data, of, output, keeping, read, _),) = calls
    assert (spec, data, of, output) == (
        job.spec, tmp_path / "data", teacher, tmp_path / "out/here",
    )  # fmt: skip
    assert (keeping.path, keeping.epochs, keeping.minutes) == (kept, 3, 0.5)
    assert read == (tmp_path / "known" if len(answers) == 2 else None)


def test_without_a_place_nothing_is_kept(
    calls: Calls, tiny: dict[str, Any], tmp_path: Path
) -> None:
    job = teacher_jobs(parse(tiny))[0]
    assert run(job, "train-teacher", tmp_path) == 0
    assert calls == [(job.spec, tmp_path / "data", tmp_path / "out/here", None, {})]


def test_a_shard_is_told_its_own_seeds(calls: Calls, tiny: dict[str, Any], tmp_path: Path) -> None:
    jobs = [*init_means_jobs(parse(tiny))]
    for job in jobs:
        assert run(job, "init-means", tmp_path) == 0
    assert [call[0] for call in calls] == [job.spec for job in jobs]
    assert {call[0].first_seed for call in calls} == {0, 2}


@pytest.mark.parametrize("download", [True, False])
def test_a_dataset_is_told_where_its_files_are(
    calls: Calls, tmp_path: Path, download: bool
) -> None:
    options = ["--root", "pictures", "--image-side", "12"] + ([] if download else ["--no-download"])
    output = tmp_path / "out"
    assert cli.main(["prepare", "--name", "imagefolder", "--output", str(output), *options]) == 0
    ((*arguments, keys),) = calls
    told = {str(one) for one in arguments} | {str(one) for one in keys.values()}
    assert {"imagefolder", "pictures", "12", str(output), str(download)} <= told


def test_a_dataset_is_told_how_many_training_images_to_keep(calls: Calls, tmp_path: Path) -> None:
    words = ["prepare", "--name", "digits", "--output", str(tmp_path / "out")]
    assert cli.main([*words, "--train-images", "200"]) == 0
    assert cli.main(words) == 0
    assert [call[-1]["train_images"] for call in calls] == [200, None]


def test_a_config_can_come_from_stdin(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = parse(tiny)
    monkeypatch.setattr("sys.stdin", io.StringIO(study.canonical_json()))
    assert cli.main(["resolve", "--config", "-", "--output", str(tmp_path / "study.json")]) == 0
    assert read_study(tmp_path) == study


def test_what_is_wrong_with_the_input_is_one_line_and_a_status(
    calls: Calls,
    tiny: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from kdlm.training import teachers

    def refused(*_: Any) -> None:
        raise InputError("the dataset is damaged")

    monkeypatch.setattr(teachers, "train_teacher", refused)
    assert run(teacher_jobs(parse(tiny))[0], "train-teacher", tmp_path) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "kdlm: the dataset is damaged"
    assert not calls


def test_a_spec_that_is_none_is_refused_by_its_key(
    calls: Calls, tiny: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = teacher_jobs(parse(tiny))[0].spec.canonical_json().replace('"sgd"', '"lion"')
    words = ["--data", str(tmp_path), "--output", str(tmp_path / "out")]
    assert cli.main(["train-teacher", "--spec", spec, *words]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("kdlm: --spec: recipe.optimizer: ")
    assert not calls
