"""What hosts, hooks and engines run is what the Makefile has."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def _recipe(target: str) -> list[str]:
    """The commands of a target of the Makefile."""
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert found, target
    return [line.strip() for line in found[1].splitlines()]


def test_pre_commit_runs_what_make_lint_runs() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (local,) = config["repos"]
    assert local["repo"] == "local"
    assert all(hook["language"] == "system" for hook in local["hooks"])
    entries = [hook["entry"].replace(".venv/bin", "$(BIN)") for hook in local["hooks"]]
    assert entries == _recipe("lint")


def test_the_host_runs_targets_of_the_makefile() -> None:
    text = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    jobs = yaml.safe_load(text)["jobs"]
    steps = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert all(step.startswith("make ") for step in steps)
    targets = {step.split()[1] for step in steps} - {"${{"}
    targets |= set(jobs["slow"]["strategy"]["matrix"]["target"])
    assert {"test", "study", "docs"} <= targets
    assert not [target for target in targets if not _recipe(target)]


def test_every_python_that_is_promised_is_tried() -> None:
    text = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    tried = yaml.safe_load(text)["jobs"]["test"]["strategy"]["matrix"]["python"]
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert tried == re.findall(r"Programming Language :: Python :: (3\.\d+)", project)


def test_the_image_is_made_by_the_makefile() -> None:
    steps = re.findall(
        r"^(?:RUN|CMD) .*", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert any("make install" in step for step in steps)
    assert steps[-1] == 'CMD ["make", "study"]'
