"""The sessions in the documentation print what they are said to print."""

import doctest
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
SESSIONS = [
    pytest.param(
        block.group(1), id=f"{page.stem}:{page.read_text()[: block.start()].count(chr(10))}"
    )
    for page in sorted(DOCS.glob("*.md"))
    for block in re.finditer(r"^```pycon\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
]


def test_there_are_sessions() -> None:
    assert len(SESSIONS) >= 8


@pytest.mark.parametrize("session", SESSIONS)
def test_a_session_prints_what_it_says(session: str) -> None:
    example = doctest.DocTestParser().get_doctest(session, {}, "session", None, 0)
    printed: list[str] = []
    assert doctest.DocTestRunner().run(example, out=printed.append).failed == 0, "".join(printed)
