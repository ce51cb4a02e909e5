"""Figure ``routes`` against the claims."""

import math
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation

from kdlm.figures import routes, style
from kdlm.study.config import parse
from tests.figures.drawn import closed, write  # noqa: F401

Key = tuple[str, str]
CLAIMS: dict[Key, tuple[float, str]] = {
    ("eq7-corrected", "corrected"): (1.2e-5, "supported"),
    ("centred-classifier", "corrected"): (3.4e-9, "supported"),
    ("equal-means", "as stated"): (0.56, "refuted"),
    ("eq8-corrected", "corrected"): (9.1e-16, "supported"),
    ("eq8-printed", "printed"): (7.8, "refuted"),
    ("eq8-trained", "corrected"): (0.64, "inconclusive"),
    ("eq8-trained", "printed"): (2.3, "refuted"),
}
TEXTS = [
    ("$T\\to\\infty$", "gradient"),
    ("zero mean, image by image", "students"),
    ("equal average means", "students"),
    ("corrected sign, $-$", "gradient"),
    ("printed sign, $+$", "gradient"),
    ("corrected sign, $-$", "students"),
    ("printed sign, $+$", "students"),
]
"""Parts of the texts of the arrows, in the order of the claims that they are about."""


def drawn(
    tiny: dict[str, Any], folder: Path, changes: dict[Key, tuple[float, str]] | None = None
) -> Figure:
    rows = [
        {"id": name, "form": form, "value": value, "verdict": verdict}
        for (name, form), (value, verdict) in (CLAIMS | (changes or {})).items()
    ]
    write(folder, "claims", rows)
    return routes.draw(parse(tiny), folder)


def arrows(figure: Figure) -> list[tuple[Annotation, str]]:
    """Each arrow and the text above it, in the order of the claims."""
    texts = figure.axes[0].texts
    return [
        (one, texts[place + 1].get_text())
        for place, one in enumerate(texts)
        if isinstance(one, Annotation)
    ]


def boxes(figure: Figure) -> dict[str, Rectangle]:
    """The boxes by the text that lies in them."""
    axes = figure.axes[0]
    plain = [text for text in axes.texts if not isinstance(text, Annotation)]
    return {
        text.get_text(): patch
        for patch in axes.patches
        if isinstance(patch, Rectangle)
        for text in plain
        if patch.get_bbox().contains(*text.get_position())
    }


def test_each_arrow_has_the_value_and_verdict_of_its_claim(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    found = arrows(drawn(tiny, tmp_path))
    assert len(found) == len(CLAIMS)
    for (_, text), (condition, what), (value, verdict) in zip(
        found, TEXTS, CLAIMS.values(), strict=True
    ):
        assert condition in text
        separator = " " if "infty" in condition else ", "
        sign = {"supported": "✓", "refuted": "✗", "inconclusive": "?"}[verdict]
        ending = f"{what} {style.power(value)}{separator}{sign} {verdict}"
        assert " ".join(text.split()).endswith(ending)


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("verdict", ["supported", "refuted", "inconclusive"])
def test_an_arrow_looks_as_its_verdict(
    tiny: dict[str, Any], tmp_path: Path, claim: Key, verdict: str
) -> None:
    other = "inconclusive" if verdict == "refuted" else "refuted"
    every = {key: (value, other) for key, (value, _) in CLAIMS.items()}
    figure = drawn(tiny, tmp_path, every | {claim: (1.0, verdict)})
    number = list(CLAIMS).index(claim)
    widths = [arrow.arrow_patch.get_linewidth() for arrow, _ in arrows(figure)]  # type: ignore[union-attr]
    styles = [str(arrow.arrow_patch.get_linestyle()) for arrow, _ in arrows(figure)]  # type: ignore[union-attr]
    others = [i for i in range(len(widths)) if i != number]
    assert widths[number] == {"supported": 2.5, "refuted": 1.8, "inconclusive": 1.0}[verdict]
    assert all(widths[i] != widths[number] for i in others)
    assert all(styles[i] != styles[number] for i in others)


def test_arrows_lead_from_box_to_box(tiny: dict[str, Any], tmp_path: Path) -> None:
    figure = drawn(tiny, tmp_path)
    found = boxes(figure)
    kd, limit, *ends = found.values()
    assert list(found)[1].startswith("KD at $T=\\infty$\n= centred LM")
    assert [text.splitlines()[0] for text in list(found)[2:]] == [
        "LM, eq. (2):", "LM + term (8):", "LM + term (8):",
    ]  # fmt: skip
    for number, (arrow, _) in enumerate(arrows(figure)):
        start, end = (kd, limit) if number == 0 else (limit, ends[(number - 1) // 2])
        (left, height), (right, same) = arrow.xyann, arrow.xy
        assert height == same
        assert left == pytest.approx(start.get_bbox().x1)
        assert right == pytest.approx(end.get_bbox().x0)
        for box in (start, end):
            assert box.get_bbox().y0 < height < box.get_bbox().y1


@pytest.mark.parametrize("measured", [True, False])
def test_no_text_touches_another_or_an_edge(
    tiny: dict[str, Any], tmp_path: Path, measured: bool
) -> None:
    """Also the longest texts, where nothing was measured."""
    nothing = dict.fromkeys(CLAIMS, (math.nan, "inconclusive"))
    with mpl.rc_context():
        style.apply()
        figure = drawn(tiny, tmp_path, {} if measured else nothing)
        figure.draw_without_rendering()
    if not measured:
        assert all("not measured" in text for _, text in arrows(figure))
    texts = [
        text.get_window_extent()
        for text in figure.axes[0].texts
        if not isinstance(text, Annotation)
    ]
    for place, one in enumerate(texts):
        assert not any(one.overlaps(other) for other in texts[place + 1 :])
        for patch in figure.axes[0].patches:
            box = patch.get_window_extent()
            inside = box.x0 < one.x0 and one.x1 < box.x1 and box.y0 < one.y0 and one.y1 < box.y1
            assert inside or not box.overlaps(one)
