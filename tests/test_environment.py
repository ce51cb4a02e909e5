"""The two ways in pin the same packages, the plugin's too, and the lock holds them all."""

import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
# conda-forge's names where they differ from PyPI's
CONDA = {"torch": "pytorch", "duckdb": "python-duckdb"}


STUDY = ROOT / "pyproject.toml"
PLUGIN = ROOT / "packages/snakemake-executor-plugin-submitit/pyproject.toml"


def _declared(file: Path, *extras: str) -> list[Requirement]:
    project = tomllib.loads(file.read_text())["project"]
    optional = [text for extra in extras for text in project["optional-dependencies"][extra]]
    return [Requirement(text) for text in (*project["dependencies"], *optional)]


def test_conda_has_the_pins_of_pyproject() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    names = {text for text in environment if isinstance(text, str)} - {"pip"}
    project = tomllib.loads(STUDY.read_text())["project"]
    wanted = {
        str(Requirement(f"{CONDA.get(one.name, one.name)}{one.specifier}"))
        for one in (*_declared(STUDY, "study", "analysis", "dev"), *_declared(PLUGIN))
    }
    wanted.add(f"python{project['requires-python']}")
    assert {str(Requirement(text)) for text in names} == wanted


def test_the_lock_holds_one_version_within_each_range() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [line.split(";")[0].strip().split("==") for line in lines if "==" in line]
    locked = {name.lower().replace("_", "-"): version for name, version in pins}
    for one in (*_declared(STUDY, "study", "analysis", "dev"), *_declared(PLUGIN, "test")):
        version = locked[one.name.lower().replace("_", "-")]
        assert one.specifier.contains(version), f"{one.name}: {version}"


def test_the_lock_names_no_registry() -> None:
    assert "://" not in (ROOT / "requirements.lock").read_text()


def test_the_lock_with_hashes_is_the_lock() -> None:
    lines = (ROOT / "requirements.hashed.lock").read_text().splitlines()
    pinned = [line.removesuffix(" \\") for line in lines if not line.startswith(" ")]
    assert pinned == (ROOT / "requirements.lock").read_text().splitlines()
    assert sum("--hash=sha256:" in line for line in lines) >= len(pinned)


def test_the_package_alone_brings_no_workflow() -> None:
    alone = {one.name for one in _declared(STUDY)}
    assert not alone & {"snakemake", "submitit", "seaborn", "matplotlib", "duckdb", "rocrate"}
    study = {one.name for one in _declared(STUDY, "study")}
    assert not study & {"mypy", "ruff", "hypothesis", "pytest", "snakefmt", "import-linter"}
