"""`kdlm table`: the rows and columns asked for, and known names where one is wrong."""

import csv
import io
import json
import math
from pathlib import Path

import pandas as pd
import pytest

from kdlm.cli import main
from kdlm.storage.parquet import read_table
from kdlm.study.schemas import SCHEMAS, TABLES, table_path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert main(["table", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert main(["table", *map(str, arguments)]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


@pytest.fixture(scope="module")
def runs(record: Path) -> pd.DataFrame:
    return read_table(record / "tables/runs.parquet", "runs")


def test_csv_is_the_whole_table(
    record: Path, runs: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = list(csv.DictReader(io.StringIO(printed(capsys, "runs", record, "--format", "csv"))))
    assert list(rows[0]) == list(SCHEMAS["runs"])
    for column in ("last_accuracy", "temperature"):
        found = [float(row[column] or "nan") for row in rows]
        assert found == pytest.approx(runs[column].tolist(), nan_ok=True, abs=0)
    assert [row["loss"] for row in rows] == runs["loss"].fillna("").tolist()


def test_rows_and_columns_are_chosen(
    record: Path, runs: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--where", "loss=kd", "--where", "loss=lm", "--where", "temperature=inf",
               "--columns", "seed,loss", "--columns", "temperature"]  # fmt: skip
    found = json.loads(printed(capsys, "runs", record, *options, "--format", "json"))
    chosen = runs[runs["loss"].isin(["kd", "lm"]) & (runs["temperature"] == math.inf)]
    expected = chosen[["seed", "loss"]].to_dict("records")
    assert found == [row | {"temperature": "inf"} for row in expected]
    lines = printed(capsys, "runs", record, *options, "--format", "markdown").splitlines()
    assert lines[0] == "| seed | loss | temperature |"
    assert len(lines) == 2 + len(chosen)


def test_an_empty_value_is_null(record: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--where", "loss=", "--columns", "role", "--format", "csv"]
    assert set(printed(capsys, "runs", record, *options).split()[1:]) == {"teacher"}


@pytest.mark.parametrize("columns", [60, 80, 110, 200])
@pytest.mark.parametrize("name", ["runs", "comparisons", "histories", "claims"])
def test_a_terminal_gets_the_columns_that_fit(
    record: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
    name: str,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = printed(capsys, name, record).splitlines()
    assert max(map(len, lines)) <= columns
    rows = read_table(record / ("claims.parquet" if name == "claims" else table_path(name)), name)
    told = " ".join(lines)
    assert f"{len(rows)} rows of table {name}" in told
    heads = [word for word in lines[1].split() if word in SCHEMAS[name]]
    assert len(heads) >= 3
    for column in set(SCHEMAS[name]) - set(heads):
        assert column in told.split("rows of table")[1] or rows[column].isna().all()
    if len(rows) > 1000:
        assert "the first 1000 are shown" in told


def test_what_is_the_same_in_all_rows_is_said_once(
    record: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    out = printed(capsys, "runs", record, "--where", "loss=ce", "--where", "recipe=student")
    head, notes = out.split("rows of table")
    assert "loss ce" in notes
    assert "ce" not in head.split()
    assert "last_accuracy" in head


def test_a_wrong_name_is_answered_with_the_known_ones(
    record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, "rums", record)
    assert "rums: no such table; did you mean runs? known: " in said
    assert all(name in said for name in (*TABLES, "claims"))
    said = refused(capsys, "runs", record, "--columns", "seed,los")
    assert "no column 'los'; did you mean loss? known: role, " in said
    assert "write it as key=value" in refused(capsys, "runs", record, "--where", "loss")
    said = refused(capsys, "runs", record, "--where", "los=kd")
    assert "no column 'los'; did you mean loss?" in said
    said = refused(capsys, "runs", record, "--where", "loss=kdd")
    assert "--where loss=kdd: no such row; known: ce, centred-lm, kd, " in said
    said = refused(capsys, "runs", record, "--where", "temperature=5")
    assert "known: 1, 4, 16, 64, " in said
    said = refused(capsys, "runs", record, "--where", "temperature=hot")
    assert "temperature is a number" in said
    said = refused(capsys, "comparisons", record, "--where", "logits_share=5")
    assert " and " in said
    assert " more" in said


def test_a_missing_table_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "runs.parquet is missing" in refused(capsys, "runs", tmp_path)
