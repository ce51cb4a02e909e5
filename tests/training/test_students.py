"""Properties of trained teachers and students, on real digits and small networks."""

import itertools
import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file

from kdlm.cli import main
from kdlm.data.images import Images, predict
from kdlm.data.loaders import load
from kdlm.data.prepared import open_prepared, prepare
from kdlm.errors import InputError
from kdlm.losses import LOSSES
from kdlm.networks.devices import resolve_device
from kdlm.networks.saved import load_network
from kdlm.storage.parquet import read_divergence, read_spec, read_table
from kdlm.study.config import parse
from kdlm.study.jobs import student_jobs
from kdlm.study.specs import Recipe, StudentSpec, TeacherSpec
from kdlm.tables.comparisons import load_outcome
from kdlm.training.checkpoints import CheckpointPolicy
from kdlm.training.optimizers import SGD
from kdlm.training.outputs import read_logits
from kdlm.training.students import distill
from kdlm.training.teachers import train_teacher

Observed = Callable[[str], None]
Change = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

RECIPE: dict[str, Any] = {
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "schedule": {"name": "constant"},
    "epochs": 1,
    "batch_size": 128,
    "augment": True,
    # rounding is then far below every distance that means something
    "precision": "float64",
}
COMMON: dict[str, Any] = {
    "architecture": "resnet8",
    "crop_padding": 1,
    "flip": False,
    "seed": 0,
    "device": "cpu",
    "threads": 1,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "digits.safetensors"
    digits = load("digits")
    # enough for gradients of real images; the whole set is for the study
    few = type(digits)(
        name="digits",
        train_images=digits.train_images[:384],
        train_labels=digits.train_labels[:384],
        test_images=digits.test_images[:100],
        test_labels=digits.test_labels[:100],
        classes=digits.classes,
    )
    prepare(few, path)
    return path


@pytest.fixture(scope="module")
def teachers(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("teachers")
    for initialisation in ("he", "he-centred"):
        spec = TeacherSpec(recipe=Recipe(**RECIPE), initialisation=initialisation, **COMMON)
        train_teacher(spec, data, folder / initialisation)
    return {name: folder / name for name in ("he", "he-centred")}


class _Distiller:
    """Distils students with what a test changes about them, each once."""

    def __init__(self, data: Path, teachers: dict[str, Path], folder: Path) -> None:
        self.data, self.teachers, self.folder = data, teachers, folder

    def __call__(self, loss: str, temperature: float, **changes: Any) -> Path:
        recipe = RECIPE | changes.pop("recipe", {})
        keys = {"initialisation": "he", "mean_gap": 0.0, "perturbation": 0} | changes
        spec = StudentSpec(
            recipe=Recipe(**recipe), loss=loss, temperature=temperature, **COMMON | keys
        )
        folder = self.folder / str(abs(hash(spec.canonical_json())))
        if not folder.exists():
            distill(spec, self.data, self.teachers[spec.initialisation], folder)
        return folder


@pytest.fixture(scope="module")
def student(
    data: Path, teachers: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> _Distiller:
    return _Distiller(data, teachers, tmp_path_factory.mktemp("students"))


def history(folder: Path, split: str = "train") -> pd.DataFrame:
    table = read_table(folder / "history.parquet", "history")
    return table[table["split"] == split].sort_values("epoch")


def distance(one: Path, other: Path) -> float:
    a, b = load_outcome(one), load_outcome(other)
    return float(np.linalg.norm(a.weights - b.weights) / np.linalg.norm(a.weights))


INF = float("inf")


def test_the_same_spec_gives_the_same_bytes(student: _Distiller, tmp_path: Path) -> None:
    first = student("kd", 4.0)
    spec = StudentSpec.model_validate(read_spec(first / "history.parquet"))
    distill(spec, student.data, student.teachers["he"], tmp_path / "again")
    for name in ("model.safetensors", "history.parquet", "logits.parquet"):
        assert (first / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_students_of_one_seed_start_from_the_same_network(student: _Distiller) -> None:
    starts = [history(student(*arm), "probe").iloc[0] for arm in (("kd", 4.0), ("lm", INF))]
    for column in ("accuracy", "mean_logit", "logit_rms", "gap"):
        assert starts[0][column] == starts[1][column]


@pytest.mark.parametrize("seed", [1, 2])
def test_another_seed_is_another_student(student: _Distiller, seed: int) -> None:
    assert distance(student("kd", 4.0), student("kd", 4.0, seed=seed)) > 0.1


@pytest.mark.parametrize(
    "recipe", [{"weight_decay": 5e-4}, {"optimizer": "adamw", "momentum": 0.0}]
)
@pytest.mark.parametrize(("loss", "temperature"), [("kd", 4.0), ("ce", 1.0), ("centred-lm", INF)])
def test_softmax_does_not_see_the_mean_gap(
    student: _Distiller, loss: str, temperature: float, recipe: dict[str, Any]
) -> None:
    recipe = recipe | ({"learning_rate": 1e-3} if "optimizer" in recipe else {})
    pair = [student(loss, temperature, mean_gap=gap, recipe=recipe) for gap in (0.0, 5.0)]
    assert distance(*pair) < 1e-6


def test_logits_matching_sees_the_mean_gap(student: _Distiller) -> None:
    assert distance(student("lm", INF), student("lm", INF, mean_gap=5.0)) > 1e-2


@pytest.mark.parametrize("gap", [0.0, 5.0, -1.5])
def test_the_gap_is_what_was_asked_for(student: _Distiller, gap: float) -> None:
    folder = student("lm", INF, mean_gap=gap)
    # the probe is a part of the training set, whose mean is shifted
    assert history(folder, "probe")["gap"].iloc[0] == pytest.approx(gap, abs=0.3)


def test_zero_means_sample_by_sample_make_every_objective_one(student: _Distiller) -> None:
    arms = [
        ("lm", INF),
        ("centred-lm", INF),
        ("kd", INF),
        ("regularised-lm-corrected", INF),
        ("regularised-lm-printed", INF),
    ]
    recipe = {"weight_decay": 5e-4}
    folders = [student(*arm, initialisation="he-centred", recipe=recipe) for arm in arms]
    for other in folders[1:]:
        assert distance(folders[0], other) < 1e-6
    # and at T = 4 KD is another objective: the test could fail
    other = student("kd", 4.0, initialisation="he-centred", recipe=recipe)
    assert distance(folders[0], other) > 1e-4


def test_class_sums_are_conserved_by_kd_and_ce_alone(student: _Distiller) -> None:
    def moved(folder: Path) -> float:
        last = history(folder).iloc[-1]
        return float(last["classifier_weight_sum"] / last["classifier_weight_change"])

    assert moved(student("kd", 4.0)) < 1e-10
    assert moved(student("ce", 1.0)) < 1e-10
    assert moved(student("lm", INF, mean_gap=5.0)) > 1e-3
    assert moved(student("kd", 4.0, recipe={"weight_decay": 5e-4})) > 1e-5
    adam = {"optimizer": "adam", "momentum": 0.0, "learning_rate": 1e-3}
    assert moved(student("kd", 4.0, recipe=adam)) > 1e-3


def test_gradients_sum_to_zero_for_kd_and_ce_alone(student: _Distiller) -> None:
    assert history(student("kd", 4.0))["logit_gradient_sum"].max() < 1e-9
    assert history(student("ce", 1.0))["logit_gradient_sum"].max() < 1e-9
    assert history(student("lm", INF))["logit_gradient_sum"].max() > 1e-3


def test_one_ulp_is_the_floor(student: _Distiller) -> None:
    apart = distance(student("kd", INF), student("kd", INF, perturbation=1))
    assert 0 < apart < 1e-8


def test_float32_and_bfloat16_train(student: _Distiller) -> None:
    for precision in ("float32", "bfloat16"):
        folder = student("kd", 4.0, recipe={"precision": precision})
        state = load_file(folder / "model.safetensors")
        assert state["classifier.weight"].dtype == np.float32
        assert np.isfinite(history(folder)["objective"]).all()


def test_the_history_is_complete(student: _Distiller) -> None:
    table = read_table(student("kd", 4.0) / "history.parquet", "history")
    assert set(zip(table["epoch"], table["split"], strict=True)) == {
        (0, "initial"), (0, "probe"), (1, "probe"), (1, "train"), (1, "test"),
    }  # fmt: skip
    run = json.loads((student("kd", 4.0) / "run.json").read_text())
    assert run["threads"] == 1
    assert run["deterministic_algorithms"] is True
    assert run["cpu_capability"]


def test_cuda_asked_for_and_absent_is_an_error() -> None:
    if torch.cuda.is_available():
        assert resolve_device("cuda").type == "cuda"
        return
    assert resolve_device("auto").type == "cpu"
    with pytest.raises(InputError, match="device: cuda was asked for"):
        resolve_device("cuda")


def test_classes_of_teacher_and_data_must_agree(
    student: _Distiller, tmp_path: Path, config: dict[str, Any]
) -> None:
    digits = load("digits")
    keep, keep_test = digits.train_labels < 3, digits.test_labels < 3
    three = type(digits)(
        name="digits",
        train_images=digits.train_images[keep],
        train_labels=digits.train_labels[keep],
        test_images=digits.test_images[keep_test],
        test_labels=digits.test_labels[keep_test],
        classes=("0", "1", "2"),
    )
    prepare(three, tmp_path / "three.safetensors")
    spec = next(student_jobs(parse(config))).spec
    with pytest.raises(InputError, match=r"10 classes.*has 3") as caught:
        distill(spec, tmp_path / "three.safetensors", student.teachers["he"], tmp_path / "s")
    assert str(student.teachers["he"]) in str(caught.value)


@pytest.mark.fault(
    "a damaged teacher",
    area="files",
    provoked="another file in the place of its weights when a student is to be trained",
)
def test_a_damaged_teacher_is_named(
    student: _Distiller, tmp_path: Path, observed: Observed
) -> None:
    broken = tmp_path / "teacher"
    broken.mkdir()
    (broken / "model.safetensors").write_bytes(b"not a network")
    spec = StudentSpec.model_validate(read_spec(student("kd", 4.0) / "history.parquet"))
    with pytest.raises(InputError, match=r"model\.safetensors.*delete it"):
        distill(spec, student.data, broken, tmp_path / "s")
    assert not (tmp_path / "s").exists()
    observed("one line that names the file and says to delete it; no student is written")


@pytest.mark.fault(
    "a student that diverges, seen in its files",
    area="numbers",
    provoked="logits matching with a learning rate of 1e30, and of 10",
)
@pytest.mark.parametrize("learning_rate", [1e30, 10.0])
def test_a_student_that_diverges_is_a_result_of_its_last_whole_epoch(
    student: _Distiller,
    learning_rate: float,
    caplog: pytest.LogCaptureFixture,
    observed: Observed,
) -> None:
    recipe = {"learning_rate": learning_rate, "epochs": 9, "precision": "float32"}
    with caplog.at_level(logging.ERROR):
        folder = student("lm", INF, recipe=recipe)
    run = json.loads((folder / "run.json").read_text())
    found = run["diverged"]
    whole = found["epoch"] - 1
    assert (whole == 0) == (learning_rate == 1e30)
    assert found["batch"] in (1, 2, 3)
    assert found["what"] in ("weights", "running statistics", "loss", "gradient")
    for name in ("history.parquet", "logits.parquet"):
        assert read_divergence(folder / name) == found
    line = caplog.records[-1].getMessage()
    assert f"diverged in epoch {found['epoch']}, batch {found['batch']}: {found['what']}" in line
    assert "last good checkpoint: none" in line
    table = read_table(folder / "history.parquet", "history")
    assert table["epoch"].max() == whole
    assert np.isfinite(table["objective"]).all()
    # weights and logits are of that epoch too
    model = load_network(folder / "model.safetensors").eval()
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    prepared = open_prepared(student.data)
    images = Images.of(prepared, "test", Recipe(**RECIPE | recipe).precision, torch.device("cpu"))
    torch.testing.assert_close(
        predict(model, images).double(),
        read_logits(folder / "logits.parquet", "test"),
        rtol=1e-3,
        atol=0,
    )
    if whole:
        # the same student, had it been trained no longer
        shorter = student("lm", INF, recipe=recipe | {"epochs": whole})
        ended = load_network(shorter / "model.safetensors").state_dict()
        for name, value in model.state_dict().items():
            assert torch.equal(value, ended[name])
    observed(
        "history, weights and logits are those after its last whole epoch, all finite, and bear "
        "epoch, batch and what was not finite"
    )


def _spoil_loss(monkeypatch: pytest.MonkeyPatch, step: int, value: float) -> None:
    """``value`` for the loss of the step."""
    _change_loss(monkeypatch, step, lambda loss, _: loss + value)


def _spoil_gradient(monkeypatch: pytest.MonkeyPatch, step: int, value: float) -> None:
    """A finite loss whose gradient on the logits is ``value``."""

    def spoiled(loss: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        logits.register_hook(lambda gradient: gradient + value)  # type: ignore[no-untyped-call]
        return loss

    _change_loss(monkeypatch, step, spoiled)


def _change_loss(monkeypatch: pytest.MonkeyPatch, step: int, change: Change) -> None:
    whole, steps = LOSSES["kd"], itertools.count(1)

    def changed(student_logits: torch.Tensor, **arguments: Any) -> torch.Tensor:
        loss: torch.Tensor = whole(student_logits=student_logits, **arguments)
        # what is recorded is computed in float64
        train = student_logits.dtype == torch.float32
        return change(loss, student_logits) if train and next(steps) == step else loss

    monkeypatch.setitem(LOSSES, "kd", changed)


def _spoil_weights(monkeypatch: pytest.MonkeyPatch, step: int, value: float) -> None:
    """``value`` for one weight after the step before, so that this one is the first to see it."""
    whole, steps = SGD.step, itertools.count(2)

    def spoiled(self: SGD, gradients: list[torch.Tensor], rate: float) -> None:
        whole(self, gradients, rate)
        if next(steps) == step:
            self.parameters[0].detach()[0, 0, 0, 0] = value

    monkeypatch.setattr(SGD, "step", spoiled)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(
    ("what", "spoil"),
    [
        pytest.param(
            "loss", _spoil_loss,
            marks=pytest.mark.fault(
                "NaN or infinity in the loss",
                area="numbers",
                provoked="put in the loss of the second batch of the second epoch",
            ),
        ),
        pytest.param(
            "gradient", _spoil_gradient,
            marks=pytest.mark.fault(
                "NaN or infinity in the gradient",
                area="numbers",
                provoked="put in the gradient of the second batch of the second epoch",
            ),
        ),
        pytest.param(
            "weights", _spoil_weights,
            marks=pytest.mark.fault(
                "NaN or infinity in the weights",
                area="numbers",
                provoked="put in one weight before the second batch of the second epoch",
            ),
        ),
    ],
)  # fmt: skip
def test_a_number_that_is_not_finite_stops_training_at_once(
    what: str,
    spoil: Callable[[pytest.MonkeyPatch, int, float], None],
    value: float,
    student: _Distiller,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    observed: Observed,
) -> None:
    recipe = Recipe(**RECIPE | {"epochs": 3, "precision": "float32"})
    keys = {"initialisation": "he", "mean_gap": 0.0, "perturbation": 0}
    spec = StudentSpec(recipe=recipe, loss="kd", temperature=4.0, **COMMON | keys)
    keeping = CheckpointPolicy(tmp_path / "checkpoint.safetensors", 1, 1000)
    # three batches an epoch
    spoil(monkeypatch, 5, value)
    distill(spec, student.data, student.teachers["he"], tmp_path / "student", keeping)
    found = {"epoch": 2, "batch": 2, "what": what}
    assert read_divergence(tmp_path / "student/history.parquet") == found
    (line,) = (record.getMessage() for record in caplog.records if record.levelname == "ERROR")
    assert f"diverged in epoch 2, batch 2: {what} NaN or infinite; kept is epoch 1" in line
    assert f"last good checkpoint: {keeping.path} (epoch 2, 0 batches of it done)" in line
    written = pq.read_table(tmp_path / "student/history.parquet")
    assert set(written["epoch"].to_pylist()) == {0, 1}
    assert written["objective"].null_count == 0
    observed(
        "training stops at that batch; epoch, batch and last good checkpoint are named; the "
        "history ends with the epoch before"
    )


def test_a_student_that_does_not_diverge_says_so(student: _Distiller) -> None:
    folder = student("kd", 4.0)
    assert read_divergence(folder / "history.parquet") is None
    assert json.loads((folder / "run.json").read_text())["diverged"] is None


@pytest.mark.fault(
    "a teacher that diverges",
    area="numbers",
    provoked="`kdlm train-teacher` with a learning rate of 1e30",
)
def test_a_teacher_that_diverges_is_an_error(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], observed: Observed
) -> None:
    recipe = Recipe(**RECIPE | {"learning_rate": 1e30, "precision": "float32"})
    spec = TeacherSpec(recipe=recipe, initialisation="he", **COMMON)
    arguments = ["--spec", spec.canonical_json(), "--data", data, "--output", tmp_path / "teacher"]
    assert main(["train-teacher", *map(str, arguments)]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"kdlm: {tmp_path}/teacher: the teacher diverged in epoch 1, batch ")
    assert "give its recipe a smaller learning rate; last good checkpoint: none" in error
    assert {file.name for file in (tmp_path / "teacher").iterdir()} == {".lock"}
    observed("status 1 and one line with epoch, batch, last good checkpoint and what to do")
