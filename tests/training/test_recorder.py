"""What is recorded of a training, stated as properties."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from kdlm.data.images import Images
from kdlm.losses import centred_lm_loss, lm_loss
from kdlm.training.history import Objective, Recorder, RunningMetrics

CLASSES = 4


class _Matching:
    """Logits matching, whose gradients do not sum to zero."""

    def __init__(self, **images: Tensor) -> None:
        """The teacher's logits are the first pixels of the ``images`` of each split."""
        self.images = images

    def recorded(self, split: str, first: int, last: int) -> Tensor:
        return self.reference(self.images[split][first:last], 0, 0)

    def reference(self, images: Tensor, epoch: int, batch: int) -> Tensor:  # noqa: ARG002
        return images.flatten(1)[:, :CLASSES].double()

    def __call__(self, logits: Tensor, reference: Tensor, labels: Tensor) -> Tensor:
        return functional.mse_loss(logits, reference) + functional.cross_entropy(logits, labels)


class _CrossEntropy(_Matching):
    def __call__(self, logits: Tensor, reference: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002
        return functional.cross_entropy(logits, labels)


OBJECTIVE: Objective = _Matching()


def samples(number: int = 23) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(8)
    logits, reference = (
        mean + 3 * torch.randn(number, CLASSES, dtype=torch.float64, generator=generator)
        for mean in (2.0, -1.0)
    )
    return logits, reference, torch.randint(CLASSES, (number,), generator=generator)


def row(*sizes: int, objective: Objective = OBJECTIVE) -> dict[str, Any]:
    """A row of the same samples, counted in batches of these sizes."""
    tally = RunningMetrics()
    for part in zip(*(torch.split(one, [*sizes]) for one in samples()), strict=True):
        tally.add(objective, *part)
    return tally.row()


@pytest.mark.parametrize("sizes", [(12, 11), (20, 3), (3, 20), (1,) * 23, (8, 8, 7)])
def test_a_row_does_not_depend_on_how_samples_were_batched(sizes: tuple[int, ...]) -> None:
    whole, parts = row(23), row(*sizes)
    assert parts.keys() == whole.keys()
    for column, value in whole.items():
        assert parts[column] == pytest.approx(value), column


def test_a_row_is_means_over_samples() -> None:
    logits, reference, labels = samples()
    found = row(20, 3)
    single = [
        float(OBJECTIVE(logits[i : i + 1], reference[i : i + 1], labels[i : i + 1]))
        for i in range(len(labels))
    ]
    assert found["objective"] == pytest.approx(sum(single) / 23)
    right = [int(z.argmax()) == int(y) for z, y in zip(logits, labels, strict=True)]
    assert found["accuracy"] == pytest.approx(sum(right) / 23)
    assert 0 < sum(right) < 23
    assert found["mean_logit"] == pytest.approx(float(logits.mean()))
    assert found["gap"] == pytest.approx(float(logits.mean() - reference.mean()))
    squares = [float(z.mean()) ** 2 for z in logits]
    assert found["mean_logit_rms"] == pytest.approx((sum(squares) / 23) ** 0.5)
    centred = logits - logits.mean(dim=1, keepdim=True)
    assert found["logit_rms"] == pytest.approx(float(centred.square().mean().sqrt()))


def test_the_energy_of_the_gap_is_what_lm_has_more_than_centred_lm() -> None:
    logits, reference, _ = samples()
    found = row(20, 3)
    energy = distance = centred = 0.0
    for student, teacher in zip(logits.tolist(), reference.tolist(), strict=True):
        gap = sum(student) / CLASSES - sum(teacher) / CLASSES
        energy += gap**2 / 2 / 23
        for z, of_teacher in zip(student, teacher, strict=True):
            distance += (z - of_teacher) ** 2 / (2 * CLASSES) / 23
            centred += (z - of_teacher - gap) ** 2 / (2 * CLASSES) / 23
    assert found["gap_energy"] == pytest.approx(energy)
    assert found["gap_energy"] == pytest.approx(distance - centred)
    assert found["gap_share"] == pytest.approx(energy / distance)
    assert found["gap_rms"] == pytest.approx((2 * energy) ** 0.5)
    # and by the losses of the study
    assert found["gap_energy"] == pytest.approx(
        float(lm_loss(logits, reference) - centred_lm_loss(logits, reference))
    )


def test_a_student_with_its_teacher_s_logits_has_no_share() -> None:
    logits, _, labels = samples()
    tally = RunningMetrics()
    tally.add(OBJECTIVE, logits, logits, labels)
    assert tally.row()["gap_share"] == 0


def test_the_gap_has_the_sign_of_student_less_teacher() -> None:
    # the student's logits are about 2, the teacher's about −1
    assert 2 < row(23)["gap"] < 4


def test_a_constant_moves_means_and_gap_alone() -> None:
    logits, reference, labels = samples()
    tallies = RunningMetrics(), RunningMetrics()
    for tally, shift in zip(tallies, (0.0, 7.0), strict=True):
        tally.add(_CrossEntropy(), logits + shift, reference, labels)
    one, other = (tally.row() for tally in tallies)
    for column, moved in (("mean_logit", 7.0), ("gap", 7.0)):
        assert other[column] - one[column] == pytest.approx(moved)
    for column in ("objective", "accuracy", "logit_rms"):
        assert other[column] == pytest.approx(one[column]), column


def test_the_largest_gradient_sum_of_any_sample_is_kept() -> None:
    logits, reference, labels = samples()
    whole = row(23)["logit_gradient_sum"]
    singly = []
    for i in range(len(labels)):
        tally = RunningMetrics()
        tally.add(OBJECTIVE, logits[i : i + 1], reference[i : i + 1], labels[i : i + 1])
        singly.append(tally.row()["logit_gradient_sum"])
    assert whole == pytest.approx(max(singly))
    assert min(singly) < 0.9 * max(singly)
    assert row(23, objective=_CrossEntropy())["logit_gradient_sum"] < 1e-12


@pytest.mark.parametrize("where", [0, 1])
def test_what_is_not_a_number_is_not_lost_in_the_largest(where: int) -> None:
    logits, reference, labels = samples(4)
    parts = [(logits, reference), (logits, reference)]
    parts[where] = (logits * math.nan, reference)
    tally = RunningMetrics()
    for z, of_teacher in parts:
        tally.add(OBJECTIVE, z, of_teacher, labels)
    assert math.isnan(tally.row()["logit_gradient_sum"])


# the recorder


class _Model(nn.Module):
    """A classifier over BatchNorm, the least that a recorder looks at."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(16)
        self.classifier = nn.Linear(16, CLASSES)
        self.double()

    def features(self, images: Tensor) -> Tensor:
        features: Tensor = self.bn(images.flatten(1))
        return features

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(images))
        return logits


@pytest.fixture
def recorder() -> Recorder:
    generator = torch.Generator().manual_seed(2)
    pixels = torch.randint(256, (20, 1, 4, 4), dtype=torch.uint8, generator=generator)
    labels = torch.randint(CLASSES, (20,), generator=generator)
    torch.manual_seed(0)
    test = Images(pixels[8:], labels[8:], (0.5,), (0.3,), torch.float64)
    probe = test.scaled(pixels[:8])
    objective = _Matching(train=probe, test=test.scaled(test.pixels))
    return Recorder(_Model(), objective, test, probe, labels[:8])


def trained() -> RunningMetrics:
    tally = RunningMetrics()
    tally.add(OBJECTIVE, *samples())
    return tally


def test_nothing_has_moved_before_training(recorder: Recorder) -> None:
    assert recorder.record(0, None)
    (only,) = recorder.rows
    assert (only["epoch"], only["split"]) == (0, "probe")
    for column in (
        "mean_logit_drift", "classifier_weight_sum", "classifier_bias_sum",
        "classifier_weight_change", "classifier_bias_change",
    ):  # fmt: skip
        assert only[column] == 0, column


def move(recorder: Recorder, weight: Tensor, bias: Tensor) -> dict[str, Any]:
    """The probe's row once the classifier has moved so."""
    with torch.no_grad():
        recorder.model.get_parameter("classifier.weight").add_(weight)
        recorder.model.get_parameter("classifier.bias").add_(bias)
    assert recorder.record(1, trained())
    return next(row for row in recorder.rows if row["split"] == "probe")


def test_what_all_classes_share_is_what_sums_see(recorder: Recorder) -> None:
    common = torch.full((CLASSES, 16), 0.5, dtype=torch.float64)
    moved = move(recorder, common, torch.full((CLASSES,), -2.0, dtype=torch.float64))
    # |Σ_k ΔW_k| = K · .5 · √16, and ‖ΔW‖ = .5 √(16 K)
    assert moved["classifier_weight_sum"] == pytest.approx(CLASSES * 0.5 * 4)
    assert moved["classifier_weight_change"] == pytest.approx(0.5 * (16 * CLASSES) ** 0.5)
    assert moved["classifier_bias_sum"] == pytest.approx(2 * CLASSES)
    assert moved["classifier_bias_change"] == pytest.approx(2 * CLASSES**0.5)


def test_what_classes_take_from_each_other_sums_do_not_see(recorder: Recorder) -> None:
    exchange = torch.zeros(CLASSES, 16, dtype=torch.float64)
    exchange[0, 3], exchange[2, 3] = 3.0, -3.0
    bias = torch.tensor([1.0, -1.0, 0, 0], dtype=torch.float64)
    moved = move(recorder, exchange, bias)
    assert moved["classifier_weight_sum"] == pytest.approx(0, abs=1e-12)
    assert moved["classifier_bias_sum"] == pytest.approx(0, abs=1e-12)
    assert moved["classifier_weight_change"] == pytest.approx(18**0.5)
    assert moved["classifier_bias_change"] == pytest.approx(2**0.5)


def test_drift_is_the_root_mean_square_of_what_means_moved(recorder: Recorder) -> None:
    weight = torch.zeros(CLASSES, 16, dtype=torch.float64)
    bias = torch.tensor([4.0, 0, 0, 0], dtype=torch.float64)
    # every sample's mean moves by −4/K or 4/K: the sign does not matter
    assert move(recorder, weight, -bias)["mean_logit_drift"] == pytest.approx(1)


def test_drifts_of_opposite_signs_do_not_cancel(recorder: Recorder) -> None:
    # after BatchNorm a feature has mean 0 and spread 1 over the probe, so has what it adds to z̄
    weight = torch.zeros(CLASSES, 16, dtype=torch.float64)
    weight[0, 5] = 8.0
    bias = torch.zeros(CLASSES, dtype=torch.float64)
    assert move(recorder, weight, bias)["mean_logit_drift"] == pytest.approx(8 / CLASSES, rel=1e-3)


def test_a_number_that_is_not_finite_is_not_recorded(recorder: Recorder) -> None:
    recorder.record(0, None)
    spoiled = trained()
    assert spoiled.totals is not None
    spoiled.totals[0] = math.inf
    assert not recorder.record(1, spoiled)
    assert [row["epoch"] for row in recorder.rows] == [0]


def test_a_statistic_that_is_not_finite_is_not_recorded(recorder: Recorder) -> None:
    recorder.record(0, None)
    recorder.model.state_dict()["bn.running_mean"][3] = math.nan
    # training mode does not see it, the test set does
    assert not recorder.record(1, trained())
    assert [row["epoch"] for row in recorder.rows] == [0]


def test_the_test_set_is_seen_in_eval_mode_and_in_its_order(recorder: Recorder) -> None:
    recorder.model.state_dict()["bn.running_mean"].fill_(0.7)
    assert recorder.record(1, trained())
    with torch.no_grad():
        every = torch.cat([*recorder.test.batches(1)])
        expected = recorder.model.eval()(every)
    torch.testing.assert_close(recorder.test_logits, expected)
    rows = {row["split"]: row for row in recorder.rows}
    right = (expected.argmax(dim=1) == recorder.test.labels).double().mean()
    assert rows["test"]["accuracy"] == pytest.approx(float(right))
    own = _Matching().reference(every, 1, 0)
    assert rows["test"]["gap"] == pytest.approx(float(expected.mean() - own.mean()))
