"""The study and the executor plugin know nothing of each other, and the plugin has a path only."""

import ast
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PLUGIN = "snakemake-executor-plugin-submitit"
FOLDER = ROOT / "packages" / PLUGIN


def _imports(folder: Path) -> set[str]:
    """Top-level packages that the files in a folder import anywhere."""
    nodes = [
        node for path in folder.rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))
    ]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names}


def test_neither_imports_the_other() -> None:
    plugin, study = _imports(FOLDER), _imports(ROOT / "src")
    assert PLUGIN.replace("-", "_") in plugin
    assert "kdlm" in study
    assert PLUGIN.replace("-", "_") not in study
    assert not {"kdlm", "tests"} & plugin


def test_no_index_is_asked_for_it() -> None:
    for name in ("pyproject.toml", "requirements.lock", "requirements.hashed.lock"):
        lines = (ROOT / name).read_text().splitlines()
        requirements = [line for line in lines if line.strip(' "').startswith(PLUGIN)]
        assert not requirements, name
    (by_pip,) = [
        entry["pip"]
        for entry in yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
        if isinstance(entry, dict)
    ]
    assert [one for one in by_pip if PLUGIN in one] == [f"--editable packages/{PLUGIN}"]
