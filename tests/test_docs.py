"""What the documentation prints runs as printed, and says what it is said to say."""

import doctest
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kdlm.storage.parquet import read_table
from kdlm.tables.accuracies import accuracies

README = Path(__file__).parents[1] / "README.md"
DOCS = Path(__file__).parents[1] / "docs"
SESSIONS = [
    pytest.param(
        block.group(1), id=f"{page.stem}:{page.read_text()[: block.start()].count(chr(10))}"
    )
    for page in sorted(DOCS.glob("*.md"))
    for block in re.finditer(r"^```pycon\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
]


def test_there_are_sessions() -> None:
    assert len(SESSIONS) >= 8


@pytest.mark.parametrize("session", SESSIONS)
def test_a_session_prints_what_it_says(session: str) -> None:
    example = doctest.DocTestParser().get_doctest(session, {}, "session", None, 0)
    printed: list[str] = []
    assert doctest.DocTestRunner().run(example, out=printed.append).failed == 0, "".join(printed)


@pytest.fixture(scope="module")
def beside(record: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the commands of the README find the archived study and Python."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(record, folder / "results/digits")
    python = folder / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return folder


def ran(command: str, folder: Path) -> str:
    run = subprocess.run(
        ["/bin/bash", "-c", command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(README.parent / "src"), "PYTHONUTF8": "1"},
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def _reading() -> list[str]:
    """The blocks of commands in the README's section on reading the results."""
    section = README.read_text().split("## Reading the results")[1].split("\n## ")[0]
    return re.findall(r"^```\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def test_the_commands_of_the_readme_run_as_printed(beside: Path) -> None:
    commands, _ = _reading()
    lines = commands.splitlines()
    assert len(lines) >= 4
    printed = [ran(line, beside) for line in lines]
    assert all(printed)
    assert "equal-means: " in printed[1]
    assert ",refuted," in printed[2]
    assert ",supported," not in printed[2]
    assert "last_accuracy" in printed[3]


def test_the_query_of_the_readme_has_the_accuracies_at_its_top(beside: Path) -> None:
    """It compares students of the same teacher and seeds, as the accuracies of the study do."""
    _, query = _reading()
    rows = [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in ran(query, beside).splitlines()
        if line.startswith("│")
    ]
    found = {tuple(row[:2]): (float(row[2]), int(row[3])) for row in rows[2:]}
    known = accuracies(read_table(beside / "results/digits/tables/runs.parquet", "runs"))
    assert len(known) == 5
    for one in known:
        names = {"CE,": "ce", "centred": "centred-lm", "LM": "lm"}
        loss = names.get(one.label.split()[0], "kd")
        best = re.search(r"T = (\w+)", one.label)
        temperature = {"ce": "1.0", "kd": best[1] if best else ""}.get(loss, "inf")
        temperature += "" if temperature in ("1.0", "inf") else ".0"
        accuracy, seeds = found[loss, temperature]
        assert accuracy == pytest.approx(100 * one.mean, abs=0.006)
        assert seeds == one.n


def test_the_readme_links_to_what_is_there() -> None:
    page = README.read_text()
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert len(links) > 10
    headings = {
        re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in page.splitlines()
        if line.startswith("#")
    }
    for link in links:
        if link.startswith("#"):
            assert link[1:] in headings, link
        elif not link.startswith("https://"):
            assert (README.parent / link).exists(), link
