"""The marker ``fault`` and the table of faults that a run of the tests writes.

A test that provokes a fault says so with ``@pytest.mark.fault`` and tells what it saw through the
fixture ``observed``, which records it as a property of the test. ``--fault-report PATH`` gathers
the rows. A row whose test could not run here, as on a machine without a scheduler, keeps its last
text. The tests in ``packages/`` define the marker and the fixture themselves and run without this
module.
"""

import ast
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

__all__ = ["AREAS", "Row", "marked_titles", "read_report"]

ROOT = Path(__file__).parents[1]
TESTS = (ROOT / "tests", *sorted(ROOT.glob("packages/*/tests")))

AREAS = (
    "training",
    "files",
    "reruns",
    "two at once",
    "numbers",
    "hostile input",
    "cluster",
)

PREAMBLE = """\
# Faults

What was done to the study, what it did, and what was lost. Every row is a test; `make faults` runs
them all and writes this page from what they saw. A cluster's rows keep their last text where no
scheduler can be started.
"""


@dataclass(frozen=True, order=True)
class Row:
    """One fault: how it was provoked, what happened, what was lost, and the test's file."""

    title: str
    provoked: str
    happened: str
    lost: str
    test: str

    def markdown(self) -> str:
        """The row of the table."""
        # a cell is one line without a bar, whatever a message had in it
        cells = (self.title, self.provoked, self.happened, self.lost, self.test)
        return f"| {' | '.join(' '.join(cell.replace('|', '/').split()) for cell in cells)} |"


def marked_titles() -> set[str]:
    """First arguments of every ``pytest.mark.fault(…)`` in the tests' sources."""
    return {
        node.args[0].value
        for folder in TESTS
        for file in folder.rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func) == "pytest.mark.fault"
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    }


def read_report(path: Path) -> dict[str, list[Row]]:
    """Rows of a written report by their area; empty where there is none yet."""
    rows: dict[str, list[Row]] = defaultdict(list)
    area = ""
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        if line.startswith("## "):
            area = line.removeprefix("## ").lower()
        elif line.startswith("| ") and not line.startswith("| fault |"):
            rows[area].append(Row(*line.removeprefix("| ").removesuffix(" |").split(" | ")))
    return rows


def _text(rows: dict[str, list[Row]]) -> str:
    parts = [PREAMBLE]
    for area in AREAS:
        if rows.get(area):
            parts += [f"\n## {area.capitalize()}\n\n"]
            parts += ["| fault | how it is provoked | what happened | lost | test |\n"]
            parts += ["|---|---|---|---|---|\n"]
            parts += [f"{row.markdown()}\n" for row in sorted(rows[area])]
    return "".join(parts)


class FaultReport:
    """Gathers what the fault tests of a session saw, on whichever worker they ran."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: dict[tuple[str, str], list[tuple[bool, dict[str, str]]]] = defaultdict(list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep a test's outcome and what it observed; several texts are joined, each once."""
        said = dict.fromkeys(
            str(value) for name, value in report.user_properties if name == "observed"
        )
        for name, value in report.user_properties:
            if name == "fault" and (report.when == "call" or report.failed) and not report.skipped:
                assert isinstance(value, dict)
                fields = value | {"happened": "; ".join(said)}
                self.seen[fields.pop("area"), fields["title"]].append((report.passed, fields))

    def _row(self, outcomes: list[tuple[bool, dict[str, str]]]) -> Row:
        # the parameters of one test are one row; nothing is lost only if none failed
        happened = sorted({fields["happened"] for _, fields in outcomes} - {""})
        if not all(passed for passed, _ in outcomes):
            return Row(**outcomes[0][1] | {"happened": "**the test failed**", "lost": "?"})
        return Row(**outcomes[0][1] | {"happened": "; ".join(happened)})

    def pytest_sessionfinish(self) -> None:
        """Write the report: rows seen now, and old rows whose tests exist but did not run."""
        rows: dict[str, list[Row]] = defaultdict(list)
        for (area, _), outcomes in self.seen.items():
            rows[area].append(self._row(outcomes))
        # of all tests' sources, which take seconds to read
        others = marked_titles() - {title for _, title in self.seen}
        for area, old in read_report(self.path).items():
            rows[area] += [row for row in old if row.title in others]
        self.path.write_text(_text(rows), encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fault-report", type=Path, help="write the table of faults to this file")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "fault(title, area, provoked, lost='nothing'): a row of docs/faults.md"
    )
    path = config.getoption("--fault-report")
    if path is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(FaultReport(path), "fault-report-writer")


def _fields(title: str, *, area: str, provoked: str, lost: str = "nothing") -> dict[str, str]:
    if area not in AREAS:
        raise pytest.UsageError(f"fault {title!r}: area {area!r} is none of {', '.join(AREAS)}")
    return {"title": title, "area": area, "provoked": provoked, "lost": lost}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        marker = item.get_closest_marker("fault")
        if marker is not None:
            file = item.path.relative_to(ROOT).as_posix()
            row = _fields(*marker.args, **marker.kwargs)
            item.user_properties.append(("fault", row | {"test": f"[{file}](../{file})"}))


@pytest.fixture
def observed(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Function that records what happened after a fault."""
    return partial(record_property, "observed")
