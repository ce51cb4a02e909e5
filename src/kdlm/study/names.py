"""The names that a config can use, with facts about each, without importing torch.

Snakemake imports this module while it parses the Snakefile, so it has to be quick. Tests compare
each list of names with the registry of functions that it belongs to.
"""

import math
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "ARCHITECTURES",
    "DATASETS",
    "INITIALISATIONS",
    "LOSSES",
    "MEANS",
    "MINIMUM_IMAGE_SIDE",
    "ArchitectureFacts",
    "DatasetFacts",
    "LossFacts",
]


@dataclass(frozen=True)
class ArchitectureFacts:
    """Facts about an architecture; `kdlm.networks.architectures` has the function that builds it.

    Attributes:
        minimum_side: smallest side of images, in pixels, at which every layer still has a pixel.
        of_one_side: whether the network has weights for each pixel, so that it has to be built for
            images of one side.

    """

    minimum_side: int = 4
    of_one_side: bool = False


ARCHITECTURES = {
    **{
        f"resnet{size}": ArchitectureFacts()
        for size in ("8", "14", "20", "32", "44", "56", "110", "8x4", "32x4")
    },
    "wrn-16-2": ArchitectureFacts(),
    "wrn-40-2": ArchitectureFacts(),
    "vgg8": ArchitectureFacts(minimum_side=8),
    "vgg13": ArchitectureFacts(minimum_side=8),
    "mlp": ArchitectureFacts(minimum_side=1, of_one_side=True),
}
"""The facts of each architecture, by its name in a config."""

INITIALISATIONS = ("he", "default", "xavier", "he-centred")
"""Names of the ways to draw initial weights."""


@dataclass(frozen=True)
class LossFacts:
    """Facts about a loss; `kdlm.losses.LOSSES` has its function.

    Attributes:
        label: its name in figures.
        needs: the arguments of its function besides ``student_logits``. They can be
            ``teacher_logits``, ``targets``, ``temperature``, ``student_mean``, ``teacher_mean``.
        family: decides which other losses a student of this loss is compared with.
        fixed_temperature: the temperature in spec and path if the loss needs no temperature: 1 for
            the cross-entropy, inf for losses that are limits of distillation.

    """

    label: str
    needs: tuple[str, ...]
    family: Literal["cross-entropy", "distillation", "logits matching"]
    fixed_temperature: float = math.inf

    @property
    def tempered(self) -> bool:
        """Whether the loss needs a temperature, so that an arm of the config gives some."""
        return "temperature" in self.needs


_TEACHER = ("teacher_logits",)
_MEANS = ("teacher_logits", "student_mean", "teacher_mean")
_TEMPERED = ("teacher_logits", "temperature")

LOSSES = {
    "ce": LossFacts("CE", ("targets",), "cross-entropy", fixed_temperature=1),
    "kd": LossFacts("KD", _TEMPERED, "distillation"),
    "reverse-kd": LossFacts("reverse KD", _TEMPERED, "distillation"),
    "standardised-kd": LossFacts("standardised KD", _TEMPERED, "distillation"),
    "lm": LossFacts("LM", _TEACHER, "logits matching"),
    "centred-lm": LossFacts("centred LM", _TEACHER, "logits matching"),
    "regularised-lm-corrected": LossFacts("(8) corrected", _MEANS, "logits matching"),
    "regularised-lm-printed": LossFacts("(8) printed", _MEANS, "logits matching"),
    "l1-lm": LossFacts("LM + l1", _MEANS, "logits matching"),
}
"""The facts of each loss, by its name in a config."""

MEANS = ("trained-teacher", "untrained-teacher", "natural")
"""What decides a student's mean gap at the start, and the constants c^s and c^t of (8).

- ``trained-teacher``: c^t is the trained teacher's mean logit over the training set, and the
  student's last bias is shifted until c^s − c^t is the arm's mean gap;
- ``untrained-teacher``: the same, but c^t is the teacher's mean logit before its own training. This
  is what the paper's text says, since it holds that means stay where they are;
- ``natural``: nothing is shifted; c^s is the mean as the initialisation left it, and c^t the
  trained teacher's.
"""

# Two stages of a ResNet halve the image; of a smaller image the last stage would have no pixel.
MINIMUM_IMAGE_SIDE = 4


@dataclass(frozen=True)
class DatasetFacts:
    """Facts about a dataset: its images, and the augmentation of its training images.

    Attributes:
        channels: channels of an image.
        image_side: side of an image in pixels; None where the config chooses it.
        crop_padding: pixels added on each side before a random crop.
        flip: whether training images are mirrored at random.
        train_images: number of training images; None where it depends on a folder.
        classes: number of classes; None where it depends on a folder.
        ships_with: the Python package that contains the images; None where they have a folder.

    """

    channels: int
    image_side: int | None
    crop_padding: int
    flip: bool
    train_images: int | None
    classes: int | None
    ships_with: str | None = None


DATASETS = {
    # no flips here: a mirrored digit can be another digit, or no digit at all
    "digits": DatasetFacts(
        channels=1,
        image_side=8,
        crop_padding=1,
        flip=False,
        train_images=1437,
        classes=10,
        ships_with="scikit-learn",
    ),
    "photographs": DatasetFacts(
        channels=3,
        image_side=32,
        crop_padding=4,
        flip=True,
        train_images=416,
        classes=2,
        ships_with="scikit-learn",
    ),
    "scikit-image": DatasetFacts(
        channels=3,
        image_side=32,
        crop_padding=4,
        flip=True,
        train_images=403,
        classes=4,
        ships_with="scikit-image",
    ),
    "fashion-mnist": DatasetFacts(
        channels=1, image_side=28, crop_padding=4, flip=True, train_images=60000, classes=10
    ),
    "cifar10": DatasetFacts(
        channels=3, image_side=32, crop_padding=4, flip=True, train_images=50000, classes=10
    ),
    "cifar100": DatasetFacts(
        channels=3, image_side=32, crop_padding=4, flip=True, train_images=50000, classes=100
    ),
    "imagefolder": DatasetFacts(
        channels=3, image_side=None, crop_padding=4, flip=True, train_images=None, classes=None
    ),
}
"""The facts of each data set, by its name in a config."""
