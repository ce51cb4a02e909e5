"""Numbers that the paper reports: Table 1, mean logits of untrained ResNets on CIFAR-100."""

__all__ = ["MEANS", "SEEDS"]

MEANS = {"resnet8": 1.04e-5, "resnet20": -1.67e-4, "resnet32": 1.72e-4, "resnet44": 2.50e-2}
"""By architecture, the mean over seeds of the mean logit."""
SEEDS = 6000
"""Number of seeds behind each mean."""
