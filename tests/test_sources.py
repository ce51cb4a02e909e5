"""Which edit reruns which jobs."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kdlm import sources
from kdlm.figures import FIGURES

DISTILLATION = {"kdlm.losses", "kdlm.students"}
STAGES = {
    "kdlm.teachers",
    "kdlm.students",
    "kdlm.init_means",
    "kdlm.measure",
    "kdlm.collect",
    "kdlm.claims",
    "kdlm.data",
    *(f"kdlm.figures.{path.stem}" for path in (sources.PACKAGE / "figures").glob("[a-r]*.py")),
}


def test_a_loss_reruns_students_and_theory_only() -> None:
    having = {stage for stage in STAGES if "kdlm.losses" in sources.closure(stage)}
    assert having == {"kdlm.students", "kdlm.measure"}


def test_a_figure_belongs_to_itself_alone() -> None:
    for stage in STAGES:
        drawn = {name for name in sources.closure(stage) if name.startswith("kdlm.figures.")}
        assert drawn <= {stage, "kdlm.figures.style"}


def test_what_draws_every_figure_belongs_to_each() -> None:
    for figure in FIGURES:
        assert "kdlm.figures" in sources.closure(f"kdlm.figures.{figure}")


def test_a_loader_retrains_nothing() -> None:
    assert "kdlm.data" not in sources.closure("kdlm.teachers") | sources.closure("kdlm.students")


def test_what_training_runs_is_declared() -> None:
    expected = {"training", "optimizers", "augmentation", "prepared", "resnet", "initialisation"}
    assert {f"kdlm.{name}" for name in expected} <= sources.closure("kdlm.teachers")


@pytest.mark.parametrize("stage", ["kdlm.teachers", "kdlm.students", "kdlm.init_means"])
def test_the_closure_holds_every_module_that_is_really_imported(stage: str) -> None:
    code = f"import sys, {stage}; print(*(m for m in sys.modules if m.startswith('kdlm.')))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(run.stdout.split())
    assert imported - sources.EXEMPT == set(sources.closure(stage))


def test_the_exempt_hold_no_arithmetic_on_tensors() -> None:
    for module in sources.EXEMPT - {"kdlm.provenance"}:
        path = sources.PACKAGE / f"{module.removeprefix('kdlm.')}.py"
        imported = {
            name.name
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.Import)
            for name in node.names
        }
        assert not imported & {"torch", "numpy"}, module


def test_an_edit_changes_the_digest_of_its_stages_alone(tmp_path: Path) -> None:
    copy = tmp_path / "src"
    shutil.copytree(sources.PACKAGE.parent, copy)

    def digests() -> list[str]:
        code = (
            "from kdlm.sources import digest;"
            "print(digest('kdlm.teachers'), digest('kdlm.students'), digest('kdlm.claims'))"
        )
        run = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONPATH": str(copy), "PATH": ""},
        )
        return run.stdout.split()

    before = digests()
    with (copy / "kdlm/losses.py").open("a") as file:
        file.write("EDITED = 1\n")
    after = digests()
    assert before[0] == after[0]
    assert before[1] != after[1]
    assert before[2] == after[2]


@pytest.mark.parametrize(
    "text",
    [
        '"""Another."""\n\ndef f(x: str) -> str:\n    """What."""\n    return f"{x}#"  # why\n',
        'def f(x: str) -> str:\n\n    # how\n\n    return f"{x}#"\n\n\n',
    ],
)
def test_what_is_said_about_the_code_is_not_the_code(tmp_path: Path, text: str) -> None:
    plain, other = tmp_path / "plain.py", tmp_path / "other.py"
    plain.write_text('def f(x: str) -> str:\n    return f"{x}#"\n')
    other.write_text(text)
    assert sources._code(other) == sources._code(plain) == plain.read_text()


def test_a_blank_line_or_a_hash_inside_a_string_is_code(tmp_path: Path) -> None:
    file = tmp_path / "file.py"
    file.write_text('x = """a\n\n# b"""\ny = "#"\n')
    assert sources._code(file) == file.read_text()
