"""The recipes of docs/extending.md, applied as they are printed to a copy of the source."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/extending.md"
RECIPE = re.compile(
    r"(?P<where>[^\n`]*(?:\n[^\n`]+)?\s)`(?P<file>[^`]+\.\w+)`(?P<after>[^`]*?(?:`plausibility`)?):\n\n"
    r"```\w+\n(?P<text>.*?)```",
    re.DOTALL,
)


def _recipes() -> list[tuple[str, str, str]]:
    """How, in which file, and what each recipe adds."""
    found = []
    for match in RECIPE.finditer(PAGE.read_text()):
        how = "new" if "new file" in match["where"] else "append"
        found.append(
            ("after" if "plausibility" in match["after"] else how, match["file"], match["text"])
        )
    return found


def _apply(folder: Path) -> None:
    for how, name, text in _recipes():
        file = folder / name
        if how == "new":
            assert not file.exists(), name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        elif how == "append":
            file.write_text(f"{file.read_text()}\n\n{text}")
        else:
            lines = file.read_text().splitlines(keepends=True)
            (place,) = [i for i, line in enumerate(lines) if line.startswith("    plausibility")]
            file.write_text("".join([*lines[: place + 1], text, *lines[place + 1 :]]))


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source with every recipe applied."""
    folder = tmp_path_factory.mktemp("extended")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("src", "workflow", "tests", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("Snakefile", "config.yaml", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder)
    _apply(folder)
    return folder


def _run(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def test_the_page_says_how_many_files_an_addition_takes() -> None:
    files = [(how, file) for how, file, _ in _recipes()]
    assert len(files) == 12
    assert sum(file == "src/kdlm/study/names.py" for _, file in files) == 3


@pytest.mark.slow
def test_what_the_recipes_add_passes_its_tests(extended: Path) -> None:
    added = [file for how, file, _ in _recipes() if how == "new" and file.startswith("tests/")]
    assert len(added) == 2
    others = [
        "tests/study/test_names.py", "tests/study/test_margins.py",
        "tests/claims/test_verdicts.py::test_other_data_turn_the_verdict_round",
        "tests/claims/test_verdicts.py::test_a_flip_is_known_for_every_claim",
        "tests/test_losses.py::test_torch_func_transforms_every_loss",
        "tests/test_losses.py::test_first_and_second_derivatives",
        "tests/networks/test_architectures.py::test_every_architecture_is_a_network_on_its_smallest_images",
    ]  # fmt: skip
    run = _run(extended, "pytest", "-q", "-p", "no:cacheprovider", *added, *others)
    assert run.returncode == 0, run.stdout[-3000:]


@pytest.mark.slow
def test_a_study_runs_with_what_the_recipes_add(
    extended: Path, tmp_path: Path, config: dict[str, Any]
) -> None:
    config["teachers"] = [
        {"architecture": "two-layers", "initialisation": "he-zero", "recipe": "short"}
    ]
    config["arms"] = [
        {"teacher": "two-layers-he-zero-short", "architecture": "two-layers",
         "initialisation": "he", "recipe": "short", "losses": ["huber", "kd", "lm"],
         "temperatures": [4, 16], "mean_gaps": [0], "seeds": [0, 1]}
    ]  # fmt: skip
    config["init_means"]["initialisations"] = ["he-zero"]
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(config))
    run = _run(
        extended, "snakemake", "--cores", "2", "--directory", tmp_path,
        "--configfile", tmp_path / "study.yaml",
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-3000:]
    results = tmp_path / "results/tiny"
    assert (results / "figures/last_accuracy.svg").is_file()
    assert len(list(results.glob("students/*/*/*/*/*/loss=huber/**/run.json"))) == 2
    told = _run(extended, "kdlm", "claims", results)
    assert "teachers-learn" in told.stdout
