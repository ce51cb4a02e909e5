"""The names a config may use, known without importing torch.

Snakemake reads this while it parses the Snakefile; a test holds each list against its registry.
"""

from dataclasses import dataclass

__all__ = [
    "ARCHITECTURES",
    "DATASETS",
    "INITIALISATIONS",
    "LOSSES",
    "MINIMUM_IMAGE_SIDE",
    "DatasetFacts",
]

ARCHITECTURES = (
    "resnet8",
    "resnet14",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
    "resnet110",
    "resnet8x4",
    "resnet32x4",
)

INITIALISATIONS = ("he", "default", "xavier", "he-centred")

LOSSES = ("ce", "kd", "lm", "centred-lm", "regularised-lm-corrected", "regularised-lm-printed")

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
