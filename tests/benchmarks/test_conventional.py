"""The conventional way and kdlm's do the same work: after ten steps their weights are the same."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from benchmarks import conventional
from benchmarks.work import CLASSES, Pair, Work, prepare_work
from kdlm.data.images import DTYPES
from kdlm.networks.architectures import build
from kdlm.networks.initialisation import initialise, stream
from kdlm.networks.saved import load_network, save_network
from kdlm.training.students import distill

STEPS = 10


@pytest.fixture
def default_type() -> Iterator[None]:
    """What a conventional training leaves as torch's default type is put back."""
    before = torch.get_default_dtype()
    yield
    torch.set_default_dtype(before)


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The distance of all weights and biases, as a share of the second's norm."""
    assert one.keys() == other.keys()
    names = [name for name in other if name.endswith((".weight", ".bias"))]
    a, b = (torch.cat([state[name].double().flatten() for name in names]) for state in (one, other))
    return float((a - b).norm() / b.norm())


def widen(path: Path, architecture: str) -> None:
    """Make the network in a file one of float64."""
    network = load_network(path, torch.float64)
    save_network(network, path, architecture=architecture, in_channels=3, spec={})


# Each step multiplies the rounding by some factor.
@pytest.mark.parametrize(("precision", "bound"), [("float64", 1e-12), ("float32", 2e-4)])
@pytest.mark.usefixtures("default_type")
def test_ten_steps_leave_the_weights_of_kdlm_s_training(
    tmp_path: Path, precision: str, bound: float
) -> None:
    work = Work(
        tmp_path,
        Pair("resnet14", "resnet8"),
        precision,
        threads=1,
        steps=STEPS,
        augment=False,
        batch=16,
    )
    prepare_work(work)
    if precision == "float64":
        # a teacher in float32 would round the logits that both learn from
        widen(work.teacher / "model.safetensors", work.pair.teacher)
    distill(work.spec, work.data, work.teacher, tmp_path / "student")
    ours = load_file(tmp_path / "student/model.safetensors")
    order = torch.randperm(STEPS * work.batch, generator=stream(work.spec.seed, "student order"))
    outcome = conventional.distil(work, workers=0, order=order.tolist())
    theirs = outcome.weights(work.pair.student)
    assert len(outcome.times) == STEPS
    assert distance(theirs, ours) < bound
    # in ten steps they have moved much further than that
    start = build(work.pair.student, CLASSES, 3, DTYPES[precision])
    initialise(start, "he", stream(work.spec.seed, "student weights"))
    assert distance(start.state_dict(), ours) > 30 * bound
