"""The answer in sentences: one for each verdict, with its numbers, and none that is not there."""

import string

import pandas as pd
import pytest

from kdlm.claims import decide
from kdlm.claims.answer import QUESTIONS, answers
from kdlm.claims.shown import shown_claims
from tests.claims.world import EVIDENCE, without

VERDICTS = ("supported", "refuted", "inconclusive")
PARTS = [
    pytest.param(number, place, id=part.key)
    for number, question in enumerate(QUESTIONS)
    for place, part in enumerate(question.parts)
]


@pytest.fixture(scope="module")
def claims() -> pd.DataFrame:
    return decide(EVIDENCE)


def test_every_sentence_is_about_a_claim(claims: pd.DataFrame) -> None:
    keys = {row.key for row in shown_claims(claims)}
    for question, answer in zip(QUESTIONS, answers(claims), strict=True):
        assert answer.question == question.question
        assert answer.claims == tuple(part.key for part in question.parts)
        assert set(answer.claims) <= keys


def test_every_sentence_has_its_number() -> None:
    for question in QUESTIONS:
        for part in question.parts:
            for text in filter(None, (part.supported, part.refuted, part.inconclusive)):
                fields = {name for _, name, _, _ in string.Formatter().parse(text) if name}
                assert fields & {"value", "compared"}, text
                assert fields & {"sure", "short"}, text
                assert text.isascii()


@pytest.mark.parametrize("verdict", VERDICTS)
@pytest.mark.parametrize(("number", "place"), PARTS)
def test_a_sentence_follows_the_verdict(
    claims: pd.DataFrame, number: int, place: int, verdict: str
) -> None:
    part = QUESTIONS[number].parts[place]
    keys = [row.key for row in shown_claims(claims)]
    changed = claims.copy()
    changed.loc[keys.index(part.key), ["verdict", "value", "ci_low", "ci_high"]] = [
        verdict, 0.0321, 0.0321, 0.0321,
    ]  # fmt: skip
    changed.loc[keys.index(part.key), "measured_on"] = "digits: no ladder; T = 10000"
    answer = answers(changed)[number]
    row = shown_claims(changed)[keys.index(part.key)]
    text = {"supported": part.supported, "refuted": part.refuted}.get(verdict)
    start = text.partition("{")[0] if text else f"Not decided: {part.whether} ({row.reason})."
    assert start in answer.text
    for other in {part.supported, part.refuted} - {text}:
        assert not answer.text.startswith(other.partition("{")[0] or "\0") or place
    if text:
        assert row.value in answer.text
        assert f"{row.n}" in answer.text
    if place == 0:
        assert answer.verdict == verdict


def test_an_interval_across_the_margin_is_said_with_its_numbers(claims: pd.DataFrame) -> None:
    chosen = (claims["id"] == "equivalence-accuracy") & (claims["form"] == "as stated")
    changed = claims.copy()
    changed.loc[chosen, ["value", "ci_low", "ci_high", "verdict"]] = [
        -0.018, -0.028, -0.007, "inconclusive",
    ]  # fmt: skip
    (answer,) = [one for one in answers(changed) if "How large" in one.question]
    assert "1.8 points worse than LM's" in answer.text
    assert "90% interval 0.7 to 2.8 points worse, n = 5" in answer.text
    assert "allowed at most 1 point either way" in answer.text
    assert answer.verdict == "inconclusive"


def test_a_missing_claim_is_said(claims: pd.DataFrame) -> None:
    answer = answers(claims[claims["id"] != "energy-solution"])[0]
    assert answer.text.startswith(
        "Not decided: whether LM has KD's loss after training (this study"
    )
    assert answer.verdict == "inconclusive"
    assert answer.claims == ("eq7-corrected",)
    assert all(one.verdict == "inconclusive" for one in answers(claims.iloc[:0]))


def test_what_was_not_measured_is_said() -> None:
    lost = decide(without("comparisons", initialisation="he-centred")(EVIDENCE))
    answer = answers(lost)[1]
    assert answer.verdict == "inconclusive"
    assert "(not measured: no such pair of students in this study)" in answer.text


def test_the_temperature_is_that_of_the_note(claims: pd.DataFrame) -> None:
    (answer,) = [one for one in answers(claims) if "How high" in one.question]
    assert answer.text.startswith("T = 10,000 trains")
