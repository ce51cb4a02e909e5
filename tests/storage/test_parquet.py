"""Tables on disk: schemas, equal bytes, whole files."""

import math
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from kdlm.errors import InputError
from kdlm.storage.files import replacing
from kdlm.storage.parquet import read_spec, read_table, write_table
from kdlm.study.schemas import SCHEMAS

ROW = {"epoch": 1, "split": "test", "objective": 0.5, "gap": math.nan}


def test_columns_carry_unit_and_meaning(tmp_path: Path) -> None:
    path = tmp_path / "history.parquet"
    write_table("history", [ROW], path, {"seed": 3})
    schema = pq.read_schema(path)
    assert schema.names == list(SCHEMAS["history"])
    assert schema.field("gap").metadata[b"unit"] == b"logit"
    assert b"c^s - c^t" in schema.field("gap").metadata[b"meaning"]
    assert read_spec(path) == {"seed": 3}


def test_every_column_of_every_table_is_described() -> None:
    for name, columns in SCHEMAS.items():
        for column, (_, unit, meaning) in columns.items():
            assert unit, f"{name}.{column}"
            assert meaning, f"{name}.{column}"


def test_no_file_of_the_tree_has_a_column_named_as_a_key_of_its_folder() -> None:
    keys = {"teacher", "architecture", "initialisation", "recipe", "loss", "temperature"}
    for name in ("history", "logits"):
        assert not keys & set(SCHEMAS[name])


def test_nan_and_missing_columns_are_null(tmp_path: Path) -> None:
    path = tmp_path / "history.parquet"
    write_table("history", [ROW], path)
    table = pq.read_table(path)
    assert table["gap"].null_count == 1
    assert table["accuracy"].null_count == 1
    assert table["objective"].to_pylist() == [0.5]


def test_equal_rows_are_equal_bytes(tmp_path: Path) -> None:
    write_table("history", [ROW], tmp_path / "a.parquet", {"b": 1, "a": 2})
    write_table("history", pd.DataFrame([ROW]), tmp_path / "b.parquet", {"a": 2, "b": 1})
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_an_unknown_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="history has no column colour"):
        write_table("history", [ROW | {"colour": 1}], tmp_path / "x.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"nonsense" * 100])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "runs.parquet"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"runs\.parquet.*delete it and run snakemake again"):
        read_table(path, "runs")


def test_another_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write_table("history", [ROW], path)
    with pytest.raises(InputError, match="not a table 'claims'"):
        read_table(path, "claims")
