"""The command line: faults of the user are one line and status 1."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kdlm.cli import main
from kdlm.figures import FIGURES
from kdlm.study.config import parse
from kdlm.study.jobs import teacher_jobs
from kdlm.study.names import DATASETS


def failure(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert main([str(argument) for argument in arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("kdlm: ")
    assert error.count("\n") == 1
    return error


def test_claims_of_a_folder_that_has_none(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "claims.parquet is missing" in failure(capsys, "claims", tmp_path)


def test_a_folder_that_is_no_study(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "study.json is missing" in failure(capsys, "collect", tmp_path)
    (tmp_path / "study.json").write_text("{")
    assert "not JSON" in failure(capsys, "collect", tmp_path)


def test_a_spec_with_an_unknown_key(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, config: dict[str, Any]
) -> None:
    spec = teacher_jobs(parse(config))[0].spec
    text = json.dumps(json.loads(spec.canonical_json()) | {"sed": 1})
    common = ("train-teacher", "--data", tmp_path / "x", "--output", tmp_path / "y", "--spec")
    assert "sed" in failure(capsys, *common, text)
    assert "spec" in failure(capsys, *common, "{")


def test_a_missing_dataset_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, config: dict[str, Any]
) -> None:
    spec = teacher_jobs(parse(config))[0].spec
    message = failure(
        capsys, "train-teacher", "--spec", spec.canonical_json(),
        "--data", tmp_path / "nothing.safetensors", "--output", tmp_path / "t",
    )  # fmt: skip
    assert "nothing.safetensors is missing" in message
    assert {file.name for file in (tmp_path / "t").iterdir()} == {".lock"}


def test_a_folder_without_images(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    message = failure(
        capsys, "prepare", "--name", "fashion-mnist", "--root", tmp_path / "empty",
        "--no-download", "--output", tmp_path / "x.safetensors",
    )  # fmt: skip
    assert str(tmp_path / "empty") in message


@pytest.mark.parametrize(
    ("command", "known"),
    [
        (("figure", "results/x", "nothing"), FIGURES),
        (("prepare", "--name", "nothing", "--output", "x"), DATASETS),
    ],
)
def test_an_unknown_name_is_answered_by_the_known_ones(
    command: tuple[str, ...], known: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main([*command])
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(repr(name) in line for name in known)


@pytest.mark.parametrize(("command", "known"), [("figure", FIGURES), ("prepare", DATASETS)])
def test_help_lists_the_names_that_a_command_takes(
    command: str, known: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert ", ".join(known) in told


def test_every_problem_of_a_config_is_a_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, config: dict[str, Any]
) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(yaml.safe_dump(config | {"threads": "two", "device": None}))
    assert main(["power", str(path)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"kdlm: {path}: device: one of auto, cpu, cuda is needed; nothing is given",
        f"kdlm: {path}: threads: a whole number is needed, not 'two'",
    ]


def test_every_command_explains_itself() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "kdlm", "--help"], capture_output=True, text=True, check=True
    )
    for command in ("claims", "prepare", "train-teacher", "distill", "judge", "figure"):
        assert command in run.stdout


def test_asking_for_claims_imports_no_torch() -> None:
    code = "import sys, kdlm.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
