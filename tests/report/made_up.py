"""A made-up study with the tables, claims and figures that a report is made from."""

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kdlm.claims import CLAIMS
from kdlm.figures import FIGURES
from kdlm.storage.parquet import write_table
from kdlm.study.config import Study, parse
from kdlm.study.schemas import TABLES, table_path

__all__ = ["HOSTILE", "made_up", "result"]

HOSTILE = "</script><script>document.title = 'taken'</script><img src=x onerror=alert(1)>&\"'"
"""A text that would run in a page that does not escape it."""

_SVG = (
    '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="80" height="40">'
    "<desc>{0}</desc><script>document.title = 'taken'</script>"
    '<image href="http://127.0.0.1:9/x.png"/><path id="a" d="M0 0H9"/><!--{1}--></svg>'
)
_VERDICTS = ("supported", "refuted", "inconclusive")
_LOSSES = (("ce", 1.0), ("kd", 4.0), ("kd", math.inf), ("lm", math.inf), ("centred-lm", math.inf))


def made_up(
    folder: Path,
    config: dict[str, Any],
    networks: int = 30,
    epochs: int = 3,
    figure_bytes: int = 100,
) -> Study:
    """Write a study of ``networks`` students and one teacher into ``folder``, and return it."""
    study = parse(copy.deepcopy(config))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.json").write_text(study.canonical_json())
    random = np.random.default_rng(0)
    runs = pd.DataFrame([_teacher(), *(_student(number) for number in range(networks))])
    accuracies = 0.9 + 0.01 * random.standard_normal(len(runs))
    runs = runs.assign(last_accuracy=accuracies, best_accuracy=accuracies + 0.01, logit_rms=2.5)
    histories = [
        row | {"split": split, "epoch": epoch, **result(number, epoch, split)}
        for number, row in enumerate(runs[[*_student(0)]].to_dict("records"))
        for epoch in range(epochs + 1)
        for split in (("initial",) if epoch == 0 else ("train", "test"))
    ]
    for table in TABLES:
        (folder / table_path(table)).parent.mkdir(exist_ok=True)
        (folder / table_path(table)).write_bytes(b"not read, only hashed")
    write_table("runs", runs.assign(weight_decay=0.0), folder / table_path("runs"))
    write_table("histories", pd.DataFrame(histories), folder / table_path("histories"))
    write_table("claims", _claims(), folder / "claims.parquet")
    (folder / "figures").mkdir(exist_ok=True)
    for name in FIGURES:
        (folder / f"figures/{name}.svg").write_text(_SVG.format(name, "x" * figure_bytes))
    return study


def result(number: int, epoch: int, split: str) -> dict[str, float]:
    """The numbers of a network at an epoch: others for each of them."""
    shift = 0.1 if split == "train" else 0.0
    return {
        "accuracy": 1 - 1 / (epoch + 1.1) - 1e-4 * number,
        "objective": 1 / (epoch + 1) + 1e-3 * number + shift,
        "gap_rms": 0.25 + 1e-3 * number,
        "gap_share": 0.01 * epoch,
    }


def _teacher() -> dict[str, Any]:
    return {
        "role": "teacher", "teacher": None, "teacher_seed": None, "architecture": "resnet8",
        "initialisation": "he", "recipe": "short", "loss": None, "temperature": None,
        "means": None, "mean_gap": None, "perturbation": None, "relative_perturbation": None,
        "seed": 0, "status": "finished",
    }  # fmt: skip


def _student(number: int) -> dict[str, Any]:
    loss, temperature = _LOSSES[number % len(_LOSSES)]
    return {
        "role": "student", "teacher": "resnet8-he-short", "teacher_seed": 0,
        "architecture": "resnet8", "initialisation": "he", "recipe": "short", "loss": loss,
        "temperature": temperature, "means": "trained-teacher", "mean_gap": 0.0,
        "perturbation": 0, "relative_perturbation": 0.0, "seed": number // len(_LOSSES),
        "status": "finished",
    }  # fmt: skip


def _claims() -> pd.DataFrame:
    """A row for every claim of the study, with verdicts in turn; the first has hostile texts."""
    rows = []
    for number, claim in enumerate(CLAIMS):
        value = (-1.0) ** number * 10.0 ** (number % 7 - 3)
        rows.append(
            {
                "id": claim.id, "equation": claim.equation, "form": claim.form,
                "statement": claim.statement, "statistic": claim.statistic, "value": value,
                "ci_low": value - 0.5, "ci_high": value + 0.5, "margin_low": -math.inf,
                "margin_high": 0.1, "verdict": _VERDICTS[number % 3], "n": 5,
                "measured_on": f"digits: {HOSTILE}",
            }
        )  # fmt: skip
    return pd.DataFrame(rows)
