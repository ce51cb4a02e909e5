"""What reruns after an edit or an event: the rows of docs/reruns.md, each in a checkout of its own.

A row's test has the name that the page gives for it.
"""

import copy
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from kdlm.figures import FIGURES
from kdlm.study.config import parse
from kdlm.study.jobs import student_jobs

PAGE = Path(__file__).parents[2] / "docs/reruns.md"

Run = Callable[..., subprocess.CompletedProcess[str]]
Observed = Callable[[str], None]
Counts = Callable[..., dict[str, int]]

TRAINING = {"prepare_dataset", "train_teacher", "distill", "init_means"}
GATHERING = {"collect", "compare", "theory", "judge", "write_report"}
DRAWN_FROM_STUDENTS = {
    "figure_accuracy",
    "figure_distances",
    "figure_energy",
    "figure_gradient_limit",
    "figure_published_accuracies",
    "figure_routes",
    "figure_training_means",
}


@pytest.fixture
def to_do(snakemake: Run, checkout: Path) -> Counts:
    """Function that says how many jobs of each rule are to do, without doing them."""

    def counts(config: str = "tiny.yaml", *arguments: str) -> dict[str, int]:
        run = snakemake(checkout, "-n", "-q", "rules", "--configfile", config, *arguments)
        assert run.returncode == 0, run.stdout[-3000:]
        if "Nothing to be done" in run.stdout:
            return {}
        rows = re.findall(r"^(\w+) +(\d+)$", run.stdout, re.MULTILINE)
        found = {rule: int(count) for rule, count in rows if rule not in ("study", "total")}
        assert found, run.stdout[-3000:]
        return found

    return counts


def append(checkout: Path, module: str, text: str) -> None:
    with (checkout / "src/kdlm" / module).open("a", encoding="utf-8") as file:
        file.write(text)


def changed(checkout: Path, tiny: dict[str, Any], **arm: Any) -> int:
    """Write changed.yaml, with the first arm changed; the number of students that are new."""
    config = copy.deepcopy(tiny)
    config["arms"][0].update(arm)
    (checkout / "changed.yaml").write_text(yaml.safe_dump(config))
    return len(list(student_jobs(parse(config)))) - len(list(student_jobs(parse(tiny))))


def test_the_page_has_a_row_for_each_test() -> None:
    functions = {name for name in globals() if name.startswith("test_") and "page" not in name}
    assert set(re.findall(r"`(test_\w+)`", PAGE.read_text())) == functions


@pytest.mark.fault(
    "a figure's code edited", area="reruns", provoked="a line of code added to figures/accuracy.py"
)
def test_a_figure(checkout: Path, to_do: Counts, observed: Observed) -> None:
    append(checkout, "figures/accuracy.py", "UNUSED = 1\n")
    assert to_do() == {"figure_accuracy": 1, "write_report": 1}
    append(checkout, "figures/__init__.py", "UNUSED = 1\n")
    rules = (*(f"figure_{name}" for name in FIGURES), "write_report")
    assert to_do() == dict.fromkeys(rules, 1)
    observed("that figure is to be drawn, and the report that has it; nothing else")


@pytest.mark.fault("a loss edited", area="reruns", provoked="a line of code added to losses.py")
def test_a_loss(checkout: Path, tiny: dict[str, Any], to_do: Counts, observed: Observed) -> None:
    append(checkout, "losses.py", "UNUSED = 1\n")
    counts = to_do()
    assert counts["distill"] == len(list(student_jobs(parse(tiny))))
    assert set(counts) == {"distill"} | GATHERING | DRAWN_FROM_STUDENTS
    observed("students, theory and what follows; neither teachers nor initialisation means")


@pytest.mark.fault("a claim's code edited", area="reruns", provoked="a line added to claims/")
def test_a_claim(checkout: Path, to_do: Counts, observed: Observed) -> None:
    append(checkout, "claims/equations.py", "UNUSED = 1\n")
    assert to_do() == {"judge": 1, "figure_routes": 1, "write_report": 1}
    observed("the claims, the one figure that shows them, and the report")


@pytest.mark.parametrize("arm", [{"temperatures": [4, 8, float("inf")]}, {"seeds": [0, 1, 2]}])
@pytest.mark.fault(
    "a temperature or a seed added", area="reruns", provoked="one more in an arm of the config"
)
def test_a_temperature_or_seed_more(
    checkout: Path, tiny: dict[str, Any], to_do: Counts, observed: Observed, arm: dict[str, Any]
) -> None:
    new = changed(checkout, tiny, **arm)
    counts = to_do("changed.yaml")
    assert counts["distill"] == new > 0
    assert set(counts) & TRAINING == {"distill"}
    # a seed has views of its own; another temperature reads the answers that are there
    assert counts.get("answers", 0) == ("seeds" in arm)
    assert set(counts) >= {"resolve"} | GATHERING | DRAWN_FROM_STUDENTS
    observed("the new students, then tables, claims and figures; no student that was there")


@pytest.mark.fault(
    "a recipe changed", area="reruns", provoked="another learning rate in the config"
)
def test_a_recipe(checkout: Path, tiny: dict[str, Any], to_do: Counts, observed: Observed) -> None:
    recipe = tiny["recipes"]["short"] | {"learning_rate": 0.04}
    (checkout / "changed.yaml").write_text(yaml.safe_dump(tiny | {"recipes": {"short": recipe}}))
    counts = to_do("changed.yaml")
    assert counts["train_teacher"] == 1
    assert counts["distill"] == len(list(student_jobs(parse(tiny))))
    assert set(counts) >= {"resolve"} | GATHERING | DRAWN_FROM_STUDENTS
    assert not set(counts) & {"prepare_dataset", "init_means"}
    observed("the networks trained by it, and what follows")


def test_a_part_of_the_dataset(checkout: Path, tiny: dict[str, Any], to_do: Counts) -> None:
    dataset = tiny["dataset"] | {"train_images": 300}
    (checkout / "changed.yaml").write_text(yaml.safe_dump(tiny | {"dataset": dataset}))
    counts = to_do("changed.yaml")
    assert (counts["prepare_dataset"], counts["train_teacher"]) == (1, 1)
    assert counts["distill"] == len(list(student_jobs(parse(tiny))))
    assert set(counts) >= {"resolve"} | GATHERING | DRAWN_FROM_STUDENTS
    assert "init_means" not in counts


@pytest.mark.fault("a margin changed", area="reruns", provoked="another margin in the config")
def test_a_margin(checkout: Path, tiny: dict[str, Any], to_do: Counts, observed: Observed) -> None:
    margins = tiny["margins"] | {"trained": 0.2}
    (checkout / "changed.yaml").write_text(yaml.safe_dump(tiny | {"margins": margins}))
    counts = to_do("changed.yaml")
    assert not set(counts) & TRAINING
    assert set(counts) >= {"resolve", "judge"}
    observed("tables, claims and figures; nothing is trained")


@pytest.mark.parametrize("module", ["cli.py", "training/loop.py", "losses.py", "figures/style.py"])
@pytest.mark.fault(
    "a comment or a docstring edited",
    area="reruns",
    provoked="a comment, a blank line, a docstring; in an unrelated module and in one that trains",
)
def test_a_comment(checkout: Path, to_do: Counts, observed: Observed, module: str) -> None:
    file = checkout / "src/kdlm" / module
    lines = file.read_text().splitlines()
    assert lines[0].startswith('"""')
    lines[0] = '"""Now it says:' + lines[0].removeprefix('"""')
    middle = next(i for i, line in enumerate(lines) if line.startswith("    return"))
    lines[middle] += "  # what was asked for"
    lines.insert(middle, "\n    # a comment\n")
    file.write_text("\n".join(lines) + "\n")
    assert to_do() == {}
    observed("nothing to be done")


@pytest.mark.fault("the config reformatted", area="reruns", provoked="other order, style, comments")
def test_a_reformatted_config(
    checkout: Path, tiny: dict[str, Any], to_do: Counts, observed: Observed
) -> None:
    text = yaml.safe_dump(tiny, default_flow_style=True, sort_keys=False)
    (checkout / "changed.yaml").write_text(f"# the same study\n{text}")
    assert to_do("changed.yaml") == {}
    observed("nothing to be done")


@pytest.fixture
def archived(snakemake: Run, checkout: Path, tmp_path: Path) -> Path:
    """Folder with both archives of the checkout's study."""
    # the sources alone are under version control
    (checkout / ".gitignore").write_text("*\n")
    identity = ("-c", "user.name=A reviewer", "-c", "user.email=reviewer@example.org")
    for command in (
        ("init", "--quiet"), ("add", "--force", "Snakefile", "workflow", "src"),
        (*identity, "commit", "--quiet", "--message", "as it is"),
    ):  # fmt: skip
        subprocess.run(["git", *command], cwd=checkout, check=True)
    run = snakemake(
        checkout, "archive", "archive_with_weights", "--configfile", "tiny.yaml",
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-3000:]
    return (checkout / "results/tiny/archive").rename(tmp_path / "archives")


def restored(checkout: Path, archive: Path) -> None:
    """Make ``checkout`` a fresh clone with results of the archive: no metadata, any age."""
    shutil.rmtree(checkout / ".snakemake")
    shutil.rmtree(checkout / "results")
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(
            checkout, [name for name in opened.namelist() if name.startswith("results/")]
        )
    times = np.random.default_rng(0)
    for file in (checkout / "results").rglob("*"):
        age = times.uniform(1e9, 1.5e9)
        os.utime(file, (age, age))


@pytest.mark.slow
@pytest.mark.fault(
    "a fresh clone with the results restored",
    area="reruns",
    provoked="no .snakemake, every result's time at random, then `snakemake --touch --forceall`",
)
def test_a_fresh_clone(
    snakemake: Run, checkout: Path, archived: Path, to_do: Counts, observed: Observed
) -> None:
    for archive in ("tiny.zip", "tiny-with-weights.zip"):
        restored(checkout, archived / archive)
        # without the touch, times alone decide, and they say nothing
        assert to_do() != {}
        before = {file: file.read_bytes() for file in (checkout / "results").rglob("*.*")}
        run = snakemake(checkout, "--touch", "--forceall", "--configfile", "tiny.yaml")
        assert run.returncode == 0, run.stdout[-3000:]
        assert to_do() == {}, archive
        assert before == {file: file.read_bytes() for file in before}
    append(checkout, "losses.py", "UNUSED = 1\n")
    assert "distill" in to_do()
    observed("nothing to be done, no file rewritten; later edits are noticed again")


@pytest.mark.fault(
    "a teacher's file deleted while its students exist",
    area="reruns",
    provoked="model.safetensors of the teacher removed; then a seed added",
)
def test_a_teacher_deleted(
    checkout: Path, tiny: dict[str, Any], to_do: Counts, observed: Observed
) -> None:
    (model,) = (checkout / "results/tiny/teachers").rglob("model.safetensors")
    model.unlink()
    assert to_do() == {}
    changed(checkout, tiny, seeds=[0, 1, 2])
    counts = to_do("changed.yaml")
    assert counts["train_teacher"] == 1
    assert counts["distill"] > len(list(student_jobs(parse(tiny))))
    observed("nothing while nobody needs it; once a new student does, the teacher and its students")


@pytest.mark.slow
@pytest.mark.fault(
    "images changed, added, moved or removed",
    area="reruns",
    provoked="one image more, of another size, in another class's folder, gone; a hidden file; "
    "another time; the folder away and back",
)
def test_a_folder_of_images(
    snakemake: Run,
    tmp_path: Path,
    checkout: Path,
    tiny: dict[str, Any],
    to_do: Counts,
    observed: Observed,
) -> None:
    images = tmp_path / "pictures"
    random = np.random.default_rng(0)
    for split, label, number in product(("train", "test"), ("cat", "dog"), range(3)):
        path = images / split / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(256, size=(8, 8, 3), dtype=np.uint8)).save(path)
    dataset = {"name": "imagefolder", "root": str(images), "image_side": 8}
    config = tiny | {"study": "pictures", "dataset": dataset}
    (checkout / "pictures.yaml").write_text(yaml.safe_dump(config))
    target = ("--", "results/pictures/data/imagefolder.safetensors")

    def prepared() -> None:
        run = snakemake(checkout, "--configfile", "pictures.yaml", *target)
        assert run.returncode == 0, run.stdout[-3000:]
        assert to_do("pictures.yaml", *target) == {}

    def moved() -> None:
        (images / "train/cat/0.png").rename(images / "train/dog/9.png")

    prepared()
    for change in (
        lambda: shutil.copy(images / "train/cat/0.png", images / "train/cat/7.png"),
        lambda: Image.new("RGB", (20, 20)).save(images / "test/cat/1.png"),
        moved,
        (images / "train/dog/1.png").unlink,
    ):
        change()
        assert to_do("pictures.yaml", *target) == {"prepare_dataset": 1}
        prepared()
    (images / "train/cat/.DS_Store").touch()
    os.utime(images / "train/cat/1.png", (1, 1))
    assert to_do("pictures.yaml", *target) == {}
    # as a disk that is not mounted: nothing is thrown away on its account
    images.rename(tmp_path / "away")
    assert to_do("pictures.yaml", *target) == {}
    (tmp_path / "away").rename(images)
    assert to_do("pictures.yaml", *target) == {}
    # a folder that cannot be listed stops a run before any job; inside a job nothing is listed
    (images / "train/cat/loop").symlink_to(images)
    command = ("-n", "--configfile", "pictures.yaml", *target)
    run = snakemake(checkout, *command)
    assert run.returncode == 1
    assert f"{images}/train/cat/loop links to a folder that it is in" in run.stdout
    assert "Traceback" not in run.stdout
    assert snakemake(checkout, "--mode", "subprocess", *command).returncode == 0
    observed("the dataset is prepared anew, then what follows; nothing for the last three")


@pytest.mark.fault("a table deleted", area="reruns", provoked="tables/runs.parquet removed")
def test_a_table_deleted(checkout: Path, to_do: Counts, observed: Observed) -> None:
    (checkout / "results/tiny/tables/runs.parquet").unlink()
    # what is final is there: nobody needs the table
    assert to_do() == {}
    (checkout / "results/tiny/claims.parquet").unlink()
    counts = to_do()
    assert {"collect", "judge"} <= set(counts)
    assert not set(counts) & TRAINING
    observed("nothing while nobody needs it; then it is gathered anew, and nothing is trained")


@pytest.mark.fault(
    "study.json deleted",
    area="reruns",
    provoked="the resolved config removed; then a temperature added",
)
def test_study_json_deleted(
    checkout: Path, tiny: dict[str, Any], to_do: Counts, observed: Observed
) -> None:
    (checkout / "results/tiny/study.json").unlink()
    assert to_do() == {}
    new = changed(checkout, tiny, temperatures=[4, 8, float("inf")])
    counts = to_do("changed.yaml")
    assert {rule: counts[rule] for rule in set(counts) & TRAINING} == {"distill": new}
    assert counts["resolve"] == 1
    observed(
        "nothing while nobody needs it; then it is written anew, and nothing old is trained again"
    )


@pytest.mark.slow
@pytest.mark.fault(
    "snakemake killed by SIGKILL",
    area="reruns",
    provoked="`kill -9` of snakemake and its jobs once two of three missing students are done",
)
def test_a_killed_run(
    snakemake: Run, checkout: Path, pristine: Path, to_do: Counts, observed: Observed
) -> None:
    students = sorted((checkout / "results/tiny/students").rglob("run.json"))[:3]
    for run_file in students:
        shutil.rmtree(run_file.parent)
    for table in (checkout / "results/tiny/tables").iterdir():
        table.unlink()
    (checkout / "results/tiny/claims.parquet").unlink()
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--nolock",
               "--configfile", "tiny.yaml"]  # fmt: skip
    env = os.environ | {"PYTHONPATH": str(checkout / "src")}
    with subprocess.Popen(
        command, cwd=checkout, env=env, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            # two have their files: of one at least Snakemake knows that it is done
            while sum(file.exists() for file in students) < 2:
                assert process.poll() is None, "it ended before it could be killed"
                time.sleep(0.1)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    assert 1 <= to_do("tiny.yaml", "--rerun-incomplete")["distill"] <= 2
    run = snakemake(checkout, "--rerun-incomplete", "--nolock", "--configfile", "tiny.yaml")
    assert run.returncode == 0, run.stdout[-3000:]
    for name in ("claims", "tables/runs", "tables/comparisons"):
        file = f"results/tiny/{name}.parquet"
        assert (checkout / file).read_bytes() == (pristine / file).read_bytes()
    observed("the same command again trains the missing students only; tables equal bit for bit")
