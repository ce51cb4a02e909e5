"""Tables with the rows that a study will have and with random results, before it is run.

`kdlm.claims.power` measures claims on them. The value of a finding from these tables means nothing,
but its number of units and the level of its interval are those that the study will have.
"""

from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch

from kdlm.claims.evidence import Evidence
from kdlm.networks.architectures import build
from kdlm.networks.init_means import KINDS
from kdlm.study import names
from kdlm.study.config import InitMeans, Study
from kdlm.study.schemas import SCHEMAS
from kdlm.tables.comparisons import comparisons, with_shares
from kdlm.tables.networks import networks
from kdlm.tables.runs import runs

__all__ = ["planned"]

_SHARES = ["weights_share", "logits_share", "disagreement_share"]


def planned(study: Study) -> Evidence:
    """Return the tables of ``study`` as if every network had finished, with random results.

    Results are random numbers between 1/2 and 1. A share of a distance between seeds is null where
    the study has no second seed. The other tables, which no claim over seeds reads, are empty.
    """
    with TemporaryDirectory() as empty:
        found = networks(study, Path(empty))
        tables = {"runs": _finished(runs(found), "runs")}
        pairs = _finished(comparisons(found), "comparisons")
    if not pairs.empty:
        pairs = with_shares(pairs.drop(columns=_SHARES))
    tables["comparisons"] = pairs
    tables["histories"] = _histories(tables["runs"])
    tables["layer_means"] = _layer_means(study.init_means)
    nothing = {
        field.name: pd.DataFrame(columns=list(SCHEMAS[field.name]))
        for field in fields(Evidence)
        if field.name not in (*tables, "margins", "dataset")
    }
    return Evidence(**tables, **nothing, margins=study.margins, dataset=study.dataset.name)


def _finished(rows: pd.DataFrame, table: str) -> pd.DataFrame:
    """Return ``rows`` of ``table``; columns of numbers that are all null are filled."""
    generator = np.random.default_rng(0)
    filled: dict[str, object] = {
        name: generator.uniform(0.5, 1, len(rows)) if kind == "float" else 2
        for name, (kind, *_) in SCHEMAS[table].items()
        if kind in ("float", "int") and (name not in rows or rows[name].isna().all())
    }
    return rows.assign(**filled, status="finished", reason=None)


def _histories(networks: pd.DataFrame) -> pd.DataFrame:
    """Return the first and the last epoch of each of the ``networks``, rows of table ``runs``."""
    shared = [column for column in SCHEMAS["histories"] if column in networks]
    splits = pd.concat(
        pd.DataFrame({"first": first, "split": split})
        for first, split in (
            (True, ["probe", "initial"]),
            (False, ["probe", "train", "test"]),
        )
    )
    rows = networks[[*shared, "epochs"]].merge(splits, how="cross")
    rows["epoch"] = rows["epochs"].where(~rows["first"], 0)
    rows = _finished(rows.drop(columns=["epochs", "first"]), "histories").drop(columns="reason")
    # With he-centred, the mean logit of every sample is 0.
    means = rows["mean_logit_rms"].mask(rows["initialisation"] == "he-centred", 0.0)
    return rows.assign(mean_logit_rms=means)


def _layer_means(config: InitMeans) -> pd.DataFrame:
    """Return a row for each kind of layer of every network, protocol and seed of ``config``.

    Beyond the seeds that record every layer there are rows of the last layer only.
    """
    facts = names.DATASETS[config.dataset.name]
    kinds = [
        {"architecture": architecture, "layer": kind, "kind": kind, "depth": depth}
        for architecture in config.architectures
        for depth, kind in enumerate(
            _kinds(architecture, config.num_classes, facts.channels, config.dataset.side)
        )
    ]
    rows = pd.DataFrame(kinds)
    for column, values in (
        ("initialisation", config.initialisations),
        ("batchnorm", config.batchnorm),
        ("seed", range(config.seeds)),
    ):
        rows = rows.merge(pd.DataFrame({column: list(values)}), how="cross")
    rows = rows[(rows["kind"] == "linear") | (rows["seed"] < config.layer_seeds)]
    rows = _finished(rows, "layer_means").drop(columns=["status", "reason"])
    # With he-centred the mean logit is 0 for every seed, so its sd is 0.
    constant = (rows["kind"] != "linear") | (rows["initialisation"] == "he-centred")
    return rows.assign(predicted_sd=rows["predicted_sd"].mask(constant, 0.0))


def _kinds(architecture: str, num_classes: int, channels: int, side: int) -> list[str]:
    """Return the kinds of layers that a network has, as table ``means`` names them."""
    with torch.device("meta"):
        model = build(architecture, num_classes, channels, image_side=side)
    found = {
        "linear" if module is model.classifier else KINDS[type(module)]
        for module in model.modules()
        if type(module) in KINDS
    }
    return sorted(found)
