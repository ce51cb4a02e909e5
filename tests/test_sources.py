"""Which edit reruns which jobs."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdlm import sources
from kdlm.figures import FIGURES
from kdlm.study.schemas import SCHEMA_VERSION

RULES = sources.PACKAGE.parents[1] / "workflow/rules"


def _declared() -> dict[str, str]:
    """The module whose digest each rule declares, by the rule's name."""
    found = {}
    for file in sorted(RULES.glob("*.smk")):
        for rule in re.split(r"^(?=(?:use )?rule )", file.read_text(), flags=re.MULTILINE)[1:]:
            name = re.match(r"(?:use rule \w+ as |rule )(\w+)", rule)
            if name and (module := re.search(r'digest\("([\w.]+)"\)', rule)):
                found[name[1]] = module[1]
    return found | {f"figure_{figure}": f"kdlm.figures.{figure}" for figure in FIGURES}


DECLARED = _declared()
"""Modules by rule. The rule `resolve` has none: its parameter is its whole result."""

COMMANDS = {
    "prepare_dataset": "prepare",
    "train_teacher": "train-teacher",
    "bring_teacher": "bring-teacher",
    "answers": "answers",
    "distill": "distill",
    "init_means": "init-means",
    "summarise_init_means": "summarise",
    "theory": "theory",
    "collect": "collect",
    "compare": "compare",
    "judge": "judge",
    "write_report": "report",
    "snakemake_report": "snakemake-report",
    "archive": "archive",
    "archive_with_weights": "archive",
    **{f"figure_{figure}": "figure" for figure in FIGURES},
}


def test_every_rule_that_runs_a_command_declares_its_sources() -> None:
    assert set(DECLARED) == set(COMMANDS)


@pytest.mark.parametrize("rule", COMMANDS)
def test_a_command_calls_nothing_but_what_its_rule_declares(rule: str) -> None:
    handlers = {
        node.name: node
        for node in ast.parse((sources.PACKAGE / "cli.py").read_text()).body
        if isinstance(node, ast.FunctionDef)
    }
    handler = handlers[f"_{COMMANDS[rule].replace('-', '_')}"]
    called = {
        node.module or ""
        for node in ast.walk(handler)
        if isinstance(node, ast.ImportFrom) and not sources.exempt(node.module or "")
    }
    assert called
    assert called <= sources.closure(DECLARED[rule])


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the package that digests are taken of."""
    package = shutil.copytree(sources.PACKAGE, tmp_path / "src/kdlm")
    monkeypatch.setattr(sources, "PACKAGE", package)
    yield package
    _forget()


def _forget() -> None:
    for cached in (sources.closure, sources._read, sources.digest):
        cached.cache_clear()


def _digests() -> dict[str, str]:
    _forget()
    return {rule: sources.digest(module) for rule, module in DECLARED.items()}


def _edit(package: Path, module: str) -> None:
    path = package.parent.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    with file.open("a") as opened:
        opened.write("EDITED = 1\n")


@pytest.mark.parametrize("module", sorted(set(DECLARED.values())))
def test_an_edit_of_a_jobs_code_changes_the_digest_of_its_rule_alone(
    copy: Path, module: str
) -> None:
    before = _digests()
    _edit(copy, module)
    after = _digests()
    changed = {rule for rule in DECLARED if before[rule] != after[rule]}
    # the page words the claims as the package of the claims does
    own = {"write_report"} if module == "kdlm.claims" else set()
    assert changed == own | {rule for rule, declared in DECLARED.items() if declared == module}


@pytest.mark.parametrize("name", ["page.html", "style.css", "page.js"])
def test_an_edit_of_the_pages_parts_writes_the_page_again(copy: Path, name: str) -> None:
    before = _digests()
    with (copy / "report" / name).open("a") as opened:
        opened.write(" ")
    after = _digests()
    assert {rule for rule in DECLARED if before[rule] != after[rule]} == {"write_report"}


def test_a_loss_reruns_students_and_theory_only(copy: Path) -> None:
    before = _digests()
    _edit(copy, "kdlm.losses")
    after = _digests()
    assert {rule for rule in DECLARED if before[rule] != after[rule]} == {"distill", "theory"}


def test_what_a_spec_or_the_schema_version_says_is_no_source(copy: Path) -> None:
    before = _digests()
    for module in ("cli", "errors", "signals", "study.config", "study.names", "storage.files"):
        _edit(copy, f"kdlm.{module}")
    assert _digests() == before


def test_a_figure_belongs_to_itself_alone() -> None:
    for module in DECLARED.values():
        drawn = {name for name in sources.closure(module) if name.startswith("kdlm.figures.")}
        assert drawn <= {module, "kdlm.figures.style"}


def test_what_draws_every_figure_belongs_to_each() -> None:
    for figure in FIGURES:
        assert "kdlm.figures" in sources.closure(f"kdlm.figures.{figure}")


def test_what_training_runs_is_declared() -> None:
    expected = {
        "training.loop", "training.optimizers", "data.augmentation", "data.prepared",
        "networks.resnet", "networks.initialisation",
    }  # fmt: skip
    assert {f"kdlm.{name}" for name in expected} <= sources.closure("kdlm.training.teachers")


@pytest.mark.parametrize(
    "stage", ["kdlm.training.students", "kdlm.networks.init_means", "kdlm.figures.distances"]
)
def test_the_closure_holds_every_module_that_is_really_imported(stage: str) -> None:
    code = f"import sys, {stage}; print(*(m for m in sys.modules if m.startswith('kdlm.')))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = {name for name in run.stdout.split() if not sources.exempt(name)}
    # modules that a function imports when it is called are in the closure as well
    assert imported <= set(sources.closure(stage))


def test_the_exempt_hold_no_arithmetic_on_tensors() -> None:
    files = [sources.PACKAGE / f"{name}.py" for name in ("cli", "errors", "signals", "sources")]
    files += [
        *(sources.PACKAGE / "study").glob("*.py"),
        *(sources.PACKAGE / "storage").glob("*.py"),
    ]
    # the device's name and the threads go into run.json
    for path in set(files) - {sources.PACKAGE / "storage/provenance.py"}:
        imported = {
            name.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import)
            for name in node.names
        }
        assert not imported & {"torch", "numpy"}, path


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
    assert sources._read(other).code == sources._read(plain).code == plain.read_text()


def test_a_blank_line_or_a_hash_inside_a_string_is_code(tmp_path: Path) -> None:
    file = tmp_path / "file.py"
    file.write_text('x = """a\n\n# b"""\ny = "#"\n')
    assert sources._read(file).code == file.read_text()


def test_another_version_of_the_schemas_changes_every_digest(
    copy: Path,  # noqa: ARG001 - its caches are forgotten afterwards
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = _digests()
    monkeypatch.setattr(sources, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    after = _digests()
    assert all(before[rule] != after[rule] for rule in DECLARED)
