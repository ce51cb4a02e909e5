"""Figure ``routes`` against the claims."""

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from kdlm.figures import routes
from kdlm.study.config import parse
from tests.figures.drawn import closed, write  # noqa: F401

CLAIMS = {
    "eq7-corrected": ("corrected", 1.2e-5, "supported"),
    "centred-classifier": ("corrected", 3.4e-9, "supported"),
    "equal-means": ("as stated", 0.56, "refuted"),
    "eq8-printed": ("printed", 7.8, "refuted"),
    "eq8-corrected": ("corrected", 9.1e-16, "inconclusive"),
}
ROUTES = {
    "$T\\to\\infty$": ["eq7-corrected"],
    "zero mean, sample by sample": ["centred-classifier"],
    "equal average means": ["equal-means"],
    "regulariser (8)": ["eq8-printed", "eq8-corrected"],
}
"""Which claims each arrow is about, by a part of its text."""


def drawn(tiny: dict[str, Any], folder: Path, changes: dict[str, tuple[str, float, str]]) -> Figure:
    rows = [
        {"id": name, "form": form, "value": value, "verdict": verdict}
        for name, (form, value, verdict) in (CLAIMS | changes).items()
    ]
    write(folder, "claims", rows)
    return routes.draw(parse(tiny), folder)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def arrows(figure: Figure) -> list[Annotation]:
    """In the order of the routes."""
    return [text for text in figure.axes[0].texts if isinstance(text, Annotation)]


def test_each_arrow_has_the_values_and_verdicts_of_its_claims(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    found = texts(drawn(tiny, tmp_path, {}))
    for part, names in ROUTES.items():
        (text,) = [one for one in found if part in one]
        for name, (_, value, verdict) in CLAIMS.items():
            assert (f"{value:.2g}" in text) == (name in names)
            if name in names:
                rest = text.partition(f"{value:.2g}")[2]
                assert rest.lstrip(", \n").startswith(verdict)
    (both,) = [one for one in found if "regulariser (8)" in one]
    assert "printed: gradient 7.8" in both
    assert "corrected: gradient 9.1e-16" in both


@pytest.mark.parametrize(("number", "claim"), [*enumerate(names[-1] for names in ROUTES.values())])
@pytest.mark.parametrize("verdict", ["supported", "refuted", "inconclusive"])
def test_an_arrow_looks_as_its_verdict(
    tiny: dict[str, Any], tmp_path: Path, number: int, claim: str, verdict: str
) -> None:
    form, value, _ = CLAIMS[claim]
    every = {
        name: (of, number, "inconclusive" if verdict == "refuted" else "refuted")
        for name, (of, number, _) in CLAIMS.items()
    }
    figure = drawn(tiny, tmp_path, every | {claim: (form, value, verdict)})
    widths = [arrow.arrow_patch.get_linewidth() for arrow in arrows(figure)]  # type: ignore[union-attr]
    styles = [str(arrow.arrow_patch.get_linestyle()) for arrow in arrows(figure)]  # type: ignore[union-attr]
    others = [i for i in range(len(widths)) if i != number]
    assert widths[number] == {"supported": 2.5, "refuted": 1.8, "inconclusive": 1.0}[verdict]
    assert all(widths[i] != widths[number] for i in others)
    assert all(styles[i] != styles[number] for i in others)


def test_what_was_not_measured_says_so(tiny: dict[str, Any], tmp_path: Path) -> None:
    figure = drawn(tiny, tmp_path, {"equal-means": ("as stated", float("nan"), "inconclusive")})
    (text,) = [one for one in texts(figure) if "equal average means" in one]
    assert "not measured" in text
    assert "inconclusive" in text


def test_arrows_go_from_kd_to_its_limit_and_on_to_lm(tiny: dict[str, Any], tmp_path: Path) -> None:
    figure = drawn(tiny, tmp_path, {})
    # the boxes from left to right: KD, KD at infinity, LM
    kd, limit, lm = sorted(text.get_position() for text in figure.axes[0].texts[:3])
    first, *others = [(arrow.xyann, arrow.xy) for arrow in arrows(figure)]
    assert first == (kd, limit)
    assert others == [(limit, lm)] * 3
    texts_from_left = sorted(figure.axes[0].texts[:3], key=lambda text: text.get_position())
    names = ["KD\n", "KD at $T=\\infty$\n= centred LM", "LM\n(2)"]
    for text, name in zip(texts_from_left, names, strict=True):
        assert text.get_text().startswith(name)
