"""The page of findings: generated from the claims, and that of the archived record."""

import re
from pathlib import Path

import pandas as pd
import pytest

from kdlm.claims import CLAIMS, decide
from kdlm.claims.findings import SENTENCES, findings, readme_parts, verdicts
from kdlm.claims.shown import shown_claims
from kdlm.cli import main
from kdlm.errors import InputError
from kdlm.storage.parquet import read_table, write_table
from tests.claims.world import EVIDENCE

ROOT = Path(__file__).parents[2]
VERDICTS = ("supported", "refuted", "inconclusive")


@pytest.fixture(scope="module")
def claims() -> pd.DataFrame:
    return decide(EVIDENCE)


def test_every_sentence_is_about_a_claim_and_there_are_ten(claims: pd.DataFrame) -> None:
    assert {sentence.key for sentence in SENTENCES} <= {row.key for row in shown_claims(claims)}
    assert len(SENTENCES) == 10


@pytest.mark.parametrize("verdict", VERDICTS)
def test_each_verdict_has_its_sentence_and_its_numbers(claims: pd.DataFrame, verdict: str) -> None:
    changed = claims.assign(verdict=verdict, value=0.0321, measured_on="nothing")
    page = findings(changed, "results/x")
    rows = {row.key: row for row in shown_claims(changed)}
    for number, sentence in enumerate(SENTENCES, 1):
        item = page.split(f"\n{number}. ")[1].split(f"\n{number + 1}. ")[0]
        row = rows[sentence.key]
        assert f"`python -m kdlm claims results/x --id {sentence.key}`" in item
        assert f"{sentence.key}: {verdict}, {row.value}" in item
        assert f"allowed {row.margin}, n = {row.n}." in item
        assert "Strongest objection" in item
        said = getattr(sentence, verdict) or "This was not decided: "
        assert item.startswith(f"**{said[:12]}")


def test_a_page_of_another_version_is_refused(claims: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="no energy-start"):
        findings(claims[claims["id"] != "energy-start"], "x")
    with pytest.raises(InputError, match="eq7-corrected has no verdict"):
        findings(claims.assign(verdict="id"), "x")


@pytest.fixture(scope="module")
def recorded(record: Path) -> pd.DataFrame:
    """Table ``claims`` of the archived record of the default study."""
    return read_table(record / "claims.parquet", "claims")


def test_the_record_has_every_claim_of_this_code(recorded: pd.DataFrame) -> None:
    known = [(claim.id, claim.form, claim.statement, claim.statistic) for claim in CLAIMS]
    columns = ["id", "form", "statement", "statistic"]
    assert [tuple(row) for row in recorded[columns].to_numpy()] == known


def test_the_page_is_that_of_the_record(recorded: pd.DataFrame) -> None:
    assert (ROOT / "docs/findings.md").read_text() == findings(recorded, "results/digits")


def _parts(page: str) -> dict[str, str]:
    """The generated parts of a page, by the name of their marker."""
    return dict(re.findall(r"<!-- (\w+) -->\n(.*?)\n<!-- end -->", page, re.DOTALL))


def test_the_generated_parts_of_the_readme_are_those_of_the_record(
    recorded: pd.DataFrame, record: Path
) -> None:
    """Renew them with `python -m kdlm findings results/digits --into README.md`."""
    runs = read_table(record / "tables/runs.parquet", "runs")
    parts = readme_parts(recorded, runs)
    assert _parts((ROOT / "README.md").read_text()) == parts
    assert set(parts) == {"answer", "audit", "accuracies", "verdicts"}
    assert recorded["verdict"].nunique() == 3
    assert "| KD at its best T = " in parts["accuracies"]
    for name in ("CE", "LM", "KD at T = ∞", "centred LM"):
        assert f"| {name}" in parts["accuracies"]
    assert "`eq8-trained.corrected`" in parts["verdicts"]


def test_the_generated_parts_of_a_page_are_renewed_and_nothing_else(
    claims: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# ü\n<!-- verdicts -->\nold\n<!-- end -->\nkept\n<!-- other -->\n<!-- end -->\n"
    )
    write_table("claims", claims, tmp_path / "claims.parquet")
    write_table("runs", EVIDENCE.runs, tmp_path / "tables/runs.parquet")
    assert main(["findings", str(tmp_path), "--into", str(page)]) == 0
    text = page.read_text()
    assert _parts(text)["verdicts"] == verdicts(claims)
    assert text.startswith("# ü\n<!-- verdicts -->\n| claim |")
    assert text.endswith("\n<!-- end -->\nkept\n<!-- other -->\n<!-- end -->\n")
    page.write_text("nothing to renew")
    assert main(["findings", str(tmp_path), "--into", str(page)]) == 1
    assert "no <!-- answer -->" in capsys.readouterr().err
    assert page.read_text() == "nothing to renew"
    page.write_bytes(b"\xff")
    assert main(["findings", str(tmp_path), "--into", str(page)]) == 1
    assert "not a Markdown file" in capsys.readouterr().err


def test_the_command_prints_the_page(
    claims: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_table("claims", claims, tmp_path / "claims.parquet")
    assert main(["findings", str(tmp_path)]) == 0
    assert capsys.readouterr().out == findings(claims, str(tmp_path))
