"""Published numbers that this study is held against: Table 1, and accuracies on CIFAR-100."""

from dataclasses import dataclass

__all__ = ["ACCURACIES", "MEANS", "SEEDS", "Accuracies"]

MEANS = {"resnet8": 1.04e-5, "resnet20": -1.67e-4, "resnet32": 1.72e-4, "resnet44": 2.50e-2}
"""By architecture, the mean over seeds of the mean logit of untrained ResNets (Table 1)."""
SEEDS = 6000
"""Number of seeds behind each mean."""


@dataclass(frozen=True)
class Accuracies:
    """Test accuracies of one pair of networks after the last epoch, between 0 and 1."""

    teacher: float
    ce: float
    """The student, trained without the teacher."""
    kd: float
    """The student, trained with KD at T = 4 and a tenth of CE."""


ACCURACIES = {
    ("resnet56", "resnet20"): Accuracies(0.7234, 0.6906, 0.7066),
    ("resnet110", "resnet20"): Accuracies(0.7431, 0.6906, 0.7067),
    ("resnet110", "resnet32"): Accuracies(0.7431, 0.7114, 0.7308),
    ("resnet32x4", "resnet8x4"): Accuracies(0.7942, 0.7250, 0.7333),
    ("wrn-40-2", "wrn-16-2"): Accuracies(0.7561, 0.7326, 0.7492),
    ("vgg13", "vgg8"): Accuracies(0.7464, 0.7036, 0.7298),
}
"""By teacher and student, accuracies on CIFAR-100 from Table 1 of Tian, Krishnan, Isola
(Contrastive representation distillation, arXiv 1910.10699), which their code, RepDistiller, prints:
240 epochs, one teacher for each architecture, students as means over five runs.
"""
