"""The plugin as a package: on its own, found by Snakemake, light."""

import ast
import dataclasses
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from snakemake_executor_plugin_submitit import ExecutorSettings

ROOT = Path(__file__).parents[1]
PLUGIN = "snakemake_executor_plugin_submitit"


def _imports(folder: Path) -> set[str]:
    """Top-level packages and modules that the files in a folder import anywhere."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path} imports relatively"
                found.add(node.module or "")
    return {name.partition(".")[0] for name in found} - sys.stdlib_module_names


def _names(requirements: list[str]) -> set[str]:
    return {Requirement(text).name.replace("-", "_") for text in requirements}


def test_what_it_imports_is_what_it_requires() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = _names(project["dependencies"])
    assert _imports(ROOT / "src") == required | {PLUGIN}
    helpers = {path.stem for path in (ROOT / "tests").glob("*.py")}
    extra = _names(project["optional-dependencies"]["test"])
    assert _imports(ROOT / "tests") - helpers <= required | extra | {PLUGIN}


def test_it_is_light() -> None:
    code = f"import sys, {PLUGIN}; print('snakemake' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == "False"


@pytest.fixture(scope="module")
def manual() -> str:
    said = subprocess.run(
        [sys.executable, "-m", "snakemake", "--help"], check=True, capture_output=True, text=True
    )
    return " ".join(said.stdout.split())


@pytest.mark.parametrize(
    "field", dataclasses.fields(ExecutorSettings), ids=lambda field: field.name
)
def test_snakemake_shows_every_option(manual: str, field: "dataclasses.Field[object]") -> None:
    start = manual.index(
        f"--submitit-{field.name.replace('_', '-')} ", manual.index("submitit exec")
    )
    words = " ".join(field.metadata["help"].split()[:4])
    assert words in manual[start : start + 300]


def _default(field: "dataclasses.Field[object]") -> str:
    """A default as the manual has it: nothing for an empty list or None."""
    if field.default is dataclasses.MISSING or field.default is None:
        return ""
    return "off" if field.default is False else str(field.default)


def test_the_manual_has_every_option_with_its_default() -> None:
    rows = [
        line.strip("| ").split("|")
        for line in (ROOT / "docs/further.md").read_text().splitlines()
        if line.startswith("| `--submitit-")
    ]
    assert [(option.strip(" `"), default.strip(" `")) for option, default, _ in rows] == [
        (f"--submitit-{field.name.replace('_', '-')}", _default(field))
        for field in dataclasses.fields(ExecutorSettings)
    ]


def test_the_manual_links_to_no_file() -> None:
    """The plugin catalog shows both pages elsewhere."""
    for page in (ROOT / "docs").glob("*.md"):
        assert all(
            link.startswith("https://") for link in re.findall(r"\]\((.*?)\)", page.read_text())
        )
