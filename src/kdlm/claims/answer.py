"""The study's answer in sentences, each generated from rows of table `claims`."""

from dataclasses import dataclass

import pandas as pd

from kdlm.claims.shown import shown_claims

__all__ = ["Answer", "answers"]


@dataclass(frozen=True)
class Answer:
    """A question, and the sentences that the claims' verdicts give for it."""

    question: str
    text: str
    claims: tuple[str, ...]
    """Keys of the rows behind the text: `kdlm.claims.shown.ShownClaim.key`."""
    verdict: str
    """Verdict of the row that decides."""


def answers(claims: pd.DataFrame) -> list[Answer]:
    """Return the answers to the study's questions, for table ``claims``."""
    rows = {row.key: row for row in shown_claims(claims)}
    found = []
    for question, keys in (
        ("Is KD at infinite temperature logits matching?", ("equal-means",)),
        ("On what condition?", ("centred-classifier",)),
        ("How large is the difference otherwise?", ("equivalence-accuracy.as-stated",)),
    ):
        row = rows.get(keys[0])
        if row is not None:
            text = f"{row.statement}: {row.verdict}, {row.value}, n = {row.n}."
            found.append(Answer(question, text, keys, row.verdict))
    return found
