"""The comparison of runs: a row for each network, and its training curve in a Vega-Lite chart.

The chart is made by Altair. It has a parameter for every menu of the page, and draws the curves
whose network has the chosen loss, temperature and so on; the page's script sets the parameters.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from kdlm.study import names
from kdlm.study.specs import format_number

__all__ = ["COLUMNS", "MEASURES", "MENUS", "MOST_EPOCHS", "MOST_RUNS", "Comparison", "compare"]

MOST_RUNS = 300
"""Largest number of networks on the page, which has to stay small enough to be sent."""
MOST_EPOCHS = 40
"""Largest number of points of a curve."""

MEASURES = {
    "accuracy": "test accuracy (share of images)",
    "objective": "training loss",
    "gap_rms": "rms over test images of g, the gap of mean logits (logits)",
    "gap_share": "share of LM that is due to g, test images",
}
"""What a curve can show: columns of table ``histories``, and their titles."""

MENUS = {
    "students": "networks",
    "loss": "loss",
    "temperature": "temperature T",
    "gap": "mean gap at the start",
    "seed": "seed",
    "weights": "initial weights",
}
"""The menus that choose networks, by the name of the column that they choose by."""

COLUMNS = {
    **{key: MENUS[key] for key in ("students", "loss", "temperature", "gap", "weights", "seed")},
    "status": "status",
    "last_accuracy": "test accuracy, last epoch",
    "best_accuracy": "test accuracy, best epoch",
    "logit_rms": "rms of centred test logits",
    "calibration_error": "calibration error",
}
"""The table's columns and their titles."""

_NUMBERS = ("last_accuracy", "best_accuracy", "logit_rms", "calibration_error")
# of seaborn's palette for the colour-blind: the colours that the figures give the losses
_COLOURS = {
    "ce": "#949494", "kd": "#0173b2", "lm": "#d55e00", "centred-lm": "#029e73",
    "regularised-lm-corrected": "#de8f05", "regularised-lm-printed": "#cc78bc",
}  # fmt: skip
_FURTHER = ("#ca9161", "#b15f96", "#7a7a16", "#3a87ad")
_AS_DRAWN = "as drawn"


@dataclass(frozen=True)
class Comparison:
    """What the page shows of the networks."""

    rows: tuple[dict[str, str], ...]
    """The texts of each network's row, by column."""
    total: int
    """Number of networks of the study, of which `rows` may have a part."""
    thinned: bool
    """Whether curves have fewer points than epochs."""
    options: dict[str, tuple[str, ...]]
    """The choices of each menu, besides all."""
    chosen: dict[str, str]
    """The choice of each menu when the page is opened; empty for all."""
    chart: dict[str, Any]
    """The specification of the chart, in Vega-Lite."""


def compare(runs: pd.DataFrame, histories: pd.DataFrame) -> Comparison:
    """Return the comparison of the networks in table ``runs`` by their rows of ``histories``.

    Of more than `MOST_RUNS` networks the first seeds of every kind are taken, and of more than
    `MOST_EPOCHS` epochs some that are evenly spaced, the first and the last among them.
    """
    shown = _described(runs)
    kinds = [key for key in MENUS if key != "seed"]
    # the first network of every kind comes before the second of any
    turn = shown.groupby(kinds, sort=False).cumcount()
    kept = turn.sort_values(kind="stable").index[:MOST_RUNS].sort_values()
    shown = shown.loc[kept].reset_index(drop=True)
    curves, thinned = _curves(runs.loc[kept].reset_index(drop=True), histories)
    options = {key: tuple(dict.fromkeys(shown[key])) for key in MENUS}
    options |= {key: tuple(sorted(options[key], key=_number)) for key in ("temperature", "seed")}
    rows = tuple(shown.to_dict("records"))
    chosen = _first_choice(shown)
    chart = _chart(shown, curves, chosen)
    return Comparison(rows, len(runs), thinned, options, chosen, chart)


def _number(text: str) -> float:
    return math.inf if text in ("∞", "") else float(text)


def _described(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the columns `COLUMNS` of each network, as texts; the index is that of ``runs``."""
    shown = pd.DataFrame(index=runs.index)
    records = runs.to_dict("records")
    shown["students"] = [_students(row) for row in records]
    shown["loss"] = [_label(row["loss"]) for row in records]
    shown["temperature"] = [_text(row["temperature"]) for row in records]
    shown["gap"] = [_gap(row) for row in records]
    shown["weights"] = [_weights(row) for row in records]
    shown["seed"] = [_text(row["seed"]) for row in records]
    shown["status"] = [str(row["status"]) for row in records]
    for column in _NUMBERS:
        shown[column] = ["" if pd.isna(row[column]) else f"{row[column]:.4f}" for row in records]
    return shown


def _students(row: dict[str, Any]) -> str:
    if row["role"] == "teacher":
        return f"teachers: {row['architecture']}, {row['initialisation']}, {row['recipe']}"
    seed = "" if row["teacher_seed"] == 0 else f", seed {_text(row['teacher_seed'])}"
    return (
        f"{row['architecture']}, {row['initialisation']}, {row['recipe']}; "
        f"teacher {row['teacher']}{seed}"
    )


def _label(loss: Any) -> str:
    if pd.isna(loss):
        return names.LOSSES["ce"].label
    return names.LOSSES[loss].label if loss in names.LOSSES else str(loss)


def _text(value: Any) -> str:
    return "" if pd.isna(value) else format_number(float(value)).replace("inf", "∞")


def _gap(row: dict[str, Any]) -> str:
    if pd.isna(row["means"]):
        return ""
    if row["means"] == "natural":
        return "none imposed"
    more = "" if row["means"] == "trained-teacher" else f" ({row['means']})"
    return f"{_text(row['mean_gap'])}{more}"


def _weights(row: dict[str, Any]) -> str:
    """Return how the initial weights were moved, by the units of the config."""
    ulps, jitter = row["perturbation"], row["relative_perturbation"]
    if not pd.isna(ulps) and ulps:
        return f"moved by {_text(ulps)} ulp"
    if not pd.isna(jitter) and jitter:
        return f"moved by {jitter:.0e} of themselves"
    return _AS_DRAWN


def _first_choice(shown: pd.DataFrame) -> dict[str, str]:
    """Return what the menus choose at first: a seed of the most common students."""
    drawn = shown[(shown["weights"] == _AS_DRAWN) & ~shown["students"].str.startswith("teachers:")]
    first = "" if drawn.empty else str(drawn["students"].mode(dropna=True).iloc[0])
    of_first = drawn[drawn["students"] == first]
    gap = "0" if (of_first["gap"] == "0").any() else ""
    return dict.fromkeys(MENUS, "") | {
        "students": first,
        "gap": gap,
        "seed": "" if of_first.empty else str(of_first["seed"].iloc[0]),
        "weights": "" if drawn.empty else _AS_DRAWN,
    }


_KEYS = [
    "role", "teacher", "teacher_seed", "architecture", "initialisation", "recipe", "loss",
    "temperature", "means", "mean_gap", "perturbation", "relative_perturbation", "seed",
]  # fmt: skip


def _curves(runs: pd.DataFrame, histories: pd.DataFrame) -> tuple[str, bool]:
    """Return the curves of the networks in ``runs`` as CSV, and whether epochs were left out.

    A point has the number of the network's row, the epoch, and `MEASURES`. They are measured on
    the test images, the training loss on the batches as trained on, and everything at epoch 0 on
    the training set before training.
    """
    numbered = runs[_KEYS].assign(run=range(len(runs)))
    history = histories[histories["split"].isin(["initial", "test", "train"])]
    points = history.merge(numbered, on=_KEYS)
    train = points.loc[points["split"] == "train", ["run", "epoch", "objective"]]
    points = points[points["split"] != "train"].merge(
        train, on=["run", "epoch"], how="left", suffixes=("", "_train")
    )
    after = points["split"] == "test"
    points["objective"] = points["objective_train"].where(after, points["objective"])
    last = points["epoch"].max() if len(points) else 0
    epochs = np.unique(np.linspace(0, last, MOST_EPOCHS).round()) if last >= MOST_EPOCHS else None
    if epochs is not None:
        ends = points["epoch"] == points.groupby("run")["epoch"].transform("max")
        points = points[points["epoch"].isin(epochs) | ends]
    points = points.sort_values(["run", "epoch"], kind="stable")
    lines = [",".join(("run", "epoch", *MEASURES))]
    for row in points[["run", "epoch", *MEASURES]].itertuples(index=False):
        numbers = ("" if pd.isna(value) else f"{value:.4g}" for value in row[2:])
        lines.append(f"{row[0]},{row[1]},{','.join(numbers)}")
    return "\n".join(lines), epochs is not None


def _chart(shown: pd.DataFrame, curves: str, chosen: dict[str, str]) -> dict[str, Any]:
    """Return the chart of the curves, whose parameters are the menus, `MEASURES` and a network."""
    import altair as alt  # noqa: PLC0415

    parameters = [
        *(alt.param(name=key, value=chosen[key]) for key in MENUS),
        alt.param(name="measure", value="accuracy"),
        alt.param(name="measure_title", value=MEASURES["accuracy"]),
        alt.param(name="picked", value=-1),
    ]
    menus = shown[[*MENUS]].to_dict("records")
    networks = [{"run": number, **row} for number, row in enumerate(menus)]
    labels = list(dict.fromkeys(shown["loss"]))
    chart = (
        alt.Chart(
            alt.NamedData("curves", format=alt.CsvDataFormat(type="csv", parse=_TYPES)),
            title=alt.Title(text=alt.ExprRef("measure_title"), anchor="start", fontSize=13),
            width=600,
            height=300,
        )
        .transform_lookup(
            lookup="run",
            from_=alt.LookupData(data=alt.NamedData("networks"), key="run", fields=[*MENUS]),
        )
        .transform_filter(" && ".join(f"({key} == '' || datum.{key} == {key})" for key in MENUS))
        .transform_calculate(value="datum[measure]")
        .transform_filter("isValid(datum.value)")
        .mark_line(point={"size": 36})
        .encode(
            x=alt.X("epoch:Q", axis=alt.Axis(tickMinStep=1, title="epoch (0: before training)")),
            y=alt.Y("value:Q", scale=alt.Scale(zero=False), title=None),
            color=alt.Color(
                "loss:N", scale=alt.Scale(domain=labels, range=_colours(labels)), title="loss"
            ),
            detail="run:N",
            opacity=alt.when("picked < 0 || datum.run == picked")
            .then(alt.value(1))
            .otherwise(alt.value(0.15)),
            size=alt.when("datum.run == picked").then(alt.value(3.5)).otherwise(alt.value(1.5)),
            tooltip=[
                alt.Tooltip("loss:N"),
                alt.Tooltip("temperature:N", title="T"),
                alt.Tooltip("gap:N", title="mean gap"),
                alt.Tooltip("seed:N"),
                alt.Tooltip("epoch:Q"),
                alt.Tooltip("value:Q", format=".4g"),
            ],
        )
        .add_params(*parameters)
        .configure(aria=False, background="white")
        .configure_view(stroke=None)
    )
    found: dict[str, Any] = chart.to_dict()
    return found | {"datasets": {"curves": curves, "networks": networks}}


_TYPES = {"run": "number", "epoch": "number", **dict.fromkeys(MEASURES, "number")}


def _colours(labels: Sequence[str]) -> list[str]:
    """Return the colours of the losses with these labels; a further loss gets a further colour."""
    by_label = {names.LOSSES[key].label: colour for key, colour in _COLOURS.items()}
    others = [label for label in labels if label not in by_label]
    further = {label: _FURTHER[i % len(_FURTHER)] for i, label in enumerate(others)}
    return [(by_label | further)[label] for label in labels]
