"""The two ways in pin the same packages, the plugin's too, and the lock holds them all."""

import json
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement

from kdlm.study.config import parse
from kdlm.study.jobs import init_means_jobs, student_jobs, teacher_jobs

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
    names |= {text for text in environment[-1]["pip"] if not text.startswith("--")}
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


def test_what_make_study_installs_can_render_snakemakes_report() -> None:
    """An archive contains that report, and `snakemake archive` comes after `make study`."""
    wanted = [Requirement(text) for text in metadata.requires("snakemake") or []]
    reports = {one.name for one in wanted if one.marker and "reports" in str(one.marker)}
    assert reports
    assert reports <= {one.name for one in _declared(STUDY, "study")}


ALONE = """
import importlib.abc, json, sys
from pathlib import Path

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in json.loads(sys.argv[1]):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
from kdlm.data.loaders import prepare_dataset
from kdlm.losses import kd_loss
from kdlm.networks.architectures import build
from kdlm.networks.init_means import draw_init_means
from kdlm.study.specs import InitMeansSpec, StudentSpec, TeacherSpec
from kdlm.training.students import distill
from kdlm.training.teachers import train_teacher

teacher, student, means = (json.loads(text) for text in sys.argv[2:])
prepare_dataset("digits", Path("digits.safetensors"))
train_teacher(TeacherSpec(**teacher), Path("digits.safetensors"), Path("teacher"))
distill(StudentSpec(**student), Path("digits.safetensors"), Path("teacher"), Path("student"))
prepare_dataset("photographs", Path("photographs.safetensors"))
draw_init_means(InitMeansSpec(**means), Path("photographs.safetensors"), Path("means.parquet"))
"""


def test_the_package_alone_trains_and_distills(config: dict[str, Any], tmp_path: Path) -> None:
    """In an environment with nothing but the dependencies of ``pip install .``."""
    extras = {one.name for one in _declared(STUDY, "study", "analysis", "dev")}
    absent = extras - {one.name for one in _declared(STUDY)} - {"scipy", "packaging"}
    # by the names they are imported by; scikit-learn brings scipy, and torch packaging
    modules = [*sorted(name.replace("-", "_") for name in absent), "yaml", "submitit"]
    study = parse(config)
    jobs = teacher_jobs(study)[0], next(student_jobs(study)), next(init_means_jobs(study))
    subprocess.run(
        [sys.executable, "-c", ALONE, json.dumps(modules),
         *(job.spec.canonical_json() for job in jobs)],
        cwd=tmp_path,
        check=True,
    )  # fmt: skip
    for name in ("teacher/model.safetensors", "student/history.parquet", "means.parquet"):
        assert (tmp_path / name).is_file()
