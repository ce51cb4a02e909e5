"""The workflow as a module of another one, and as snakedeploy deploys it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kdlm.storage.locks import acquire_folder
from kdlm.storage.parquet import read_table
from kdlm.study.config import parse

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/modules.md").read_text(encoding="utf-8")
# Python that hides the package from an environment in which it is installed from a checkout.
HIDING = """
import sys
from pathlib import Path
sys.path[:] = [folder for folder in sys.path if not Path(folder, "kdlm").is_dir()]
"""


def _deploy(folder: Path, config: dict[str, Any]) -> None:
    """Write the workflow of the page into ``folder``, with a config of its own."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (folder / "workflow").mkdir(parents=True, exist_ok=True)
    (folder / "config").mkdir()
    code = code.replace("/path/to/the/checkout", str(ROOT))
    (folder / "workflow/Snakefile").write_text(code, encoding="utf-8")
    (folder / "config/config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


def _run(
    folder: Path, *arguments: str, path: Path = ROOT / "src"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def test_a_module_takes_the_lock_of_the_study(tmp_path: Path, config: dict[str, Any]) -> None:
    _deploy(tmp_path, config)
    target = "results/tiny/study.json"
    (tmp_path / "results/tiny").mkdir(parents=True)
    with acquire_folder(tmp_path / "results/tiny"):
        refused = _run(tmp_path, "--", target)
        assert refused.returncode == 1
        assert f"results/tiny is being worked on by process {os.getpid()} on" in refused.stdout
        assert not (tmp_path / target).exists()
    run = _run(tmp_path, "--", target)
    assert run.returncode == 0, run.stdout[-3000:]
    assert (tmp_path / target).is_file()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that takes no files")
def test_a_module_salvages_after_a_failure(
    finished: Path, tmp_path: Path, config: dict[str, Any]
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(finished, folder)
    _deploy(folder, config)
    results = folder / "results/tiny"
    (student,) = results.glob("students/**/loss=kd/temperature=4/*/mean_gap=0/*=0/*=0/seed=1")
    shutil.rmtree(student)
    student.symlink_to("/proc")
    for gathered in ("tables/runs", "tables/histories", "tables/comparisons", "claims"):
        (results / f"{gathered}.parquet").unlink()
    run = _run(folder, "--snakefile", "workflow/Snakefile", "--keep-going")
    assert run.returncode == 1
    runs = read_table(results / "tables/runs.parquet", "runs")
    assert list(runs.loc[runs["status"] != "finished", "status"]) == ["missing"]
    assert (results / "claims.parquet").is_file()


def test_without_its_package_the_workflow_says_what_to_install(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    _deploy(tmp_path, config)
    (tmp_path / "hiding").mkdir()
    (tmp_path / "hiding/sitecustomize.py").write_text(HIDING, encoding="utf-8")
    run = _run(tmp_path, "-n", path=tmp_path / "hiding")
    assert run.returncode == 1
    told = [line for line in run.stdout.splitlines() if "is not installed for" in line]
    assert len(told) == 1
    assert "make install" in told[0]
    assert "Traceback" not in run.stdout


def test_what_is_deployed_is_the_default_config_and_explains_its_keys() -> None:
    """The catalog's standardised usage: these files, and a README that describes the config."""
    deployed = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    assert deployed == yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    assert parse(deployed).study == "digits"
    explained = (ROOT / "config/README.md").read_text(encoding="utf-8")
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    assert not [key for key in schema["properties"] if f"`{key}`" not in explained]
    assert (ROOT / "workflow/Snakefile").is_file()
    readme = (ROOT / "README.md").read_text(encoding="utf-8").lower()
    assert "snakemake" in readme
    assert "workflow" in readme


def test_the_catalog_is_told_how_the_workflow_is_used() -> None:
    text = (ROOT / ".snakemake-workflow-catalog.yml").read_text(encoding="utf-8")
    usage = yaml.safe_load(text)["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    assert "make install" in usage["mandatory-flags"]["desc"]
    # no rule names an environment or a container of its own
    rules = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    own = bool(re.search(r"^\s+(conda|container):", rules, re.MULTILINE))
    assert any(usage["software-stack-deployment"].values()) == own
