"""Training a teacher by cross-entropy; this module imports no distillation loss."""

from pathlib import Path

import torch

from kdlm.data.images import DTYPES, Images, predict
from kdlm.data.prepared import open_prepared
from kdlm.errors import InputError
from kdlm.networks.architectures import build
from kdlm.networks.devices import configure_torch, resolve_device, to_device
from kdlm.networks.initialisation import initialise, stream
from kdlm.sources import digest
from kdlm.study.specs import TeacherSpec
from kdlm.training.checkpoints import Checkpoint, CheckpointPolicy
from kdlm.training.loop import train
from kdlm.training.objectives import CrossEntropy
from kdlm.training.outputs import write_outputs

__all__ = ["train_teacher"]


def train_teacher(
    spec: TeacherSpec, data: Path, directory: Path, keeping: CheckpointPolicy | None = None
) -> None:
    """Train one teacher and write its files to ``directory``.

    The teacher's logits are stored for the test images and for the training images, both in eval
    mode and without augmentation. The students' mean gap is set relative to the teacher's mean
    logit over the training images.

    Args:
        spec: the teacher's spec.
        data: file of the prepared dataset.
        directory: folder that the files are written to.
        keeping: where and how often to save checkpoints; None saves none.

    Raises:
        InputError: the dataset cannot be read or leaves a single image for the last batch, the
            device is missing, or the training diverged.
        SystemExit: a signal asked to stop.

    """
    configure_torch(spec.threads)
    device = resolve_device(spec.device)
    prepared = open_prepared(data)
    spec.recipe.refuse_last_image(len(prepared.train_labels))
    channels, _, side = prepared.image_shape
    dtype = DTYPES[spec.recipe.precision]
    model = build(spec.architecture, prepared.num_classes, channels, dtype, side)
    initialise(model, spec.initialisation, stream(spec.seed, "teacher weights"))
    to_device(model, device)
    checkpoint = Checkpoint(
        keeping,
        {
            "spec": spec.canonical_json(),
            "version of the code": digest("kdlm.training.teachers"),
            "version of torch": torch.__version__,
            "kind of device": device.type,
            "data set": prepared.sha256,
        },
    )
    trained = train(model, CrossEntropy(), spec, prepared, "teacher", checkpoint)
    if trained.diverged:
        raise InputError(
            f"{directory}: the teacher diverged in epoch {trained.diverged.epoch}, batch "
            f"{trained.diverged.batch}, so its students have nothing to learn from; give its "
            f"recipe a smaller learning rate; last good checkpoint: {checkpoint.last}"
        )
    model.eval()
    train_images = Images.of(prepared, "train", spec.recipe.precision, device)
    write_outputs(
        directory,
        spec=spec,
        model=model,
        image_shape=prepared.image_shape,
        history=trained.history,
        logits={
            "train": (predict(model, train_images), prepared.train_labels),
            "test": (trained.test_logits, prepared.test_labels),
        },
        device=device,
        resumptions=checkpoint.resumptions,
    )
    checkpoint.remove()
