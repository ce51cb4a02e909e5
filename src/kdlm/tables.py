"""Every table of the study: its columns with type, unit and meaning; reading and writing.

A Parquet file holds results alone, and in its metadata the specification of the job that made it,
so that equal results are equal bytes. Times, hosts and versions go into ``run.json`` beside it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kdlm.errors import InputError
from kdlm.files import OPEN_SEAL, read_sealed, replacing, sealed

if TYPE_CHECKING:
    # half a second that a training job has no use for
    import pandas as pd

    from kdlm.specs import Spec

__all__ = [
    "INIT_MEANS_KEYS",
    "SCHEMAS",
    "SCHEMA_VERSION",
    "STUDENT_KEYS",
    "TEACHER_KEYS",
    "expect_spec",
    "read_arrow",
    "read_divergence",
    "read_spec",
    "read_table",
    "replacing",
    "write_table",
]

SCHEMA_VERSION = 2
"""Raised when a column changes its name, type or meaning; part of every job's parameters."""

_TYPES = {
    "text": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "float32": pa.float32(),
    "bool": pa.bool_(),
    "logits": pa.list_(pa.float32()),
}

# column: (type, unit, meaning); the unit "1" is a pure number
_Columns = Mapping[str, tuple[str, str, str]]

TEACHER_KEYS: _Columns = {
    "architecture": ("text", "1", "the network, a name of kdlm.resnet"),
    "initialisation": ("text", "1", "how its weights were drawn"),
    "recipe": ("text", "1", "the named block of the config it was trained by"),
    "seed": ("int", "1", "seed of initial weights, batch order and augmentation"),
}

STUDENT_KEYS: _Columns = {
    "teacher": ("text", "1", "<architecture>-<initialisation>-<recipe> of the teacher"),
    "teacher_seed": ("int", "1", "the teacher's seed"),
    "architecture": TEACHER_KEYS["architecture"],
    "initialisation": TEACHER_KEYS["initialisation"],
    "recipe": TEACHER_KEYS["recipe"],
    "loss": ("text", "1", "a name of kdlm.losses.LOSSES"),
    "temperature": (
        "float",
        "1",
        "softmax temperature; 1 for ce, inf for the logits-matching family",
    ),
    "mean_gap": ("float", "logit", "training-set mean of c^s - c^t imposed before training"),
    "perturbation": ("int", "ulp", "units in the last place added to every initial weight"),
    "seed": TEACHER_KEYS["seed"],
}

INIT_MEANS_KEYS: _Columns = {
    "architecture": TEACHER_KEYS["architecture"],
    "initialisation": TEACHER_KEYS["initialisation"],
    "batchnorm": ("text", "1", "mode of the BatchNorm layers: train or eval"),
}

_HISTORY: _Columns = {
    "epoch": ("int", "epoch", "0 is the untrained network"),
    "split": (
        "text",
        "1",
        "train: the augmented batches as trained on, BatchNorm in train mode; "
        "test: the test set, eval mode, absent at epoch 0; "
        "probe: one fixed batch of training images, train mode",
    ),
    # not "loss" or "mean_gap": those are keys of the folder, and readers of the tree join the two
    "objective": ("float", "nat", "mean of the loss that is trained"),
    "accuracy": ("float", "1", "share of right predictions"),
    "mean_logit": ("float", "logit", "mean over samples and classes"),
    "mean_logit_drift": (
        "float",
        "logit",
        "probe only: root mean square over samples of c(x) now minus c(x) at epoch 0",
    ),
    "logit_rms": ("float", "logit", "root mean square of z - c over samples and classes"),
    "logit_gradient_sum": (
        "float",
        "1",
        "largest over samples of |sum_i g_i| / sum_i |g_i|, g the objective's gradient on one "
        "sample's logits, evaluated in float64; 0 where g is no more than rounding",
    ),
    "classifier_weight_sum": ("float", "1", "2-norm of sum_k W_k minus its initial value"),
    "classifier_bias_sum": ("float", "1", "absolute value of sum_k b_k minus its initial value"),
    "classifier_weight_change": ("float", "1", "Frobenius norm of W minus its initial value"),
    "classifier_bias_change": ("float", "1", "2-norm of b minus its initial value"),
    "gap": ("float", "logit", "students only: mean over samples of c^s - c^t"),
}

_STATUS: _Columns = {
    "status": (
        "text",
        "1",
        "finished; diverged: training ended where a number was NaN or infinite; "
        "missing: its files are not there or damaged",
    ),
    "reason": ("text", "1", "why numbers of this row are null that should not be"),
}

_RUN: _Columns = {
    **_STATUS,
    "num_classes": ("int", "1", "K, outputs of the network"),
    "parameters": ("int", "1", "number of trained parameters"),
    "epochs": ("int", "epoch", "epochs trained"),
    "last_accuracy": ("float", "1", "test accuracy after the last epoch: the reported one"),
    "best_accuracy": ("float", "1", "highest test accuracy of any epoch"),
    "best_epoch": ("int", "epoch", "first epoch with the highest test accuracy"),
    "logit_mean": ("float", "logit", "mean test logit after the last epoch"),
    "logit_rms": ("float", "logit", "root mean square of z - c on the test set, last epoch"),
    "logit_magnitude": ("float", "logit", "mean of |z - c| on the test set, last epoch"),
    "weight_decay": ("float", "1", "the recipe's weight decay"),
    "ce_weight": ("float", "1", "the recipe's weight of the cross-entropy"),
    "optimizer": ("text", "1", "the recipe's optimiser"),
}

_SIDE: _Columns = {
    key: STUDENT_KEYS[key] for key in ("loss", "temperature", "mean_gap", "perturbation", "seed")
}

_MEANS: _Columns = {
    "seed": ("int", "1", "seed of the initial weights"),
    "layer": ("text", "1", "module name; the last is the classifier"),
    "depth": ("int", "1", "position of the layer in the order of the forward pass"),
    "kind": ("text", "1", "convolution, batchnorm or linear"),
    "mean": ("float", "logit", "mean over images and units of the layer's output"),
    "sd_over_images": ("float", "logit", "sd over images of the mean over units"),
    "rms": ("float", "logit", "root mean square of the layer's output"),
    "predicted_sd": (
        "float",
        "logit",
        "linear only: exact sd of the mean given the features, sqrt((s_b^2 + s_w^2 |f|^2)/K)",
    ),
}

SCHEMAS: Mapping[str, _Columns] = {
    "history": _HISTORY,
    "logits": {
        "split": ("text", "1", "train (teachers only, no augmentation) or test; eval mode"),
        "index": ("int", "1", "position in the prepared data set"),
        "label": ("int", "1", "true class"),
        "logits": ("logits", "logit", "K logits after the last epoch"),
    },
    "histories": {
        "role": ("text", "1", "teacher or student"),
        **STUDENT_KEYS,
        "status": _STATUS["status"],
        **_HISTORY,
    },
    "runs": {"role": ("text", "1", "teacher or student"), **STUDENT_KEYS, **_RUN},
    "comparisons": {
        "kind": (
            "text",
            "1",
            "objective: same seed, another loss, temperature or mean gap; "
            "floor: the same student, initial weights one ulp apart; "
            "seed: the same student, another seed",
        ),
        **{k: STUDENT_KEYS[k] for k in list(STUDENT_KEYS)[:5]},
        **{f"{k}_a": v for k, v in _SIDE.items()},
        **{f"{k}_b": v for k, v in _SIDE.items()},
        "status": ("text", "1", "finished, or what the worse of the two is: diverged or missing"),
        "reason": _STATUS["reason"],
        "temperature_over_rms": ("float", "1", "temperature_a over the rms of the teacher's z - c"),
        "weights_distance": (
            "float",
            "1",
            "2-norm of the difference of all parameters, W and b of the last layer less their "
            "class mean",
        ),
        "logits_distance": ("float", "logit", "rms difference of class-centred test logits"),
        "weights_share": (
            "float",
            "1",
            "weights_distance over the mean of that between seeds, of the same two students",
        ),
        "logits_share": ("float", "1", "logits_distance over that between seeds, likewise"),
        "agreement": ("float", "1", "share of test images with the same prediction"),
        "accuracy_difference": ("float", "1", "test accuracy of a minus that of b, last epoch"),
    },
    "means": _MEANS,
    "layer_means": {**INIT_MEANS_KEYS, **_MEANS},
    "init_means": {
        **INIT_MEANS_KEYS,
        "layer": ("text", "1", "module name"),
        "depth": ("int", "1", "position of the layer in the order of the forward pass"),
        "kind": ("text", "1", "convolution, batchnorm or linear"),
        "seeds": ("int", "1", "number of seeds"),
        "mean": ("float", "logit", "mean over seeds of the layer's mean output"),
        "sd": ("float", "logit", "sd over seeds"),
        "standard_error": ("float", "logit", "sd / sqrt(seeds)"),
        "ci_low": ("float", "logit", "95 % confidence limit of the mean, Student t"),
        "ci_high": ("float", "logit", "95 % confidence limit of the mean, Student t"),
        "rms": ("float", "logit", "root mean square over seeds of the layer's rms"),
        "predicted_sd": ("float", "logit", "linear only: root mean square of the predicted sd"),
    },
    "gradient_limit": {
        "source": ("text", "1", "random, or the loss of the students whose logits were used"),
        "form": ("text", "1", "printed (7), corrected (7) or lm"),
        "temperature": ("float", "1", "softmax temperature"),
        "temperature_over_rms": ("float", "1", "temperature over the rms of the teacher's z - c"),
        "relative_distance": (
            "float",
            "1",
            "2-norm of the T^2 KD gradient minus the form, over the 2-norm of the corrected form; "
            "median over samples",
        ),
        "relative_distance_max": ("float", "1", "largest over samples"),
        "gradient_norm": ("float", "1", "rms over samples of the 2-norm of the T^2 KD gradient"),
        "slope": (
            "float",
            "1",
            "log-log slope of relative_distance over the temperatures of this source and form "
            "beyond ten rms; the same number in each of their rows",
        ),
    },
    "identities": {
        "claim": ("text", "1", "id of the claim"),
        "form": ("text", "1", "printed, corrected or as stated"),
        "case": ("text", "1", "what it was evaluated on"),
        "statistic": ("text", "1", "what value is"),
        "value": ("float", "1", "worst violation found"),
    },
    "claims": {
        "id": ("text", "1", "the claim"),
        "equation": ("text", "1", "where the paper states it"),
        "statement": ("text", "1", "what is claimed"),
        "form": ("text", "1", "printed, corrected or as stated"),
        "statistic": ("text", "1", "what value is, with its unit"),
        "value": ("float", "1", "the statistic"),
        "ci_low": ("float", "1", "lower confidence limit; equal to value where exact"),
        "ci_high": ("float", "1", "upper confidence limit; equal to value where exact"),
        "margin_low": ("float", "1", "lower end of the margin fixed in the config"),
        "margin_high": ("float", "1", "upper end of the margin fixed in the config"),
        "verdict": ("text", "1", "supported, refuted or inconclusive"),
        "n": ("int", "1", "number of independent units (seeds, samples or cases)"),
        "measured_on": ("text", "1", "what it was measured on, and the reason if inconclusive"),
    },
}


def arrow_schema(
    name: str,
    spec: Mapping[str, Any] | None = None,
    diverged: Mapping[str, Any] | None = None,
) -> pa.Schema:
    """Arrow schema of a table; column metadata hold unit and meaning, the file's the rest."""
    metadata = {"kdlm.table": name, "kdlm.schema_version": str(SCHEMA_VERSION)}
    if spec is not None:
        metadata["kdlm.spec"] = json.dumps(spec, sort_keys=True)
    if diverged is not None:
        metadata["kdlm.diverged"] = json.dumps(diverged, sort_keys=True)
    return pa.schema(
        [
            pa.field(column, _TYPES[kind], metadata={"unit": unit, "meaning": meaning})
            for column, (kind, unit, meaning) in SCHEMAS[name].items()
        ],
        metadata=metadata,
    )


def write_table(
    name: str,
    rows: "pa.Table | pd.DataFrame | list[dict[str, Any]]",
    path: Path,
    spec: Mapping[str, Any] | None = None,
    diverged: Mapping[str, Any] | None = None,
) -> None:
    """Write ``rows`` as table ``name``; NaN, and columns that the rows lack, become null.

    The file's metadata hold the ``spec`` of the job, and where its training ``diverged``.

    Raises:
        ValueError: a column is not in the schema.

    """
    if isinstance(rows, list):
        columns = {column for row in rows for column in row}
        table = pa.table({column: [row.get(column) for row in rows] for column in columns})
    else:
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_pandas(rows)
        table = table.drop_columns([c for c in table.column_names if c.startswith("__index")])
    schema = arrow_schema(name, spec, diverged)
    unknown = set(table.column_names) - set(schema.names)
    if unknown:
        raise ValueError(f"table {name} has no column {', '.join(sorted(unknown))}")
    arrays = [
        _without_nan(table[field.name].cast(field.type))
        if field.name in table.column_names
        else pa.nulls(len(table), field.type)
        for field in schema
    ]
    content = pa.BufferOutputStream()
    with pq.ParquetWriter(content, schema, compression="zstd") as writer:
        writer.write_table(pa.table(arrays, schema=schema))
        writer.add_key_value_metadata({"kdlm.sha256": OPEN_SEAL})
    with replacing(path) as temporary:
        temporary.write_bytes(sealed(content.getvalue().to_pybytes()))


def _without_nan(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """NaN as null, which every reader leaves out of means and of comparisons."""
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)


def read_arrow(path: Path, name: str) -> pa.Table:
    """Read one file of table ``name``.

    Raises:
        InputError: the file is missing, damaged, or not this table; the message names it.

    """
    # in this thread: a short job that has torch too may end while pyarrow's are still starting, and
    # is aborted then, with all its files written
    table = _read(path).read(use_threads=False)
    missing = set(SCHEMAS[name]) - set(table.column_names)
    if missing:
        raise InputError(f"{path}: not a table '{name}': no column {', '.join(sorted(missing))}")
    return table


def _read(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(pa.BufferReader(read_sealed(path)))
    except pa.ArrowInvalid as error:
        raise InputError(
            f"{path}: not a Parquet file; delete it and run snakemake again"
        ) from error


def read_table(path: Path, name: str) -> "pd.DataFrame":
    """`read_arrow` as a data frame."""
    frame: pd.DataFrame = read_arrow(path, name).to_pandas()
    return frame


def read_divergence(path: Path) -> dict[str, Any] | None:
    """Epoch, batch and what was not finite, of a training that diverged; errors as `read_arrow`."""
    metadata = _read(path).schema_arrow.metadata or {}
    diverged: dict[str, Any] | None = json.loads(metadata.get(b"kdlm.diverged", b"null"))
    return diverged


def read_spec(path: Path) -> dict[str, Any]:
    """The specification of the job that wrote the Parquet file ``path``; errors as `read_arrow`."""
    metadata = _read(path).schema_arrow.metadata or {}
    spec: dict[str, Any] = json.loads(metadata.get(b"kdlm.spec", b"{}"))
    return spec


def expect_spec(path: Path, spec: "Spec") -> None:
    """Refuse the Parquet file ``path`` of a job that did anything but ``spec``.

    Raises:
        InputError: it is of another spec, or as `read_arrow`.

    """
    stored, asked = read_spec(path), spec.model_dump(mode="json")
    if stored != asked:
        keys = (key for key in asked | stored if stored.get(key) != asked.get(key))
        raise InputError(
            f"{path} is of another spec than the study asks for ({', '.join(keys)}); "
            f"delete it and run snakemake again"
        )
