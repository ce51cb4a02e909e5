"""What work costs, in one place, with the source of each number.

Times are processor time in seconds, of one thread unless something else is said. They were
measured on two cores of an AMD Zen 5 with AVX-512 (`python -m benchmarks training`, `init_means`
and `scale`; docs/performance has the tables), and hold there within about a third. Processors
without AVX-512 are slower. `kdlm.planning.earlier` scales them by what an earlier run took.
"""

from dataclasses import dataclass

from kdlm.study.specs import Precision

__all__ = [
    "CUDA",
    "FIGURES",
    "GATHERING",
    "NETWORKS",
    "ONE_CORE",
    "START",
    "TEST_IMAGES",
    "Device",
    "NetworkFacts",
]


@dataclass(frozen=True)
class NetworkFacts:
    """Facts about an architecture that its cost follows from; a test counts them in the networks.

    Attributes:
        operations: multiplications of a forward pass of one image of 3×32×32 pixels, without the
            classifier.
        layers: number of convolutions and linear layers.
        numbers: of weights and buffers, without the classifier.
        features: F, the classifier's inputs.
        tensors: number of weights and buffers that are tensors of their own.

    """

    operations: int
    layers: int
    numbers: int
    features: int
    tensors: int


NETWORKS = {
    "resnet8": NetworkFacts(12_500_992, 10, 78_073, 64, 56),
    "resnet14": NetworkFacts(26_656_768, 16, 175_743, 64, 92),
    "resnet20": NetworkFacts(40_812_544, 22, 273_413, 64, 128),
    "resnet32": NetworkFacts(69_124_096, 34, 468_753, 64, 200),
    "resnet44": NetworkFacts(97_435_648, 46, 664_093, 64, 272),
    "resnet56": NetworkFacts(125_747_200, 58, 859_433, 64, 344),
    "resnet110": NetworkFacts(253_149_184, 112, 1_738_463, 64, 668),
    "resnet8x4": NetworkFacts(177_045_504, 11, 1_210_602, 256, 62),
    "resnet32x4": NetworkFacts(1_083_015_168, 35, 7_418_114, 256, 206),
    "wrn-16-2": NetworkFacts(101_105_664, 17, 692_221, 128, 83),
    "wrn-40-2": NetworkFacts(327_598_080, 41, 2_247_701, 128, 227),
    "vgg8": NetworkFacts(96_141_312, 6, 3_916_677, 512, 37),
    "vgg13": NetworkFacts(284_884_992, 11, 9_416_778, 512, 72),
    "mlp": NetworkFacts(851_968, 3, 852_480, 256, 6),
}


@dataclass(frozen=True)
class Device:
    """How fast a device trains.

    Attributes:
        operations: multiplications a second, by precision.
        layer: seconds of one layer in one training step that do not depend on the number of images:
            calls, metrics, and the optimizer.
        source: where these numbers come from, for the reader of a plan.

    """

    operations: dict[Precision, float]
    layer: float
    source: str


ONE_CORE = Device(
    # float32: 75 ms for a step of 64 images of 3×32×32 pixels, ResNet-20 → ResNet-8, which are
    # 5.0e9 multiplications; bfloat16 52 ms. float64: 4.9 s for an epoch of 416 such images,
    # ResNet-20, which is 5.1e10.
    {"float32": 70e9, "bfloat16": 95e9, "float64": 11e9},
    # 23 steps of digits: ResNet-8 .21 s, ResNet-20 .39 s, with 3.4e9 and 1.1e10 multiplications
    0.55e-3,
    "measured on one core of an AMD Zen 5",
)

CUDA = Device(
    {"float32": 2e12, "bfloat16": 4e12, "float64": 0.5e12},
    0.2e-3,
    "assumed, not measured: 2e12 multiplications a second and 0.2 ms a layer and step",
)
"""No training has been timed on a GPU."""

START = 1.6
"""Seconds of a job that trains nothing: its shell, importing torch, reading and writing files."""

GATHERING = {
    # by rule: seconds for the study, and for each of its networks (`python -m benchmarks scale`)
    "resolve": (0.3, 0.0),
    "collect": (1.6, 7.4e-3),
    "compare": (0.7, 2.3e-3),
    "summarise_init_means": (0.9, 0.0),
    "theory": (1.9, 0.0),
    "judge": (1.2, 1.2e-3),
    "write_report": (4.0, 4e-3),
}
FIGURES = (2.0, 0.3e-3)
"""Seconds of one figure for the study, and for each of its networks."""

TEST_IMAGES = {
    "digits": 360, "photographs": 104, "scikit-image": 101, "fashion-mnist": 10_000,
    "cifar10": 10_000, "cifar100": 10_000,
}  # fmt: skip
"""Test images of each dataset that is not a folder of the user's."""
