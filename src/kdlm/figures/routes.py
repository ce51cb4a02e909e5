"""Figure: Figure 1 of the paper, the routes from KD to LM, with the measured gap on every arrow."""

from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from kdlm.storage.parquet import read_table
from kdlm.study.config import Study

__all__ = ["READS", "draw"]

READS = ("claims",)

BOXES = {
    "kd": (0.11, 0.5, "KD\n$T^2\\,\\mathrm{KL}$ at\ntemperature $T$"),
    "limit": (0.45, 0.5, "KD at $T=\\infty$\n= centred LM"),
    "lm": (0.94, 0.5, "LM\n(2)"),
}
WEIGHT = {"supported": 2.5, "refuted": 1.8, "inconclusive": 1.0}
DASHES = {"supported": "-", "refuted": (0, (1, 2)), "inconclusive": (0, (6, 3))}


def draw(study: Study, folder: Path) -> Figure:  # noqa: ARG001
    """Draw the objectives as boxes, and the routes between them as arrows.

    Each arrow is labelled with the condition of the route, the measured gap and the verdict.
    """
    claims = read_table(folder / "claims.parquet", "claims").set_index("id")
    figure, axes = plt.subplots(figsize=(9, 5))
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.axis("off")
    boxes = {
        name: axes.text(
            x, y, text, ha="center", va="center", fontsize=12,
            bbox={"boxstyle": "round,pad=0.6", "facecolor": "white", "edgecolor": "black"},
        )
        for name, (x, y, text) in BOXES.items()
    }  # fmt: skip
    # Arrows end at the edges of the boxes, and matplotlib places the boxes only when it draws.
    figure.draw_without_rendering()
    arrows = (
        ("kd", "limit", 0.0, (0.27, 0.53), "$T\\to\\infty$", "gradient",
         ["eq7-corrected"]),
        ("limit", "lm", -0.6, (0.695, 0.8), "logits of zero mean, sample by sample", "students",
         ["centred-classifier"]),
        ("limit", "lm", 0.0, (0.72, 0.53), "equal average means\nat the start (the paper)",
         "students", ["equal-means"]),
        ("limit", "lm", 0.6, (0.695, 0.06), "LM + regulariser (8)", "gradient",
         ["eq8-printed", "eq8-corrected"]),
    )  # fmt: skip
    for start, end, bend, at, condition, what, names in arrows:
        # the first arrow is short, so its text is broken into more lines
        separator = "\n" if start == "kd" else ", "
        gaps = [_gap(claims, name, what, separator) for name in names]
        axes.text(*at, "\n".join([condition, *gaps]), ha="center", va="bottom", fontsize=10)
        verdict = str(claims.loc[names[-1], "verdict"])
        axes.annotate(
            "",
            BOXES[end][:2],
            BOXES[start][:2],
            arrowprops={
                "arrowstyle": "-|>",
                "connectionstyle": f"arc3,rad={bend}",
                "linewidth": WEIGHT[verdict],
                "linestyle": DASHES[verdict],
                "color": "black",
                "patchA": boxes[start].get_bbox_patch(),
                "patchB": boxes[end].get_bbox_patch(),
                "shrinkA": 4,
                "shrinkB": 4,
            },
        )
    axes.text(
        0.0, -0.07,
        "gradient: relative distance\n"
        "students: distance of their centred test\n"
        "logits in distances of two seeds\n"
        "thick solid: supported; dotted: refuted;\n"
        "thin dashed: inconclusive",
        fontsize=8, va="bottom",
    )  # fmt: skip
    return figure


def _gap(claims: pd.DataFrame, claim: str, what: str, separator: str) -> str:
    row = claims.loc[claim]
    form = "" if row["form"] == "as stated" or not claim.startswith("eq8") else f"{row['form']}: "
    value = "not measured" if pd.isna(row["value"]) else f"{row['value']:.2g}"
    return f"{form}{what} {value}{separator}{row['verdict']}"
