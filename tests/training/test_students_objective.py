"""What a student minimises, and what it starts from, stated as properties."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kdlm.data.dataset import Dataset
from kdlm.data.images import Images, predict, train_mode_logits
from kdlm.data.prepared import Prepared, open_prepared, prepare
from kdlm.losses import LOSSES
from kdlm.networks.initialisation import initialise, stream
from kdlm.networks.network import Network
from kdlm.networks.resnet import ResNet, resnet8
from kdlm.study import names
from kdlm.study.specs import Recipe, StudentSpec
from kdlm.training.students import _Distillation, _initial_student
from kdlm.training.teaching import OnlineTeacher

CPU = torch.device("cpu")
CLASSES = 4
TEACHER_MEAN = 0.7
RECIPE: dict[str, Any] = {
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "weight_decay": 0.0,
    "schedule": {"name": "constant"},
    "epochs": 1,
    "batch_size": 8,
    "augment": True,
    "precision": "float64",
}


def spec(loss: str, *, ce_weight: float = 0.0, **changes: Any) -> StudentSpec:
    keys: dict[str, Any] = {
        "architecture": "resnet8",
        "initialisation": "he",
        "crop_padding": 1,
        "flip": False,
        "seed": 0,
        "device": "cpu",
        "threads": 1,
        "temperature": 4.0 if names.LOSSES[loss].tempered else names.LOSSES[loss].fixed_temperature,
        "means": "trained-teacher",
        "mean_gap": 0.0,
        "perturbation": 0,
        "relative_perturbation": 0.0,
    }
    recipe = Recipe(**RECIPE | {"ce_weight": ce_weight})
    return StudentSpec(recipe=recipe, loss=loss, **keys | changes)


@pytest.fixture(scope="module")
def teacher() -> ResNet:
    """A network whose running statistics are far from those of any batch."""
    model = resnet8(num_classes=CLASSES, in_channels=1).double()
    initialise(model, "he", stream(1, "a teacher"))
    images = 3 + torch.randn(64, 1, 8, 8, dtype=torch.float64, generator=torch.manual_seed(0))
    with torch.no_grad():
        model.train()(images)
    return model.eval()


def objective(teacher: ResNet, wanted: StudentSpec) -> _Distillation:
    logits = dict.fromkeys(("train", "test"), torch.zeros(50, CLASSES, dtype=torch.float64))
    return _Distillation(
        wanted, OnlineTeacher(teacher), logits, TEACHER_MEAN + wanted.mean_gap, TEACHER_MEAN
    )


def batch(samples: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of a student and a teacher, of no zero mean, and labels."""
    generator = torch.Generator().manual_seed(4)
    student, reference = (
        mean + 2 * torch.randn(samples, CLASSES, dtype=torch.float64, generator=generator)
        for mean in (3.0, -1.0)
    )
    return student, reference, torch.randint(CLASSES, (samples,), generator=generator)


# the objective


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("weight", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_the_objective_is_w_ce_and_the_rest_the_loss(
    teacher: ResNet, loss: str, weight: float
) -> None:
    student, reference, labels = batch()
    alone = objective(teacher, spec(loss, mean_gap=5.0))(student, reference, labels)
    cross_entropy = functional.cross_entropy(student, labels)
    mixed = objective(teacher, spec(loss, mean_gap=5.0, ce_weight=weight))
    expected = weight * cross_entropy + (1 - weight) * alone
    torch.testing.assert_close(mixed(student, reference, labels), expected)
    # the two terms differ, or the weight on either would do
    assert loss == "ce" or abs(float(alone - cross_entropy)) > 0.1


def pull(of: _Distillation, student: Tensor, reference: Tensor, labels: Tensor) -> float:
    """Derivative of the objective by a number added to all logits."""
    shift = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(of(student + shift, reference, labels), shift)
    return float(gradient)


@pytest.mark.parametrize("gap", [-2.0, 0.0, 5.0])
def test_8_holds_the_mean_gap_where_it_was_put_or_at_its_opposite(
    teacher: ResNet, gap: float
) -> None:
    student, reference, labels = batch()
    now = float((student.mean(dim=1) - reference.mean(dim=1)).mean())
    corrected = objective(teacher, spec("regularised-lm-corrected", mean_gap=gap))
    printed = objective(teacher, spec("regularised-lm-printed", mean_gap=gap))
    # LM alone pulls the gap of now to 0, (8) to the gap of the start, as printed to its opposite
    lm = objective(teacher, spec("lm", mean_gap=gap))
    assert pull(lm, student, reference, labels) == pytest.approx(now)
    assert pull(corrected, student, reference, labels) == pytest.approx(now - gap)
    assert pull(printed, student, reference, labels) == pytest.approx(now + gap)


def test_the_objective_does_not_pull_at_the_mean_where_the_loss_does_not_see_it(
    teacher: ResNet,
) -> None:
    student, reference, labels = batch()
    for loss in ("ce", "kd", "reverse-kd", "standardised-kd", "centred-lm"):
        of = objective(teacher, spec(loss, mean_gap=5.0))
        assert pull(of, student, reference, labels) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("loss", ["ce", "kd", "lm"])
def test_the_objective_is_a_mean_over_samples(teacher: ResNet, loss: str) -> None:
    student, reference, labels = batch()
    of = objective(teacher, spec(loss, ce_weight=0.3))
    singly = [
        float(of(student[i : i + 1], reference[i : i + 1], labels[i : i + 1]))
        for i in range(len(labels))
    ]
    assert float(of(student, reference, labels)) == pytest.approx(sum(singly) / len(singly))


# the teacher


def test_the_teachers_logits_do_not_depend_on_the_batch_they_are_asked_for_in(
    teacher: ResNet,
) -> None:
    of = objective(teacher, spec("kd"))
    images = torch.randn(6, 1, 8, 8, dtype=torch.float64, generator=torch.manual_seed(3))
    together = of.reference(images, 1, 0)
    singly = torch.cat([of.reference(image[None], 1, 0) for image in images])
    torch.testing.assert_close(together, singly)


def test_the_teacher_gets_no_gradient_and_is_left_as_it_is(teacher: ResNet) -> None:
    before = copy.deepcopy(teacher.state_dict())
    of = objective(teacher, spec("kd"))
    images = torch.randn(6, 1, 8, 8, dtype=torch.float64, generator=torch.manual_seed(3))
    reference = of.reference(images, 1, 0)
    assert not reference.requires_grad
    student = torch.zeros(6, CLASSES, dtype=torch.float64, requires_grad=True)
    of(student, reference, torch.zeros(6, dtype=torch.long)).backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    assert all(parameter.grad is None for parameter in teacher.parameters())
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_teacher_works_in_its_own_precision(teacher: ResNet, dtype: torch.dtype) -> None:
    own = copy.deepcopy(teacher).float()
    images = torch.randn(6, 1, 8, 8, dtype=dtype, generator=torch.manual_seed(3))
    reference = objective(own, spec("kd")).reference(images, 1, 0)
    assert reference.dtype == dtype
    assert torch.equal(reference, own(images.float()).detach().to(dtype))


# the student before training


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    generator = torch.Generator().manual_seed(7)
    images = torch.randint(256, (50, 1, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.arange(50) % CLASSES
    folder = tmp_path_factory.mktemp("data")
    dataset = Dataset("digits", images[:40], labels[:40], images[40:], labels[40:], tuple("abcd"))
    prepare(dataset, folder / "data.safetensors")
    return open_prepared(folder / "data.safetensors")


def start(prepared: Prepared, **changes: Any) -> Network:
    return _initial_student(spec("kd", **changes), prepared, TEACHER_MEAN, CPU)[0]


def mean_of(model: Network, prepared: Prepared) -> float:
    """Mean logit over the training set, BatchNorm on its statistics."""
    images = Images.of(prepared, "train", "float64", CPU)
    model = copy.deepcopy(model).train()
    with torch.no_grad():
        return float(predict(model, images).mean())


@pytest.mark.parametrize("gap", [0.0, 5.0, -1.5])
def test_the_mean_over_the_training_set_is_the_teachers_and_the_gap(
    prepared: Prepared, gap: float
) -> None:
    model = start(prepared, mean_gap=gap)
    assert mean_of(model, prepared) == pytest.approx(TEACHER_MEAN + gap)


def test_the_gap_moves_all_classes_alike_and_nothing_else(prepared: Prepared) -> None:
    one, other = (start(prepared, mean_gap=gap).state_dict() for gap in (0.0, 5.0))
    for name in one:
        if name != "classifier.bias":
            assert torch.equal(one[name], other[name]), name
    moved = other["classifier.bias"] - one["classifier.bias"]
    torch.testing.assert_close(moved, torch.full_like(moved, 5))


def test_a_student_starts_with_fresh_statistics(prepared: Prepared) -> None:
    for name, value in start(prepared, mean_gap=3.0).state_dict().items():
        if name.endswith("running_mean"):
            assert torch.equal(value, torch.zeros_like(value)), name
        if name.endswith("running_var"):
            assert torch.equal(value, torch.ones_like(value)), name
        if name.endswith("num_batches_tracked"):
            assert int(value) == 0, name


def test_a_perturbation_comes_on_top_of_the_gap(prepared: Prepared) -> None:
    one, other = (start(prepared, mean_gap=3.0, perturbation=ulps).state_dict() for ulps in (0, 2))
    bias = one["classifier.bias"]
    for _ in range(2):
        bias = bias.nextafter(torch.full_like(bias, math.inf))
    assert torch.equal(bias, other["classifier.bias"])
    assert not torch.equal(one["conv1.weight"], other["conv1.weight"])


@pytest.mark.parametrize("size", [1e-14, 1e-6, 1e-2])
def test_a_jitter_comes_on_top_of_the_gap_and_moves_every_weight_by_its_size(
    prepared: Prepared, size: float
) -> None:
    one, other = (
        dict(start(prepared, mean_gap=3.0, relative_perturbation=e).named_parameters())
        for e in (0.0, size)
    )
    for name, weight in one.items():
        # what is zero stays zero: He's biases, and BatchNorm's shift
        moved = (other[name] / weight - 1)[weight != 0].abs()
        torch.testing.assert_close(moved, torch.full_like(moved, size), rtol=0, atol=3e-16)
        assert torch.equal(other[name] == 0, weight == 0), name


def test_the_mean_that_is_nobodys_is_left_as_it_was_drawn(prepared: Prepared) -> None:
    model = resnet8(num_classes=CLASSES, in_channels=1).double()
    initialise(model, "he", stream(0, "student weights"))
    natural, mean = _initial_student(spec("kd", means="natural"), prepared, TEACHER_MEAN, CPU)
    for name, value in natural.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    assert mean == pytest.approx(mean_of(model, prepared))
    # with other means the student's own is the one that was asked for
    for means in ("trained-teacher", "untrained-teacher"):
        moved, mean = _initial_student(
            spec("kd", means=means, mean_gap=2.0), prepared, TEACHER_MEAN, CPU
        )
        assert mean == pytest.approx(TEACHER_MEAN + 2)
        assert mean_of(moved, prepared) == pytest.approx(TEACHER_MEAN + 2)


def test_the_seed_alone_decides_the_weights(prepared: Prepared) -> None:
    one, again, other = (start(prepared, seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(one["conv1.weight"], again["conv1.weight"])
    assert not torch.equal(one["conv1.weight"], other["conv1.weight"])


# a probe


@pytest.mark.parametrize("training", [True, False])
def test_a_probe_leaves_batchnorm_and_the_mode_alone(training: bool) -> None:
    model = resnet8(num_classes=CLASSES, in_channels=1).train(training)
    initialise(model, "he", stream(0, "a probe"))
    before = copy.deepcopy(model.state_dict())
    images = 5 + torch.randn(9, 1, 8, 8, generator=torch.manual_seed(1))
    logits = train_mode_logits(model, images)
    assert not logits.requires_grad
    assert all(module.training == training for module in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    # it is what training would see: BatchNorm on the statistics of these images
    with torch.no_grad():
        seen = model.train()(images)
    assert torch.equal(seen, logits)
    assert not torch.equal(model.state_dict()["bn1.running_mean"], before["bn1.running_mean"])


# streams


def drawn(purpose: str, seed: int = 0) -> Tensor:
    return torch.randperm(1000, generator=stream(seed, purpose))


@pytest.mark.parametrize("seed", [0, 7])
def test_each_purpose_and_role_has_a_stream_of_its_own(seed: int) -> None:
    purposes = [
        f"{role} {what}"
        for role in ("teacher", "student")
        for what in ("order", "views", "weights", "jitter")
    ]
    draws = [drawn(purpose, seed) for purpose in purposes]
    for i, one in enumerate(draws):
        for other in draws[i + 1 :]:
            # two independent permutations have one fixed point on average
            assert int((one == other).sum()) < 10


Observe = Callable[[list[Tensor]], None]


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_views_do_not_change_the_order_and_have_their_own_stream(
    monkeypatch: pytest.MonkeyPatch, prepared: Prepared, tmp_path: Path, role: str
) -> None:
    """The training loop's random numbers, by what it draws them for."""
    from kdlm.training import loop, views
    from kdlm.training.checkpoints import Checkpoint

    asked: list[str] = []
    streams: dict[str, torch.Generator] = {}

    def noted(seed: int, purpose: str) -> torch.Generator:
        asked.append(purpose)
        return streams.setdefault(purpose, stream(seed, purpose))

    monkeypatch.setattr(views, "stream", noted)
    of = objective(resnet8(num_classes=CLASSES, in_channels=1).double().eval(), spec("lm"))
    model = start(prepared)
    loop.train(model, of, spec("lm"), prepared, role, Checkpoint(None, {}))
    assert sorted(asked) == [f"{role} order", f"{role} views"]
    # one permutation of the training set was drawn, of the order's stream and of no other
    expected = stream(0, f"{role} order")
    torch.randperm(len(prepared.train_labels), generator=expected)
    assert torch.equal(streams[f"{role} order"].get_state(), expected.get_state())
    # an offset each way for every image, batch by batch, of the views' stream
    eyes = stream(0, f"{role} views")
    for start_of in range(0, 40, 8):
        torch.randint(3, (2, min(8, 40 - start_of)), generator=eyes)
    assert torch.equal(streams[f"{role} views"].get_state(), eyes.get_state())
    assert not list(tmp_path.iterdir())
