"""The page of findings: generated from the claims, and that of the archived record."""

import zipfile
from pathlib import Path

import pandas as pd
import pytest

from kdlm.claims import CLAIMS, decide
from kdlm.claims.findings import SENTENCES, findings, verdicts
from kdlm.cli import main
from kdlm.errors import InputError
from kdlm.storage.parquet import read_table, write_table
from tests.claims.world import EVIDENCE

ROOT = Path(__file__).parents[2]
VERDICTS = ("supported", "refuted", "inconclusive")


@pytest.fixture(scope="module")
def claims() -> pd.DataFrame:
    return decide(EVIDENCE)


def test_every_sentence_is_about_a_claim_and_there_are_ten() -> None:
    known = {(claim.id, claim.form) for claim in CLAIMS}
    assert {(sentence.id, sentence.form) for sentence in SENTENCES} <= known
    assert len(SENTENCES) == 10


@pytest.mark.parametrize("verdict", VERDICTS)
def test_each_verdict_has_its_sentence_and_its_numbers(claims: pd.DataFrame, verdict: str) -> None:
    changed = claims.assign(verdict=verdict, value=0.1234, measured_on="nothing")
    page = findings(changed, "results/x")
    for number, sentence in enumerate(SENTENCES, 1):
        item = page.split(f"\n{number}. ")[1].split(f"\n{number + 1}. ")[0]
        row = changed[(changed["id"] == sentence.id) & (changed["form"] == sentence.form)].iloc[0]
        assert f"`python -m kdlm claims results/x --id {sentence.id}`" in item
        assert f"{verdict}, 0.123, margin" in item
        assert f"n = {row['n']}." in item
        assert "Strongest objection" in item
        said = getattr(sentence, verdict) or "This was not decided: nothing."
        assert item.startswith(f"**{said[:12]}")


def test_a_page_of_another_version_is_refused(claims: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="no energy-start"):
        findings(claims[claims["id"] != "energy-start"], "x")
    with pytest.raises(InputError, match="eq7-corrected has no verdict"):
        findings(claims.assign(verdict="id"), "x")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Table ``claims`` of the archived record of the default study."""
    folder = tmp_path_factory.mktemp("record")
    with zipfile.ZipFile(ROOT / "results/reference/digits.zip") as packed:
        packed.extract("results/digits/claims.parquet", folder)
    return read_table(folder / "results/digits/claims.parquet", "claims")


def test_the_record_has_every_claim_of_this_code(recorded: pd.DataFrame) -> None:
    known = [(claim.id, claim.form, claim.statement, claim.statistic) for claim in CLAIMS]
    columns = ["id", "form", "statement", "statistic"]
    assert [tuple(row) for row in recorded[columns].to_numpy()] == known


def test_the_page_is_that_of_the_record(recorded: pd.DataFrame) -> None:
    assert (ROOT / "docs/findings.md").read_text() == findings(recorded, "results/digits")


def test_the_table_of_the_readme_is_that_of_the_record(recorded: pd.DataFrame) -> None:
    readme = (ROOT / "README.md").read_text()
    shown = readme.split("<!-- verdicts -->\n")[1].split("\n<!-- end -->")[0]
    assert shown == verdicts(recorded)


def test_the_commands_print_rows_in_full(
    claims: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_table("claims", claims, tmp_path / "claims.parquet")
    for sentence in SENTENCES:
        assert main(["claims", str(tmp_path), "--id", sentence.id]) == 0
        printed = capsys.readouterr().out
        row = claims[(claims["id"] == sentence.id) & (claims["form"] == sentence.form)].iloc[0]
        assert f"{sentence.id} ({sentence.form})" in printed
        assert f"n = {row['n']}" in printed
        assert "measured on:" in printed
        assert max(map(len, printed.splitlines())) <= 110
    assert main(["findings", str(tmp_path)]) == 0
    assert capsys.readouterr().out == findings(claims, str(tmp_path))
    assert main(["claims", str(tmp_path), "--id", "eq99"]) == 1
    assert "--id eq99: no such claim; known: eq1, " in capsys.readouterr().err
