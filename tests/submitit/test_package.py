"""The plugin as a package: on its own, found by Snakemake, light."""

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from snakemake_executor_plugin_submitit import ExecutorSettings

SOURCES = Path(__file__).parents[2] / "src"
PLUGIN, STUDY = "snakemake_executor_plugin_submitit", "kdlm"


def _imports(package: str) -> set[str]:
    """Top-level packages that a package imports anywhere."""
    found = set()
    for path in (SOURCES / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path} imports relatively"
                found.add(node.module or "")
    return {name.partition(".")[0] for name in found}


def test_neither_package_imports_the_other() -> None:
    assert PLUGIN in _imports(PLUGIN)
    assert STUDY in _imports(STUDY)
    assert STUDY not in _imports(PLUGIN)
    assert PLUGIN not in _imports(STUDY)


def test_the_plugin_needs_none_of_the_studys_libraries() -> None:
    ours = {name for name in _imports(PLUGIN) if name not in sys.stdlib_module_names}
    assert ours == {
        PLUGIN,
        "psutil",
        "snakemake_interface_common",
        "snakemake_interface_executor_plugins",
        "submitit",
    }


def test_it_is_light() -> None:
    code = (
        f"import sys, {PLUGIN}; print(sorted({{'torch', 'kdlm', 'snakemake'}} & {{*sys.modules}}))"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == "[]"


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
