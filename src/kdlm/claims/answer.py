"""The study's answer in sentences, one answer a question, generated from table `claims`.

Each sentence stands for one claim and has a text for each verdict, so none says what the numbers do
not. The texts are ASCII: they are printed in any locale.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from kdlm.claims.shown import ShownClaim, brief, shown_claims

__all__ = ["QUESTIONS", "Answer", "Part", "Question", "answers"]


@dataclass(frozen=True)
class Answer:
    """A question, and the sentences that the claims' verdicts give for it."""

    question: str
    text: str
    claims: tuple[str, ...]
    """Keys of the rows behind the text: `kdlm.claims.shown.ShownClaim.key`."""
    verdict: str
    """Verdict of the row that decides, that of `claims[0]`."""


@dataclass(frozen=True)
class Part:
    """A sentence about one claim.

    The texts are format strings: ``{value}``, ``{interval}`` and ``{margin}`` are those of the
    row, ``{sure}`` says how sure the number is, ``{where}`` what it was measured on, and
    ``{temperature}`` is the temperature that it was measured at.
    """

    key: str
    whether: str
    """What the claim decides, as a clause that begins with *whether*."""
    supported: str
    refuted: str
    inconclusive: str = ""
    """The text for an interval that reaches beyond the margin."""


@dataclass(frozen=True)
class Question:
    """A question and the sentences of its answer; the first of them decides."""

    question: str
    parts: tuple[Part, ...]


QUESTIONS = (
    Question(
        "Is KD at infinite temperature logits matching (LM)?",
        (
            Part(
                "energy-solution",
                "whether LM has KD's loss after training",
                "Yes, as far as this study sees: if the average mean logits are equal at the "
                "start, LM's loss after training differs from KD's by {value} ({sure}).",
                "No. Even if the average mean logits are equal at the start, LM has a part that KD "
                "has not: half the squared difference of the student's and the teacher's mean "
                "logit, image by image; after training it is up to {value} ({sure}).",
            ),
            Part(
                "eq7-corrected",
                "whether KD becomes LM of centred logits",
                "KD becomes LM of centred logits: the student's and the teacher's, each image's "
                "own mean over the classes subtracted (at the largest T the gradients differ by "
                "{value}; {sure}).",
                "KD does not become LM of centred logits either: at the largest T their gradients "
                "differ by {value} ({sure}).",
            ),
        ),
    ),
    Question(
        "On what condition are they the same?",
        (
            Part(
                "centred-classifier",
                "whether mean logits of zero for every image make KD and LM train the same student",
                "If the mean logit of every single image is zero, in the student and in the "
                "teacher: under SGD, KD at T = inf and LM then train the same student (they end "
                "{value} apart; {sure}).",
                "Not even if the mean logit of every single image is zero in student and teacher: "
                "students of KD at T = inf and LM then end {value} apart ({sure}).",
            ),
            Part(
                "energy-identity",
                "whether LM's gradient differs from KD's by the two means' difference alone",
                "Only if the student's mean logit equals the teacher's on every training image, "
                "because LM's gradient differs from KD's by their difference over K on every logit "
                "(violated by {value}; {sure}).",
                "LM's gradient differs from KD's by more than the two means' difference over K: by "
                "{value} ({sure}).",
            ),
            Part(
                "equal-means",
                "whether equal means on average over the images are enough",
                "Means equal on average over the images, the paper's condition, are enough: the "
                "worst pair of students ends {value} apart ({sure}).",
                "Means equal on average over the images, the paper's condition, are not enough: "
                "the worst pair of students ends {value} apart ({sure}).",
            ),
        ),
    ),
    Question(
        "How large is the difference otherwise?",
        (
            Part(
                "equivalence-accuracy.as-stated",
                "whether KD at high T is as accurate as LM",
                "In test accuracy, small: KD's students are within the margin of LM's, in the "
                "worst comparison {value} ({sure}; {where}).",
                "In test accuracy, beyond the margin: KD's students compare with LM's as {value} "
                "({sure}; {where}).",
                "In test accuracy it is not decided: KD's students compare with LM's as {value} in "
                "the worst comparison ({sure}; {where}), so more seeds are needed to say that the "
                "difference is small.",
            ),
            Part(
                "equivalence-predictions.as-stated",
                "whether KD's and LM's predictions differ no more than those of two seeds",
                "Their predictions differ on fewer test images than those of two seeds of one "
                "loss do: {value} ({sure}).",
                "Their predictions differ on more test images than those of two seeds of one loss "
                "do: {value} ({sure}).",
                "Whether their predictions differ more than those of two seeds is not decided: "
                "{value} ({sure}).",
            ),
        ),
    ),
    Question(
        "MSE on logits, or KL at a high temperature?",
        (
            Part(
                "equivalence-accuracy.corrected",
                "whether KL at a high T is as accurate as MSE on centred logits",
                "Either, if the logits are centred: KL at the highest T is as accurate as MSE on "
                "centred logits, which has no temperature to choose ({value}; {sure}).",
                "They differ even if the logits are centred: KL at the highest T compares with MSE "
                "on centred logits as {value} ({sure}).",
                "It is not decided even for centred logits: KL at the highest T compares with MSE "
                "as {value} ({sure}).",
            ),
            Part(
                "gap-lm",
                "whether MSE on raw logits depends on how far apart the mean logits start",
                "MSE on raw logits does not depend on how far apart the mean logits of student and "
                "teacher start ({value}; {sure}).",
                "MSE on raw logits is another loss: its student depends on how far apart the "
                "mean logits of student and teacher start (up to {value}; {sure}).",
            ),
            Part(
                "gap-kd",
                "whether KL depends on how far apart the mean logits start",
                "KL's does not ({value}).",
                "KL's does, too ({value}; {sure}).",
            ),
        ),
    ),
    Question(
        "How high must the temperature be?",
        (
            Part(
                "equivalence-logits.corrected",
                "whether a finite temperature trains the student of centred LM",
                "High, in a deep network: at {temperature} KD trains the student of centred LM "
                "({value}; {sure}), and {since}, because training amplifies any difference of the "
                "gradients.",
                "Higher than {temperature}, where KD's student still ends {value} away from that "
                "of centred LM ({sure}).",
            ),
            Part(
                "eq7-slope",
                "whether the distance of the gradients falls as 1/T",
                "The gradient itself approaches its limit as 1/T ({value}; {sure}).",
                "The gradient itself does not approach its limit as 1/T ({value}; {sure}).",
            ),
        ),
    ),
    Question(
        "Are the paper's formulas right?",
        (
            Part(
                "eq7-printed",
                "whether (7) is right as printed",
                "(7) is, as printed: it misses KD's gradient by {value} ({sure}).",
                "Not as printed: (7) misses KD's gradient by up to {value} ({sure}).",
            ),
            Part(
                "eq8-corrected",
                "whether (8) with its sign corrected has KD's gradient",
                "With the sign of its term corrected, (8) has KD's gradient at every moment, if "
                "the means in it are those of that moment (violated by {value}; {sure}).",
                "(8) does not have KD's gradient with its sign corrected either: {value} ({sure}).",
            ),
            Part(
                "eq8-untrained.corrected",
                "whether (8) with constants fixed before training trains KD's student",
                "With constants fixed before training, the paper's, it trains KD's student as well "
                "({value}; {sure}).",
                "With constants fixed before training, the paper's, it does not train KD's student "
                "(the worst pair ends {value} apart; {sure}).",
            ),
        ),
    ),
)


def answers(claims: pd.DataFrame) -> list[Answer]:
    """Return the answers to `QUESTIONS` for table ``claims``.

    A claim that the table lacks, or that was not decided, is said to be so.

    Raises:
        InputError: two rows of the table have the same id and form.

    """
    rows = {row.key: row for row in shown_claims(claims)}
    return [
        Answer(
            question=question.question,
            text=" ".join(_sentence(part, rows) for part in question.parts),
            claims=tuple(part.key for part in question.parts if part.key in rows),
            verdict=_verdict(question.parts[0], rows),
        )
        for question in QUESTIONS
    ]


def _verdict(part: Part, rows: Mapping[str, ShownClaim]) -> str:
    return rows[part.key].verdict if part.key in rows else "inconclusive"


def _sentence(part: Part, rows: Mapping[str, ShownClaim]) -> str:
    row = rows.get(part.key)
    if row is None:
        return f"Not decided: {part.whether} (this study has no claim {part.key})."
    text = {
        "supported": part.supported,
        "refuted": part.refuted,
        "inconclusive": part.inconclusive if row.reason.startswith("the interval") else "",
    }.get(row.verdict, "")
    if not text:
        return f"Not decided: {part.whether} ({row.reason})."
    return text.format(
        value=row.value,
        sure=_sure(row),
        where=row.measured_on.partition("; ")[0],
        temperature=_temperature(row),
        since=_since(row),
    )


def _sure(row: ShownClaim) -> str:
    """Return how sure a number is: its interval, n and margin, and the images."""
    parts = [
        f"worst of n = {row.n}"
        if row.interval == "exact"
        else f"90% interval {row.interval}, n = {row.n}",
        f"allowed {row.margin}" if row.margin else "",
        f"on {row.images}" if row.images else "any logits",
    ]
    return ", ".join(part for part in parts if part)


def _temperature(row: ShownClaim) -> str:
    """Return the temperature in the row's note, where the note begins with one."""
    found = re.match(r"T = (\d+(?:\.\d+)?)\b", row.measured_on)
    return f"T = {brief(float(found[1]))}" if found else "the largest finite temperature"


def _since(row: ShownClaim) -> str:
    """Return from which temperature on the row's students agree, which its note says."""
    found = re.search(r"the same from T = (\d+(?:\.\d+)?)\b", row.measured_on)
    if not found:
        return "not at a lower one that was tried"
    return f"at no lower one that was tried than T = {brief(float(found[1]))}"
