"""The committed record of the default study, made by the released code, reproduces."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kdlm.archive.unpacking import unpack
from kdlm.reproduce.machine import differences, here
from kdlm.study.config import parse

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "results/reference"


@pytest.fixture(scope="module")
def reference() -> Path:
    """The newest archive there; without one there is nothing to show for the study."""
    found = sorted(REFERENCE.glob("*.zip"))
    if not found:
        pytest.fail(
            f"{REFERENCE} holds no archive: run snakemake archive in a clean checkout, then "
            f"python -m kdlm archive results/digits --small --output results/reference/digits.zip"
        )
    return found[-1]


@pytest.fixture(scope="module")
def unpacked_reference(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference") / "unpacked"
    unpack(reference, folder)
    return folder


def _reproduce(reference: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kdlm", "reproduce", reference, "--folder", folder, "--yes",
         *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_it_is_rebuilt_and_the_verdicts_are_the_same(reference: Path, tmp_path: Path) -> None:
    run = _reproduce(reference, tmp_path / "out", "--level", "L1", "L4")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "L1 holds" in run.stdout
    assert "L4 holds" in run.stdout


def test_a_job_is_rerun_to_the_bit_where_the_machine_matches(
    reference: Path, unpacked_reference: Path, tmp_path: Path
) -> None:
    installed = json.loads((unpacked_reference / "environment/installed.json").read_text())
    run_json = sorted(unpacked_reference.rglob("run.json"))[0]
    found = differences(json.loads(run_json.read_text()), here("cpu"), installed)
    run = _reproduce(reference, tmp_path / "out", "--level", "L2", "--jobs", "1")
    if found:
        # elsewhere equal bytes are not asked for, and the first difference is told
        assert run.returncode == 1
        assert found[0] in run.stdout
    else:
        assert run.returncode == 0, run.stdout + run.stderr


def test_it_is_of_the_default_study(unpacked_reference: Path) -> None:
    import yaml

    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    path = next(unpacked_reference.glob("results/*/study.json"))
    assert parse(json.loads(path.read_text())) == parse(config)


def test_it_was_archived_as_committed(unpacked_reference: Path) -> None:
    facts = json.loads((unpacked_reference / "archive.json").read_text())
    assert facts["source"]["as_committed"]
    assert not (unpacked_reference / "source.diff").exists()
