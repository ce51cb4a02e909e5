"""The claims as a table for a terminal."""

import dataclasses

from kdlm.claims import decide, format_claims
from tests.claims.world import ALL, CORRECTED, EVIDENCE, TABLES, without


def test_the_terminal_table_holds_every_claim_and_verdict() -> None:
    table = decide(EVIDENCE)
    lines = format_claims(table).splitlines()
    for _, claim in table.iterrows():
        named = [line for line in lines if line.split()[0] == claim["id"]]
        assert any(claim["verdict"] in line and f"{claim['value']:.3g}" in line for line in named)
    assert sum("(corrected)" in line for line in lines) == sum(
        form == CORRECTED and not claim.endswith(CORRECTED) for claim, form in ALL
    )


def test_an_unmeasured_claim_is_printed_without_numbers() -> None:
    table = decide(without("identities", claim="b3")(EVIDENCE))
    (line,) = [line for line in format_claims(table).splitlines() if line.startswith("b3 ")]
    assert "nan" not in line
    assert "inconclusive" in line


def test_the_terminal_table_is_aligned_in_110_columns() -> None:
    nothing = {table: getattr(EVIDENCE, table).iloc[:0] for table in TABLES}
    for evidence in (EVIDENCE, dataclasses.replace(EVIDENCE, **nothing)):
        lines = format_claims(decide(evidence)).splitlines()
        assert max(map(len, lines)) == 110
        start = lines[0].index("statement")
        for line in lines[2:]:
            assert line[start - 1] == " ", line
            assert line[start] != " ", line
