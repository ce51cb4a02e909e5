"""Taking a teacher that was trained elsewhere into a study."""

import hashlib
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kdlm.data.images import Images, predict
from kdlm.data.prepared import Prepared, open_prepared
from kdlm.errors import InputError
from kdlm.networks.architectures import build
from kdlm.networks.brought import load_brought
from kdlm.networks.devices import configure_torch, resolve_device, to_device
from kdlm.storage.files import reading
from kdlm.study.specs import BroughtTeacherSpec
from kdlm.training.history import RunningMetrics
from kdlm.training.objectives import CrossEntropy
from kdlm.training.outputs import write_outputs

__all__ = ["bring_teacher"]

logger = logging.getLogger(__name__)

_ALIKE = 0.02
"""Two means or sds of pixels, from 0 to 1, count as the same number, rounded, up to this."""
_FAR_BELOW = 0.05
"""A warning is logged if the test accuracy is further than this below the promised accuracy."""


def bring_teacher(spec: BroughtTeacherSpec, weights: Path, data: Path, directory: Path) -> None:
    """Write the files of a teacher whose ``weights`` were trained elsewhere to ``directory``.

    The files are the same as those of a teacher that was trained here: weights, logits, run.json,
    and a history. The history has a single epoch, 0, with the weights as they were brought.

    Args:
        spec: the teacher's spec.
        weights: file of the weights.
        data: file of the prepared dataset.
        directory: folder that the files are written to.

    Raises:
        InputError: the checksum of the weights is not that of the spec, the weights do not fit the
            architecture, or the classes or the normalisation are not those of the dataset.

    """
    configure_torch(spec.threads)
    device = resolve_device(spec.device)
    with reading(weights), weights.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != spec.sha256:
        raise InputError(
            f"{weights}: its SHA-256 is {found}, not {spec.sha256}; run snakemake again"
        )
    prepared = open_prepared(data)
    _check_normalisation(spec, prepared, weights)
    channels, _, side = prepared.image_shape
    model = build(spec.architecture, prepared.num_classes, channels, torch.float32, side)
    load_brought(model, spec.architecture, weights)
    to_device(model, device)
    model.eval()
    logits: dict[str, tuple[Tensor, Tensor]] = {}
    rows: list[dict[str, Any]] = []
    for split, labels in (("train", prepared.train_labels), ("test", prepared.test_labels)):
        images = Images.of(prepared, split, "float32", device)
        logits[split] = predict(model, images), labels
        measured = RunningMetrics()
        reference = CrossEntropy().recorded(split, 0, len(labels))
        measured.add(CrossEntropy(), logits[split][0], reference, images.labels)
        rows.append({"epoch": 0, "split": split} | measured.row())
    _compare_accuracy(spec, rows[-1]["accuracy"], weights)
    write_outputs(
        directory,
        spec=spec,
        model=model,
        image_shape=prepared.image_shape,
        history=rows,
        logits=logits,
        device=device,
        resumptions=[],
    )


def _check_normalisation(spec: BroughtTeacherSpec, prepared: Prepared, weights: Path) -> None:
    if spec.normalisation is None:
        return
    for name, given, ours in (
        ("mean", spec.normalisation.mean, prepared.mean),
        ("sd", spec.normalisation.sd, prepared.sd),
    ):
        if len(given) != len(ours) or max(abs(a - b) for a, b in zip(given, ours)) > _ALIKE:  # noqa: B905
            raise InputError(
                f"{weights}: normalisation.{name} is {list(given)}, but images of "
                f"{prepared.name} are normalised by {[round(value, 4) for value in ours]} here; a "
                f"teacher sees other images than it was trained on"
            )


def _compare_accuracy(spec: BroughtTeacherSpec, accuracy: float, weights: Path) -> None:
    logger.info("%s: test accuracy %.4f", weights, accuracy)
    if spec.accuracy is not None and accuracy < spec.accuracy - _FAR_BELOW:
        logger.warning(
            "%s: test accuracy %.4f, far below the %.4f that the config promises; are the order of "
            "the classes, the normalisation and the images those that it was trained with?",
            weights,
            accuracy,
            spec.accuracy,
        )
