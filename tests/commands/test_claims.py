"""`kdlm claims`: the sentences first, then a table as wide as the terminal."""

import csv
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from kdlm.claims import decide
from kdlm.claims.answer import answers
from kdlm.claims.shown import shown_claims
from kdlm.cli import main
from kdlm.storage.parquet import write_table
from tests.claims.world import EVIDENCE, without


@pytest.fixture(scope="module")
def claims() -> pd.DataFrame:
    return decide(EVIDENCE)


@pytest.fixture(scope="module")
def folder(claims: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("study")
    write_table("claims", claims, made / "claims.parquet")
    write_table("runs", EVIDENCE.runs, made / "tables/runs.parquet")
    return made


def printed(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def joined(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("columns", [40, 80, 110, 200])
def test_sentences_then_a_table_as_wide_as_the_terminal(
    folder: Path,
    claims: pd.DataFrame,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    out = printed(capsys, "claims", folder)
    lines = out.splitlines()
    assert max(map(len, lines)) <= columns
    head, table = out.split(" verdict ", 1)
    for answer in answers(claims):
        assert joined(answer.text) in joined(head)
        assert joined(answer.question) in joined(head)
    assert "IF every single image's mean logit is zero" in joined(head)
    verdicts = [word for word in table.split() if word in claims["verdict"].unique()]
    assert verdicts == claims["verdict"].tolist() or columns < 80
    if columns >= 110:
        assert max(map(len, lines)) > columns - 3
        for row in shown_claims(claims):
            (line,) = [line for line in table.splitlines() if f" {row.key} " in line]
            assert row.verdict in line
            assert f" {row.n} " in line


def test_each_undecided_row_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    claims = decide(without("identities", claim=["b3", "eq1"])(EVIDENCE))
    write_table("claims", claims, tmp_path / "claims.parquet")
    out = printed(capsys, "claims", tmp_path, "--verdict", "inconclusive")
    undecided = [row for row in shown_claims(claims) if row.verdict == "inconclusive"]
    assert {row.id for row in undecided} == {"b3", "eq1"}
    for row in undecided:
        assert row.key in out
        assert f"why: {row.reason}" in joined(out)
    assert "supported" not in out
    assert "Is KD" not in out


def test_an_id_stands_for_all_its_rows_and_a_key_for_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = printed(capsys, "claims", folder, "--id", "equivalence-logits", "--id", "eq1")
    for key in ("eq1: ", "equivalence-logits.as-stated: ", "equivalence-logits.corrected: "):
        assert key in out
    for field in ("claim: ", "statistic: ", "value: ", "allowed: ", "n: ", "measured on: "):
        assert out.count(f"  {field}") == 3
    out = printed(capsys, "claims", folder, "--id", "equivalence-logits.corrected")
    assert "as-stated" not in out
    assert main(["claims", str(folder), "--id", "eq99"]) == 1
    said = capsys.readouterr().err
    assert "--id eq99: no such claim; known: eq1, " in said
    assert "equivalence-logits.corrected" in said
    assert said.count("\n") == 1


def test_csv_and_json_have_the_numbers_of_the_table(
    folder: Path, claims: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = list(csv.DictReader(io.StringIO(printed(capsys, "claims", folder, "--format", "csv"))))
    told = json.loads(printed(capsys, "claims", folder, "--format", "json"))
    shown = shown_claims(claims)
    assert len(rows) == len(told) == len(shown)
    for row, one, known, words in zip(rows, told, claims.to_dict("records"), shown, strict=True):
        assert row["key"] == one["key"] == words.key
        assert float(row["value"]) == one["value"] == known["value"]
        assert float(row["margin_low"]) == float(one["margin_low"]) == known["margin_low"]
        assert int(row["n"]) == one["n"] == known["n"]
        assert row["value_in_words"] == one["value_in_words"] == words.value
        assert row["reason"] == one["reason"] == words.reason


def test_markdown_is_a_table_of_every_claim(
    folder: Path, claims: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(capsys, "claims", folder, "--format", "markdown").splitlines()
    assert len(lines) == 2 + len(claims)
    plain = [line.replace("\\|", "") for line in lines]
    assert {line.count("|") for line in plain} == {plain[0].count("|")}


def test_what_is_not_finished_and_the_accuracies_follow(
    folder: Path, claims: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "Test accuracy of resnet8 of " in printed(capsys, "claims", folder)
    runs = EVIDENCE.runs.copy()
    runs.loc[runs.index[:2], ["status", "reason"]] = ["diverged", "a/b: NaN\x1b[2K in epoch 1"]
    write_table("claims", claims, tmp_path / "claims.parquet")
    write_table("runs", runs, tmp_path / "tables/runs.parquet")
    (tmp_path / "figures").mkdir()
    out = printed(capsys, "claims", tmp_path)
    assert f"2 of {len(runs)} networks are not finished:" in out
    assert "diverged: a/b: NaN\\x1b[2K in epoch 1" in out
    assert "\x1b[2K" not in out
    assert f"{tmp_path.name}/figures/" in out.replace("\n", "")


def test_the_text_of_a_stranger_is_no_markup(
    claims: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = claims.assign(statement="[red]x[/] :smile: \x1b[31m\rgone")
    write_table("claims", evil, tmp_path / "claims.parquet")
    for options in ([], ["--id", "eq1"], ["--format", "csv"], ["--format", "markdown"]):
        assert main(["claims", str(tmp_path), "--verdict", "supported", *options]) == 0
        out = capsys.readouterr().out
        assert "[red]x[/] :smile:" in out
        assert "\x1b" not in out
        assert "\r" not in out


def test_where_the_locale_is_ascii_the_table_is_too(folder: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "kdlm", "claims", folder],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        check=True,
    )
    assert run.stdout.isascii()
    assert b"|" in run.stdout
    assert b"\\u" not in run.stdout


def test_a_terminal_gets_colours_and_its_width(folder: Path) -> None:
    ours, theirs = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR")}
    code = (
        "import fcntl, struct, termios, sys; "
        "fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 93, 0, 0)); "
        "from kdlm.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, "claims", folder, "--verdict", "refuted"],
        stdin=theirs,
        stdout=theirs,
        env=environment | {"TERM": "xterm"},
    ) as process:
        os.close(theirs)
        found = b""
        while True:
            try:
                found += os.read(ours, 65536)
            except OSError:
                break
        assert process.wait() == 0
    os.close(ours)
    text = found.decode()
    assert "\x1b[31mrefuted" in text
    rule = next(line for line in text.splitlines() if "────" in line)
    assert 90 <= rule.count("─") <= 93
