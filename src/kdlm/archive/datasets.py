"""Facts about the datasets of a study: origin, licence, SHA-256. No data are archived."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kdlm.data.prepared import open_prepared
from kdlm.study.config import Study

__all__ = ["ORIGINS", "Origin", "describe"]


@dataclass(frozen=True)
class Origin:
    """The source of a dataset and its licence."""

    title: str
    url: str | None
    licence: str
    licence_url: str | None


ORIGINS = {
    "digits": Origin(
        "Optical Recognition of Handwritten Digits (UCI), the 1,797 images that scikit-learn ships",
        "https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
        "CC BY 4.0",
        "https://creativecommons.org/licenses/by/4.0/",
    ),
    "photographs": Origin(
        "The sample photographs china.jpg and flower.jpg that scikit-learn ships",
        "https://scikit-learn.org/stable/modules/generated/"
        "sklearn.datasets.load_sample_images.html",
        "CC BY 2.0",
        "https://creativecommons.org/licenses/by/2.0/",
    ),
    "scikit-image": Origin(
        "Patches of the photographs astronaut, chelsea, coffee and rocket that scikit-image ships",
        "https://scikit-image.org/docs/stable/api/skimage.data.html",
        "CC0, or in the public domain",
        "https://creativecommons.org/publicdomain/zero/1.0/",
    ),
    "fashion-mnist": Origin(
        "Fashion-MNIST (Xiao, Rasul, Vollgraf 2017)",
        "https://github.com/zalandoresearch/fashion-mnist",
        "MIT",
        "https://spdx.org/licenses/MIT",
    ),
    "cifar10": Origin(
        "CIFAR-10 (Krizhevsky 2009)",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        "none stated; its page asks for a citation",
        None,
    ),
    "cifar100": Origin(
        "CIFAR-100 (Krizhevsky 2009)",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        "none stated; its page asks for a citation",
        None,
    ),
    "imagefolder": Origin(
        "A folder of images of the user's own", None, "the user's to state", None
    ),
}
"""Origins by the dataset's name in config.yaml."""


def describe(study: Study, folder: Path) -> dict[str, dict[str, Any]]:
    """Return the facts about each dataset prepared in the study's ``folder``, by its name.

    They are those of `Origin`, the numbers of images, their shape, the classes, mean and sd of the
    training images per channel, and the SHA-256 of the prepared file.

    Raises:
        InputError: a prepared dataset is missing or damaged.

    """
    described = {}
    configs = {dataset.name: dataset for dataset in (study.dataset, study.init_means.dataset)}
    for name, config in sorted(configs.items()):
        prepared = open_prepared(folder / f"data/{name}.safetensors")
        title = ORIGINS[name].title + config.label.removeprefix(name)
        described[name] = asdict(ORIGINS[name]) | {
            "title": title,
            "train_images": len(prepared.train_labels),
            "test_images": len(prepared.test_labels),
            "image_shape": list(prepared.image_shape),
            "classes": list(prepared.classes),
            "mean": list(prepared.mean),
            "sd": list(prepared.sd),
            "sha256": prepared.sha256,
        }
    return described
