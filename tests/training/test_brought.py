"""A teacher that was trained elsewhere, taken into a study."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from kdlm.data.loaders import prepare_dataset
from kdlm.data.prepared import normalise, open_prepared
from kdlm.errors import InputError
from kdlm.networks.architectures import build
from kdlm.networks.initialisation import initialise, stream
from kdlm.networks.saved import load_network
from kdlm.storage.parquet import read_table
from kdlm.study.config import parse
from kdlm.study.jobs import student_jobs, teacher_jobs
from kdlm.training.brought import bring_teacher
from kdlm.training.outputs import read_logits

Config = dict[str, Any]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "digits.safetensors"
    prepare_dataset("digits", path)
    return path


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    network = build("resnet8", 10, 1)
    initialise(network, "he", stream(5, "weights"))
    network(torch.randn(16, 1, 8, 8))
    path = tmp_path / "mine.pt"
    torch.save({"model": network.state_dict()}, path)
    return path


def brought(config: Config, weights: Path, changes: Config | None = None) -> Config:
    config["teachers"] = [
        {"architecture": "resnet8", "weights": str(weights), "known_as": "mine"} | (changes or {})
    ]
    for arm in config["arms"]:
        arm["teacher"] = "resnet8-brought-mine"
    return config


def test_outputs_are_those_of_its_weights(
    config: Config, weights: Path, data: Path, tmp_path: Path
) -> None:
    (job,) = teacher_jobs(parse(brought(config, weights)))
    bring_teacher(job.spec, weights, data, tmp_path / "teacher")  # type: ignore[arg-type]
    prepared = open_prepared(data)
    network = build("resnet8", 10, 1)
    network.load_state_dict(torch.load(weights, weights_only=True)["model"])
    network.eval()
    history = read_table(tmp_path / "teacher/history.parquet", "history").set_index("split")
    for split, pixels, labels in (
        ("train", prepared.train_images, prepared.train_labels),
        ("test", prepared.test_images, prepared.test_labels),
    ):
        images = normalise(pixels, prepared.mean, prepared.sd, torch.float32)
        with torch.no_grad():
            expected = network(images)
        stored = read_logits(tmp_path / "teacher/logits.parquet", split)
        torch.testing.assert_close(stored, expected.double(), rtol=1e-5, atol=1e-6)
        right = float((expected.argmax(dim=1) == labels).float().mean())
        assert history.loc[split, "accuracy"] == pytest.approx(right)
        loss = float(torch.nn.functional.cross_entropy(expected.double(), labels))
        assert history.loc[split, "objective"] == pytest.approx(loss)
    assert set(history["epoch"]) == {0}
    again = load_network(tmp_path / "teacher/model.safetensors").state_dict()
    assert all(torch.equal(again[key], value) for key, value in network.state_dict().items())


def test_students_name_it_and_its_file_is_part_of_its_spec(config: Config, weights: Path) -> None:
    study = parse(brought(config, weights))
    (job,) = teacher_jobs(study)
    assert job.folder == Path(
        "teachers/architecture=resnet8/initialisation=brought/recipe=mine/seed=0"
    )
    assert next(student_jobs(study)).teacher == job
    # resolved, the study can be read where the file is not
    resolved = study.model_dump(mode="json")
    weights.unlink()
    assert teacher_jobs(parse(resolved)) == [job]
    with pytest.raises(InputError, match=r"teachers\[0\].*weights: .*mine\.pt cannot be read"):
        parse(brought(config, weights))


def test_another_file_is_another_teacher(config: Config, weights: Path) -> None:
    before = teacher_jobs(parse(brought(config, weights)))[0].spec
    resolved = parse(brought(config, weights)).model_dump(mode="json")
    torch.save({"model": {"a": torch.ones(1)}}, weights)
    assert teacher_jobs(parse(brought(config, weights)))[0].spec != before
    with pytest.raises(InputError, match=r"sha256: it is not the SHA-256 of "):
        parse(resolved)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"recipe": "short"}, "recipe: brought weights have none"),
        ({"weights": None}, "initialisation: this key is needed, or weights in its place"),
        (
            {"weights": None, "initialisation": "he", "recipe": "short", "accuracy": 0.9},
            "accuracy: it is for teachers with weights of their own",
        ),
        ({"accuracy": 90}, "accuracy"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(
    config: Config, weights: Path, changes: Config, said: str
) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        parse(brought(config, weights, changes))


def test_another_number_of_classes_and_another_normalisation_are_refused(
    config: Config, weights: Path, data: Path, tmp_path: Path
) -> None:
    state = torch.load(weights, weights_only=True)["model"]
    for name in ("classifier.weight", "classifier.bias"):
        state[name] = state[name][:7]
    torch.save(state, weights)
    (job,) = teacher_jobs(parse(brought(config, weights)))
    with pytest.raises(InputError, match=r"classifier\.bias: \(7,\) in the file, \(10,\)"):
        bring_teacher(job.spec, weights, data, tmp_path / "t")  # type: ignore[arg-type]
    other = {"mean": [0.5], "sd": [0.5]}
    (job,) = teacher_jobs(parse(brought(config, weights, {"normalisation": other})))
    with pytest.raises(InputError, match=r"normalisation\.mean is \[0\.5\], but images of digits"):
        bring_teacher(job.spec, weights, data, tmp_path / "t")  # type: ignore[arg-type]
    assert not (tmp_path / "t").exists()


def test_an_accuracy_far_below_the_promised_one_is_said(
    config: Config, weights: Path, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for accuracy, said in ((0.95, True), (0.01, False)):
        (job,) = teacher_jobs(parse(brought(config, weights, {"accuracy": accuracy})))
        caplog.clear()
        bring_teacher(job.spec, weights, data, tmp_path / str(accuracy))  # type: ignore[arg-type]
        assert ("far below the" in caplog.text) == said


def _pictures(folder: Path) -> None:
    """Two classes of small pictures, dark and light."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 6)):
        for name, level in (("dark", 60), ("light", 190)):
            place = folder / split / name
            place.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(level - 50, level + 50, (32, 32, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.png")


@pytest.mark.slow
def test_the_paragraph_of_the_readme_is_a_study(
    snakemake: Any, config: Config, tmp_path: Path
) -> None:
    """The block is printed in README.md; recipes, seeds and the rest are the tiny study's."""
    _pictures(tmp_path / "pictures")
    network = build("resnet20", 2, 3)
    initialise(network, "he", stream(1, "weights"))
    names = {
        name: re.sub(r"^stages\.(\d)", lambda found: f"layer{int(found[1]) + 1}", name).replace(
            "classifier", "fc"
        )
        for name in network.state_dict()
    }
    theirs = {names[name]: value for name, value in network.state_dict().items()}
    torch.save({"state_dict": theirs}, tmp_path / "mine.pt")
    page = (ROOT / "README.md").read_text()
    (block,) = re.findall(r"```yaml\n(dataset: \{name: imagefolder.*?)```", page, re.DOTALL)
    config |= yaml.safe_load(block)
    config["recipes"]["student"] = config["recipes"].pop("short") | {"batch_size": 20}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    run = snakemake(tmp_path, "--configfile", "mine.yaml")
    assert run.returncode == 0, run.stdout[-3000:]
    results = tmp_path / "results/tiny"
    runs = read_table(results / "tables/runs.parquet", "runs")
    (teacher,) = runs[runs["role"] == "teacher"].to_dict("records")
    assert (teacher["initialisation"], teacher["recipe"]) == ("brought", "mine")
    assert teacher["epochs"] == 0
    assert len(runs[runs["role"] == "student"]) == 3 * 5
    log = next((results / "logs/teachers").rglob("*.log")).read_text()
    assert "fc.weight is taken for classifier.weight" in log
    assert "far below the 0.9000" in log
