"""The study's answer in sentences, one answer a question, generated from table `claims`.

Each sentence stands for one claim and has a text for each verdict, so none says what the numbers do
not. The texts are ASCII: they are printed in any locale.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from kdlm.claims.shown import TOO_WIDE, ShownClaim, brief, shown_claims

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

    The texts are format strings. ``{value}`` is that of the row, and ``{compared}`` the value as
    the beginning of a comparison. ``{short}`` gives its interval and n, ``{sure}`` the margin and
    the images as well, ``{where}`` the networks. ``{temperature}`` is the temperature that it was
    measured at, and ``{since}`` says that it does not hold at the next lower one.
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
                "No: LM also punishes, image by image, the difference between the student's and "
                "the teacher's mean logit, and after training up to {value} is due to it "
                "({sure}).",
            ),
            Part(
                "eq7-corrected",
                "whether KD becomes LM of centred logits",
                "KD becomes LM of centred logits: each network's own mean over the classes is "
                "subtracted from its logits, image by image (gradients at the largest T differ by "
                "{value}; {short}).",
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
                "IF every single image's mean logit is zero, in the student and in the teacher, KD "
                "at T = inf and LM train the same student under SGD (they end {value} apart; "
                "{sure}).",
                "Not even IF the mean logit of every single image is zero in student and teacher: "
                "students of KD at T = inf and LM then end {value} apart ({sure}).",
            ),
            Part(
                "energy-identity",
                "whether LM's gradient differs from KD's by the two means' difference alone",
                "ONLY IF the student's mean logit equals the teacher's on every training image: "
                "their difference over K is what LM adds to KD's gradient on a logit (violated by "
                "{value}; {short}).",
                "LM's gradient differs from KD's by more than the two means' difference over K: by "
                "{value} ({sure}).",
            ),
            Part(
                "equal-means",
                "whether equal means on average over the images are enough",
                "Means equal on average over the images, the paper's condition, are enough: the "
                "worst pair of students ends {value} apart ({sure}).",
                "Means equal on average over the images, the paper's condition, are not enough: "
                "the worst pair of students ends {value} apart ({short}).",
            ),
        ),
    ),
    Question(
        "How large is the difference otherwise?",
        (
            Part(
                "equivalence-accuracy.as-stated",
                "whether KD at high T is as accurate as LM",
                "Small in test accuracy: in the worst comparison KD's students are {compared} "
                "LM's ({sure}; {where}).",
                "In test accuracy KD's students are {compared} LM's in the worst comparison "
                "({sure}; {where}), which is more than allowed.",
                "In test accuracy KD's students are {compared} LM's in the worst comparison, which "
                "is neither shown to stay within the allowed nor to exceed it ({sure}; {where}).",
            ),
            Part(
                "equivalence-predictions.as-stated",
                "whether KD's and LM's predictions differ no more than those of two seeds",
                "They predict fewer test images otherwise than two seeds of one loss do: {value} "
                "({short}).",
                "They predict more test images otherwise than two seeds of one loss do: {value} "
                "({sure}).",
                "Whether they predict more test images otherwise than two seeds of one loss do is "
                "not decided: {value} ({sure}).",
            ),
        ),
    ),
    Question(
        "MSE on logits, or KL at a high temperature?",
        (
            Part(
                "equivalence-accuracy.corrected",
                "whether KL at a high T is as accurate as MSE on centred logits",
                "Either, if the logits are centred: students of KL at the highest T are "
                "{compared} those of MSE on centred logits, which has no temperature to choose "
                "({sure}).",
                "It matters even if the logits are centred: students of KL at the highest T are "
                "{compared} those of MSE ({sure}).",
                "Not decided even for centred logits: students of KL at the highest T are "
                "{compared} those of MSE ({sure}).",
            ),
            Part(
                "gap-lm",
                "whether MSE on raw logits depends on how far apart the mean logits start",
                "On raw logits MSE does not see how far apart the mean logits of student and "
                "teacher start ({value}; {sure}).",
                "On raw logits MSE is another loss: its student depends on how far apart the mean "
                "logits of student and teacher start (by up to {value}; {short}).",
            ),
            Part(
                "gap-kd",
                "whether KL depends on how far apart the mean logits start",
                "KL's does not ({value}; {short}).",
                "KL's does, too ({value}; {short}).",
            ),
        ),
    ),
    Question(
        "How high must the temperature be?",
        (
            Part(
                "equivalence-logits.corrected",
                "whether a finite temperature trains the student of centred LM",
                "{temperature} trains the student of centred LM ({value}; {sure}){since}: training "
                "amplifies whatever the gradients differ by.",
                "Higher than {temperature}, where KD's student still ends {value} away from that "
                "of centred LM ({sure}).",
            ),
            Part(
                "eq7-slope",
                "whether the distance of the gradients falls as 1/T",
                "The gradient itself approaches its limit as 1/T ({value}; {short}).",
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
                "With its sign corrected (8) has KD's gradient as long as the means in it are the "
                "current ones (violated by {value}; {short}).",
                "(8) does not have KD's gradient with its sign corrected either: {value} ({sure}).",
            ),
            Part(
                "eq8-untrained.corrected",
                "whether (8) with constants fixed before training trains KD's student",
                "With constants fixed before training, as in the paper, it trains KD's student "
                "({value}; {sure}).",
                "With constants fixed before training, as in the paper, it does not train KD's "
                "student (the worst pair ends {value} apart; {short}).",
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
        "inconclusive": part.inconclusive if row.reason == TOO_WIDE else "",
    }.get(row.verdict, "")
    if not text:
        return f"Not decided: {part.whether} ({row.reason})."
    return text.format(
        value=row.value,
        compared=_compared(row),
        sure=_sure(row),
        short=_short(row),
        where=row.measured_on.partition("; ")[0],
        temperature=_temperature(row),
        since=_since(row),
    )


def _compared(row: ShownClaim) -> str:
    """Return a difference as the beginning of a comparison: *0.7 points better than*."""
    if row.value.endswith(("better", "worse")):
        return f"{row.value} than"
    return "as accurate as" if row.number == 0 else f"{row.value} from"


def _short(row: ShownClaim) -> str:
    """Return n and the interval of a number; *worst of n* where the worst case decides."""
    if row.interval == "exact":
        return f"worst of {row.n}"
    interval = row.interval if row.low == row.high else f"90% interval {row.interval}"
    return f"{interval}, n = {row.n}"


def _sure(row: ShownClaim) -> str:
    """Return how sure a number is: its interval, n and margin, and the images."""
    allowed = f"allowed {row.margin}" if row.margin else ""
    parts = [_short(row), allowed, row.images or "random and trained logits"]
    return "; ".join(part for part in parts if part)


def _temperature(row: ShownClaim) -> str:
    """Return the temperature in the row's note, where the note begins with one."""
    found = re.match(r"T = (\d+(?:\.\d+)?)\b", row.measured_on)
    return f"T = {brief(float(found[1]))}" if found else "The largest finite temperature"


def _since(row: ShownClaim) -> str:
    """Return from which temperature on the row's students agree, which its note says."""
    found = re.search(r"the same from T = (\d+(?:\.\d+)?)\b", row.measured_on)
    return ", and the next lower T that was tried does not" if found else ""
