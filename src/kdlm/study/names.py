"""The names a config may use, known without importing torch.

Snakemake reads this while it parses the Snakefile; a test holds each list against its registry.
"""

import math
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "ARCHITECTURES",
    "DATASETS",
    "INITIALISATIONS",
    "LOSSES",
    "MINIMUM_IMAGE_SIDE",
    "ArchitectureFacts",
    "DatasetFacts",
    "LossFacts",
]


@dataclass(frozen=True)
class ArchitectureFacts:
    """What is fixed for each architecture; its function is in `kdlm.networks.architectures`.

    ``minimum_side`` is the smallest side of images in pixels that leaves a pixel after every
    halving. A network ``of_one_side`` has weights for each pixel, so it is built for one side.
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

INITIALISATIONS = ("he", "default", "xavier", "he-centred")


@dataclass(frozen=True)
class LossFacts:
    """What a loss needs, and what kind it is; its function is in `kdlm.losses.LOSSES`.

    ``needs`` names the arguments of the function besides ``student_logits``: of ``teacher_logits``,
    ``targets``, ``temperature``, ``student_mean`` and ``teacher_mean``. ``family`` says what a
    student of the loss is compared with. ``fixed_temperature`` stands in the spec and the path of
    a loss that needs no temperature: 1 for the cross-entropy, inf for the limits of distillation.
    """

    label: str
    needs: tuple[str, ...]
    family: Literal["cross-entropy", "distillation", "logits matching"]
    fixed_temperature: float = math.inf

    @property
    def tempered(self) -> bool:
        """Whether an arm of the config gives the temperatures."""
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
}

# two stages halve the image: below this a stage would have no pixel left
MINIMUM_IMAGE_SIDE = 4


@dataclass(frozen=True)
class DatasetFacts:
    """What is fixed for each dataset: its images, and the augmentation of those it trains on.

    ``image_side``, in pixels, is None where the config chooses it, and the number of
    ``train_images`` where it depends on a folder.
    """

    channels: int
    image_side: int | None
    crop_padding: int
    flip: bool
    train_images: int | None


DATASETS = {
    # a mirrored digit is another digit, or none
    "digits": DatasetFacts(channels=1, image_side=8, crop_padding=1, flip=False, train_images=1437),
    "photographs": DatasetFacts(
        channels=3, image_side=32, crop_padding=4, flip=True, train_images=416
    ),
    "fashion-mnist": DatasetFacts(
        channels=1, image_side=28, crop_padding=4, flip=True, train_images=60000
    ),
    "cifar10": DatasetFacts(
        channels=3, image_side=32, crop_padding=4, flip=True, train_images=50000
    ),
    "cifar100": DatasetFacts(
        channels=3, image_side=32, crop_padding=4, flip=True, train_images=50000
    ),
    "imagefolder": DatasetFacts(
        channels=3, image_side=None, crop_padding=4, flip=True, train_images=None
    ),
}
