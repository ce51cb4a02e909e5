"""The page of faults has a row for every fault test, and no other."""

from pathlib import Path
from typing import Literal

import pytest

from tests.fault_report import FaultReport, Row, marked_titles, read_report

PAGE = Path(__file__).parents[1] / "docs/faults.md"


def finished(title: str, happened: str, outcome: Literal["passed", "failed"]) -> pytest.TestReport:
    row = {"title": title, "area": "files", "provoked": "by a | b", "lost": "nothing", "test": "t"}
    return pytest.TestReport(
        title, ("", None, ""), {}, outcome, None, "call",
        user_properties=[("fault", row), ("observed", happened), ("observed", happened)],
    )  # fmt: skip


def test_the_page_has_every_fault_and_no_other() -> None:
    rows = [row for rows in read_report(PAGE).values() for row in rows]
    assert len(rows) == len({row.title for row in rows})
    assert {row.title for row in rows} == marked_titles(), "run `make faults`"
    for row in rows:
        assert row.happened, f"{row.title}: its test calls observed() with nothing"
        assert row.lost == "nothing", row.title


def test_a_row_of_a_fault_that_did_not_run_is_kept(tmp_path: Path) -> None:
    kept = sorted(marked_titles())[0]
    page = tmp_path / "faults.md"
    for title in (kept, "no test has this title"):
        report = FaultReport(page)
        report.pytest_runtest_logreport(finished(title, f"{title}: fine", "passed"))
        report.pytest_sessionfinish()
    FaultReport(page).pytest_sessionfinish()
    assert read_report(page) == {"files": [Row(kept, "by a / b", f"{kept}: fine", "nothing", "t")]}


def test_parameters_of_one_test_are_one_row_which_fails_with_any(tmp_path: Path) -> None:
    report = FaultReport(tmp_path / "faults.md")
    for happened in ("second", "first", "first"):
        report.pytest_runtest_logreport(finished("x", happened, "passed"))
    report.pytest_sessionfinish()
    (row,) = read_report(report.path)["files"]
    assert row.happened == "first; second"
    report.pytest_runtest_logreport(finished("x", "", "failed"))
    report.pytest_sessionfinish()
    (row,) = read_report(report.path)["files"]
    assert row.happened == "**the test failed**"
