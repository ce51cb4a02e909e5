"""Tolerances, column by column."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from kdlm.errors import InputError
from kdlm.reproduce.columns import first_difference
from kdlm.storage.parquet import write_table
from kdlm.study.config import parse
from kdlm.study.schemas import SCHEMAS
from kdlm.study.tolerances import TOLERANCES, Tolerance, Tolerances

LOOSE = {"mean": Tolerance(absolute=0.01, relative=0.1)}


def _means(path: Path, values: list[float | None], layer: str = "conv1") -> Path:
    rows: list[dict[str, Any]] = [
        {"seed": i, "layer": layer, "depth": 0, "kind": "convolution", "mean": value,
         "sd_over_images": 1.0, "rms": 1.0}
        for i, value in enumerate(values)
    ]  # fmt: skip
    write_table("means", rows, path, {})
    return path


def _difference(tmp_path: Path, one: list[float | None], other: list[float | None]) -> str | None:
    archived, rerun = _means(tmp_path / "0.parquet", one), _means(tmp_path / "1.parquet", other)
    return first_difference(archived, rerun, "means", LOOSE)


@pytest.mark.parametrize(("factor", "agrees"), [(1.0, True), (1.1, True), (1.12, False)])
def test_the_rms_of_a_column_decides(factor: float, agrees: bool, tmp_path: Path) -> None:
    values = [1.0, -2.0, 3.0]
    rms = np.sqrt(np.mean(np.square(values)))
    found = _difference(tmp_path, list(values), [value * factor for value in values])
    assert (found is None) == agrees == ((factor - 1) * rms <= 0.01 + 0.1 * rms)


def test_nulls_are_equal_to_nulls_alone(tmp_path: Path) -> None:
    assert _difference(tmp_path, [1.0, None], [1.0, None]) is None
    assert "null in one" in str(_difference(tmp_path, [1.0, None], [1.0, 1.0]))
    assert "null in one" in str(_difference(tmp_path, [1.0, 1.0], [1.0, None]))
    assert _difference(tmp_path, [None], [None]) is None


def test_a_column_without_a_tolerance_is_equal(tmp_path: Path) -> None:
    one, other = (
        _means(tmp_path / f"{layer}.parquet", [1.0], layer) for layer in ("conv1", "conv2")
    )
    assert "column layer differs" in str(first_difference(one, other, "means", LOOSE))
    assert "rows where there were" in str(_difference(tmp_path, [1.0], [1.0, 2.0]))


def test_a_history_is_judged_by_its_last_epoch(tmp_path: Path) -> None:
    paths = []
    for number, first in enumerate((0.1, 0.9)):
        rows = [
            {"epoch": epoch, "split": "test", "accuracy": accuracy}
            for epoch, accuracy in ((1, first), (2, 0.9))
        ]
        paths.append(tmp_path / f"{number}.parquet")
        write_table("history", rows, paths[-1], {})
    tight = {"accuracy": Tolerance(absolute=1e-9)}
    assert first_difference(paths[0], paths[1], "history", tight) is None


def test_every_number_that_a_job_writes_has_a_tolerance() -> None:
    numbers = {
        column
        for table in ("history", "logits", "means")
        for column, (kind, _, _) in SCHEMAS[table].items()
        if kind in ("float", "logits")
    }
    assert numbers == set(TOLERANCES)


def test_a_config_may_say_other_tolerances(config: dict[str, Any]) -> None:
    study = parse(config | {"tolerances": {"accuracy": {"absolute": 0.5}}})
    assert study.tolerances["accuracy"].absolute == 0.5
    assert study.tolerances["logits"] == TOLERANCES["logits"]
    for column in ("epoch", "acuracy"):
        with pytest.raises(InputError, match=f"tolerances.{column}: takes no tolerance"):
            parse(config | {"tolerances": {column: {"absolute": 1}}})
    with pytest.raises(ValidationError):
        TypeAdapter(Tolerances).validate_python({"accuracy": {"absolute": -1}})
