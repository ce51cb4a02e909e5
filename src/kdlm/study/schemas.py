"""The columns of every table as plain data: name, type, unit and meaning.

`kdlm.storage.parquet` makes Arrow schemas from them. This module imports neither pyarrow nor torch,
so a config can be read without either, although its tolerances are checked against columns.
"""

from collections.abc import Mapping
from pathlib import Path

__all__ = [
    "ENERGY_KEYS",
    "INIT_MEANS_KEYS",
    "SCHEMAS",
    "SCHEMA_VERSION",
    "STUDENT_KEYS",
    "TABLES",
    "TEACHER_KEYS",
    "Columns",
    "table_path",
]

SCHEMA_VERSION = 3
"""Version of the tables, part of every job's parameters.

Increase it when a column changes its name, type or meaning.
"""

TABLES = (
    "runs",
    "histories",
    "energies",
    "comparisons",
    "layer_means",
    "init_means",
    "gradient_limit",
    "identities",
)
"""Names of the tables that are gathered from the files of many jobs."""


def table_path(name: str) -> Path:
    """Return the path of a gathered table, relative to the study's folder.

    >>> table_path("runs").as_posix()
    'tables/runs.parquet'
    """
    return Path("tables", f"{name}.parquet")


Columns = Mapping[str, tuple[str, str, str]]
"""By column: type (text, int, float, logits, …), unit (``1`` is a pure number) and meaning."""

TEACHER_KEYS: Columns = {
    "architecture": ("text", "1", "the network, a name of kdlm.study.names.ARCHITECTURES"),
    "initialisation": ("text", "1", "how its weights were drawn"),
    "recipe": ("text", "1", "the named block of the config it was trained by"),
    "seed": ("int", "1", "seed of initial weights, batch order and augmentation"),
}

STUDENT_KEYS: Columns = {
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
    "means": ("text", "1", "whose c^t the gap refers to, a name of kdlm.study.names.MEANS"),
    "mean_gap": ("float", "logit", "training-set mean of c^s - c^t imposed before training"),
    "perturbation": ("int", "ulp", "units in the last place added to every initial weight"),
    "relative_perturbation": ("float", "1", "e in w (1 + e x), x = 1 or -1, of initial weights"),
    "seed": TEACHER_KEYS["seed"],
}

INIT_MEANS_KEYS: Columns = {
    "architecture": TEACHER_KEYS["architecture"],
    "initialisation": TEACHER_KEYS["initialisation"],
    "batchnorm": ("text", "1", "mode of the BatchNorm layers: train or eval"),
}

_HISTORY: Columns = {
    "epoch": ("int", "epoch", "0 is the untrained network"),
    "split": (
        "text",
        "1",
        "train: the augmented batches as trained on, BatchNorm in train mode; "
        "test: the test set, eval mode, absent at epoch 0; "
        "initial: the training set before training, not augmented, train mode, epoch 0 only; "
        "probe: one fixed batch of training images, train mode",
    ),
    # Not called "loss" and "mean_gap", which are keys of the folders: a reader of the whole tree
    # makes columns of these keys too.
    "objective": ("float", "nat", "mean of the loss that is trained"),
    "accuracy": ("float", "1", "share of right predictions"),
    "mean_logit": ("float", "logit", "mean over samples and classes"),
    "mean_logit_rms": ("float", "logit", "root mean square over samples of c(x)"),
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
    "gap": ("float", "logit", "students only: mean over samples of g = c^s - c^t"),
    "gap_rms": ("float", "logit", "students only: root mean square over samples of g"),
    "gap_energy": (
        "float",
        "1",
        "students only: half the mean of g^2, which is the loss of LM minus that of centred LM",
    ),
    "gap_share": ("float", "1", "students only: gap_energy over the loss of LM"),
}

ENERGY_KEYS: Columns = {
    **{
        key: STUDENT_KEYS[key]
        for key in (
            "teacher",
            "architecture",
            "initialisation",
            "recipe",
            "loss",
            "temperature",
            "means",
            "mean_gap",
        )
    },
    "epoch": _HISTORY["epoch"],
    "split": _HISTORY["split"],
}
"""What a row of table ``energies`` is about: an arm, an epoch and a split."""

_STATUS: Columns = {
    "status": (
        "text",
        "1",
        "finished; diverged: training ended where a number was NaN or infinite; "
        "missing: its files are not there or damaged",
    ),
    "reason": ("text", "1", "why numbers of this row are null that should not be"),
}

_RUN: Columns = {
    **_STATUS,
    "num_classes": ("int", "1", "K, outputs of the network"),
    "parameters": ("int", "1", "number of trained parameters"),
    "epochs": ("int", "epoch", "epochs trained"),
    "last_accuracy": ("float", "1", "test accuracy after the last epoch: the reported one"),
    "best_accuracy": ("float", "1", "highest test accuracy of any epoch"),
    "best_epoch": ("int", "epoch", "first epoch with the highest test accuracy"),
    "logit_mean": ("float", "logit", "mean test logit after the last epoch"),
    "logit_rms": ("float", "logit", "root mean square of z - c on the test set, last epoch"),
    "logit_magnitude": ("float", "logit", "mean of |z| on the test set, last epoch"),
    "calibration_error": (
        "float",
        "1",
        "expected calibration error on the test set, 15 bins of equal width, last epoch",
    ),
    "weight_decay": ("float", "1", "the recipe's weight decay"),
    "ce_weight": ("float", "1", "the recipe's weight of the cross-entropy"),
    "optimizer": ("text", "1", "the recipe's optimiser"),
    "precision": ("text", "1", "the recipe's precision"),
}

_SIDE: Columns = {
    key: STUDENT_KEYS[key]
    for key in (
        "loss",
        "temperature",
        "means",
        "mean_gap",
        "perturbation",
        "relative_perturbation",
        "seed",
    )
}

_MEANS: Columns = {
    "seed": ("int", "1", "seed of the initial weights"),
    "layer": ("text", "1", "module name; the last is the classifier"),
    "depth": ("int", "1", "position of the layer in the order of the forward pass"),
    "kind": (
        "text",
        "1",
        "convolution, batchnorm, hidden (linear, not the last) or linear (the last)",
    ),
    "mean": ("float", "logit", "mean over images and units of the layer's output"),
    "sd_over_images": ("float", "logit", "sd over images of the mean over units"),
    "rms": ("float", "logit", "root mean square of the layer's output"),
    "predicted_sd": (
        "float",
        "logit",
        "linear only: exact sd of the mean given the features, sqrt((s_b^2 + s_w^2 |f|^2)/K)",
    ),
}

SCHEMAS: Mapping[str, Columns] = {
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
    "energies": {
        **ENERGY_KEYS,
        "n": ("int", "1", "number of finished students, one for each seed and teacher seed"),
        "gap_energy_mean": ("float", "1", "mean over students of gap_energy in histories"),
        "gap_energy_sd": ("float", "1", "its sd over students"),
        "gap_share_mean": ("float", "1", "mean over students of gap_share in histories"),
        "gap_share_sd": ("float", "1", "its sd over students"),
        "gap_share_min": ("float", "1", "its smallest value of any student"),
        "gap_share_max": ("float", "1", "its largest value of any student"),
        "gap_rms_mean": ("float", "logit", "mean over students of gap_rms in histories"),
        "gap_rms_sd": ("float", "logit", "its sd over students"),
        "gap_mean": ("float", "logit", "mean over students of gap in histories"),
        "gap_sd": ("float", "logit", "its sd over students"),
    },
    "runs": {"role": ("text", "1", "teacher or student"), **STUDENT_KEYS, **_RUN},
    "comparisons": {
        "kind": (
            "text",
            "1",
            "objective: same seed, another loss, temperature, mean gap or kind of means; "
            "floor: the same student, initial weights some units in the last place apart; "
            "rung: the same student, initial weights w and w (1 + e x), x = 1 or -1; "
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
        "weights_jitter": (
            "float",
            "1",
            "relative jitter e of initial weights that carries one and the same loss as far as "
            "weights_share; 0 below the ladder's lowest rung; inf where saturated, at half of the "
            "ladder's plateau or above; null without a ladder",
        ),
        "logits_jitter": ("float", "1", "the same for logits_share"),
        "agreement": ("float", "1", "share of test images with the same prediction"),
        "disagreement_share": ("float", "1", "1 - agreement over that between seeds, likewise"),
        "accuracy_difference": ("float", "1", "test accuracy of a minus that of b, last epoch"),
        "accuracy_image_error": (
            "float",
            "1",
            "standard error of accuracy_difference from the test images alone: of their mean of "
            "right_a - right_b",
        ),
        "calibration_difference": (
            "float",
            "1",
            "expected calibration error of a minus that of b, test set, last epoch",
        ),
    },
    "means": _MEANS,
    "layer_means": {**INIT_MEANS_KEYS, **_MEANS},
    "init_means": {
        **INIT_MEANS_KEYS,
        "layer": ("text", "1", "module name"),
        "depth": ("int", "1", "position of the layer in the order of the forward pass"),
        "kind": (
            "text",
            "1",
            "convolution, batchnorm, hidden (linear, not the last) or linear (the last)",
        ),
        "seeds": (
            "int",
            "1",
            "number of seeds that recorded the layer: all for the last layer, layer_seeds of the "
            "config for the others",
        ),
        "mean": ("float", "logit", "mean over seeds of the layer's mean output"),
        "sd": ("float", "logit", "sd over seeds"),
        "standard_error": ("float", "logit", "sd / sqrt(seeds)"),
        "ci_low": ("float", "logit", "95 % confidence limit of the mean, Student t"),
        "ci_high": ("float", "logit", "95 % confidence limit of the mean, Student t"),
        "rms": ("float", "logit", "root mean square over seeds of the layer's rms"),
        "sd_over_images": (
            "float",
            "logit",
            "root mean square over seeds of the sd over images of the mean over units",
        ),
        "image_share": (
            "float",
            "1",
            "share of the variance over seeds that fewer or other images would change: "
            "sd_over_images^2 over the number of images and sd^2",
        ),
        "predicted_sd": ("float", "logit", "linear only: root mean square of the predicted sd"),
        "expected_sd": (
            "float",
            "logit",
            "linear only: sd that theory gives a ResNet of infinite width; null for other networks",
        ),
        "blocks": ("int", "1", "number of residual blocks; null for other networks"),
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
"""The columns of every table: by the table's name, and by the column's."""
