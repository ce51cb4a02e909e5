"""What Snakemake prints where the user has something to mend: lines of ours, and nothing else."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kdlm.storage.locks import acquire_folder

Run = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).parents[2]


def lines(run: subprocess.CompletedProcess[str]) -> list[str]:
    """What a refused run printed; neither a traceback nor a place in a rule file."""
    assert run.returncode == 1, run.stdout[-3000:]
    for word in ("Traceback", "common.smk", "WorkflowError", "InputError", "File "):
        assert word not in run.stdout
    return [line for line in run.stdout.splitlines() if line.strip()]


def test_a_misspelt_key_is_one_line_that_names_the_file(
    snakemake: Run, tmp_path: Path, config: dict[str, Any]
) -> None:
    config["recipies"] = config.pop("recipes")
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(config))
    told = lines(snakemake(tmp_path, "-n", "--configfile", "my.yaml"))
    assert told == ["my.yaml: recipies: unknown key; did you mean 'recipes'?"]


def test_every_problem_is_a_line(snakemake: Run, tmp_path: Path, config: dict[str, Any]) -> None:
    config |= {"threads": None, "device": "CPU", "study": "a b\x1b[31m"}
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/my.yaml").write_text(yaml.safe_dump(config))
    told = lines(snakemake(tmp_path, "-n", "--configfile", "folder/my.yaml"))
    assert [line.split(": ")[:2] for line in told] == [
        ["folder/my.yaml", "study"], ["folder/my.yaml", "device"], ["folder/my.yaml", "threads"],
    ]  # fmt: skip
    assert "\x1b" not in "".join(told)


def test_a_repeated_key_is_one_line(snakemake: Run, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("study: a\nstudy: b\n")
    (line,) = lines(snakemake(tmp_path, "-n", "--configfile", "my.yaml"))
    assert line.startswith("my.yaml, line 2: the key 'study' is given twice")


def test_a_config_of_several_files_names_them(
    snakemake: Run, tmp_path: Path, config: dict[str, Any]
) -> None:
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "other.yaml").write_text("threads: two\n")
    told = lines(snakemake(tmp_path, "-n", "--configfile", "one.yaml", "other.yaml"))
    assert told == ["one.yaml, other.yaml: threads: a whole number is needed, not 'two'"]


def test_a_study_that_is_held_is_one_line_beside_what_snakemake_says(
    snakemake: Run, tmp_path: Path, config: dict[str, Any]
) -> None:
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(config))
    with acquire_folder(tmp_path / "results/tiny"):
        run = snakemake(
            tmp_path, "--nolock", "--configfile", "my.yaml", "--", "results/tiny/study.json"
        )
    (line,) = [one for one in lines(run) if "being worked on" in one]
    assert line.startswith(f"results/tiny is being worked on by process {os.getpid()} on ")
    assert not (tmp_path / "results/tiny/study.json").exists()


@pytest.mark.parametrize("missing", ["kdlm", "pandas"])
def test_outside_the_environment_there_is_one_line_of_advice(
    tmp_path: Path, config: dict[str, Any], missing: str
) -> None:
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(config))
    # without the package's folder there is none of its plugins either
    code = (
        f"import sys; from pathlib import Path; sys.modules[{missing!r}] = None; "
        f"holds = lambda one: {missing!r} == 'kdlm' and Path(one, 'kdlm').is_dir(); "
        "sys.path = [one for one in sys.path if not holds(one)]; "
        "from snakemake.cli import main; main()"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, "-n", "--snakefile", ROOT / "Snakefile", "--configfile",
         "my.yaml"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    (line,) = lines(run)
    assert line.startswith(f"Module {missing!r} is not installed for {sys.executable}: run `make")
