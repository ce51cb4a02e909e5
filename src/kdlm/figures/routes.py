"""The paper's Figure 1, redrawn: the routes from KD to LM, with the measured gap on every arrow."""

from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdlm.config import Study
from kdlm.tables import read_table

__all__ = ["draw"]

BOXES = {
    "kd": (0.12, 0.5, "KD\n$T^2\\,\\mathrm{KL}$ at\ntemperature $T$"),
    "limit": (0.45, 0.5, "KD at $T=\\infty$\n= centred LM"),
    "lm": (0.88, 0.5, "LM\n(2)"),
}
WEIGHT = {"supported": 2.5, "refuted": 1.0, "inconclusive": 1.0}
DASHES = {"supported": "-", "refuted": (0, (2, 2)), "inconclusive": (0, (6, 3))}


def draw(study: Study, folder: Path) -> Figure:  # noqa: ARG001  # noqa: ARG001
    """Boxes are objectives; an arrow's text is the condition, the measured gap and the verdict."""
    claims = read_table(folder / "claims.parquet", "claims").set_index(["id", "form"])
    figure, axes = plt.subplots(figsize=(10, 5.4))
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.axis("off")
    for x, y, text in BOXES.values():
        axes.text(
            x, y, text, ha="center", va="center", fontsize=12,
            bbox={"boxstyle": "round,pad=0.6", "facecolor": "white", "edgecolor": "black"},
        )  # fmt: skip
    _arrow(axes, "kd", "limit", 0.0, (0.285, 0.66),
           "$T\\to\\infty$\n" + _gap(claims, "eq7-corrected", "corrected", "gradient"),
           _verdict(claims, "eq7-corrected", "corrected"))  # fmt: skip
    _arrow(axes, "limit", "lm", -0.55, (0.665, 0.9),
           "logits of zero mean, sample by sample\n"
           + _gap(claims, "centred-classifier", "corrected", "students"),
           _verdict(claims, "centred-classifier", "corrected"))  # fmt: skip
    _arrow(axes, "limit", "lm", 0.0, (0.665, 0.56),
           "equal average means at the start (the paper)\n"
           + _gap(claims, "equal-means", "as stated", "students"),
           _verdict(claims, "equal-means", "as stated"))  # fmt: skip
    _arrow(axes, "limit", "lm", 0.55, (0.665, 0.06),
           "LM + regulariser (8)\n"
           + "\n".join(
               f"{form}: " + _gap(claims, f"eq8-{form}", form, "gradient")
               for form in ("printed", "corrected")
           ),
           _verdict(claims, "eq8-corrected", "corrected"))  # fmt: skip
    axes.text(
        0.0, 0.0,
        "gradient: relative distance; students: distance of their centred test\n"
        "logits in distances of two seeds. Line: thick solid, supported; dotted,\n"
        "refuted; thin dashed, inconclusive.",
        fontsize=8, va="bottom",
    )  # fmt: skip
    return figure


def _gap(claims: pd.DataFrame, claim: str, form: str, what: str) -> str:
    row = claims.loc[(claim, form)]
    value = "not measured" if pd.isna(row["value"]) else f"{row['value']:.2g}"
    return f"{what} {value}: {row['verdict']}"


def _verdict(claims: pd.DataFrame, claim: str, form: str) -> str:
    return str(claims.loc[(claim, form), "verdict"])


def _arrow(
    axes: Axes, start: str, end: str, bend: float, at: tuple[float, float], text: str, verdict: str
) -> None:
    (x0, y0, _), (x1, y1, _) = BOXES[start], BOXES[end]
    lift = 0.11 if bend < 0 else -0.11 if bend > 0 else 0.0
    inset = 0.02 if bend else 0.095
    axes.annotate(
        "",
        (x1 - (inset if not bend else 0.0) + (0.03 if not bend else 0), y1 + lift),
        (x0 + inset, y0 + lift),
        arrowprops={
            "arrowstyle": "-|>",
            "connectionstyle": f"arc3,rad={bend * 0.8}",
            "linewidth": WEIGHT[verdict],
            "linestyle": DASHES[verdict],
            "color": "black",
        },
    )
    axes.text(*at, text, ha="center", va="bottom", fontsize=10)
