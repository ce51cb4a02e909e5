"""The list of faults fits the code: else `make mutants` would try less than it says."""

import ast
from pathlib import Path

import pytest

from tests.mutants.faults import Fault, faults, read

ROOT = Path(__file__).parents[1]
FAULTS = faults()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.area}: {fault.says}")
def test_every_fault_can_be_put_in(fault: Fault) -> None:
    source = (ROOT / fault.file).read_text(encoding="utf-8")
    changed = fault.applied(source)
    assert changed != source
    if fault.file.endswith(".py"):
        # another program, and one that can be read
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source))
    for test in fault.tests:
        path, _, names = test.partition("::")
        assert (ROOT / path).exists(), test
        if names:
            assert f"def {names.partition('[')[0]}(" in (ROOT / path).read_text(encoding="utf-8")


def test_no_fault_is_listed_twice() -> None:
    assert len({(fault.file, fault.old, fault.new) for fault in FAULTS}) == len(FAULTS)
    assert len({(fault.area, fault.says) for fault in FAULTS}) == len(FAULTS)


def test_every_area_of_the_study_is_tried() -> None:
    assert {fault.area for fault in FAULTS} == {
        "archive", "claims", "data", "executor", "figures", "losses", "networks", "reproduce",
        "storage", "study", "tables", "theory", "training", "workflow",
    }  # fmt: skip
    assert all(fault.says for fault in FAULTS)


@pytest.mark.parametrize("times", [0, 2])
def test_a_text_that_is_not_there_once_is_refused(times: int) -> None:
    fault = Fault("losses", "a.py", "x + 1", "x - 1", "a sum", ())
    with pytest.raises(ValueError, match=f"there {times} times"):
        fault.applied("y = x + 1\n" * times)


def test_a_key_that_is_unknown_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "losses.toml"
    path.write_text('tests = ["a"]\n[[fault]]\nsays = "s"\nfile = "f"\nold = "o"\nnwe = "n"\n')
    with pytest.raises(ValueError, match=r"losses\.toml: 's'"):
        read(path)
