import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kdlm.errors import InputError
from kdlm.study import config as study_config
from kdlm.study import names
from kdlm.study.config import parse, read_config, read_study
from kdlm.study.jobs import student_jobs
from kdlm.study.specs import format_number
from kdlm.study.tolerances import TOLERANCES

ROOT = Path(__file__).parents[2]
CONFIGS = [ROOT / "config.yaml", *sorted((ROOT / "workflow/presets").glob("*.yaml"))]
Config = dict[str, Any]


def _arm(**changes: Any) -> Callable[[Config], None]:
    def change(config: Config) -> None:
        config["arms"][0] |= changes

    return change


def _at(*path: str | int, value: Any) -> Callable[[Config], None]:
    def change(config: Config) -> None:
        place: Any = config
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


BAD = {
    "unknown key": (_at("theads", value=1), ["theads", "did you mean 'threads'?"]),
    "unknown nested key": (
        _at("recipes", "short", "learning_rte", value=1),
        ["recipes.short.learning_rte", "did you mean 'learning_rate'?"],
    ),
    "unknown key in a list": (_arm(temperature=4), ["arms[0].temperature", "'temperatures'"]),
    "unknown loss": (_arm(losses=["kl"]), ["arms[0].losses[0]", "'kl'", "centred-lm"]),
    "unknown architecture": (_arm(architecture="vgg7"), ["'vgg7'", "resnet8x4"]),
    "unknown initialisation": (_arm(initialisation="zero"), ["'zero'", "he-centred"]),
    "unknown dataset": (_at("dataset", "name", value="mnist"), ["'mnist'", "fashion-mnist"]),
    "negative temperature": (_arm(temperatures=[-4]), ["arms[0].temperatures[0]", "not -4"]),
    "zero temperature": (_arm(temperatures=[0]), ["arms[0].temperatures[0]", "not 0"]),
    "NaN temperature": (_arm(temperatures=[float("nan")]), ["arms[0].temperatures[0]", "nan"]),
    "temperature in words": (_arm(temperatures=["hot"]), ["temperatures[0]", "'hot'"]),
    "infinite gap": (_arm(mean_gaps=[float("inf")]), ["mean_gaps[0]", "finite"]),
    "no seeds": (_arm(seeds=[]), ["arms[0].seeds", "empty"]),
    "no losses": (_arm(losses=[]), ["arms[0].losses", "empty"]),
    "no arms": (_at("arms", value=[]), ["arms", "empty"]),
    "no architectures": (_at("init_means", "architectures", value=[]), ["architectures", "empty"]),
    "seeds twice": (_arm(seeds=[0, 1, 0]), ["arms[0].seeds", "0 is given twice"]),
    "temperatures twice": (_arm(temperatures=[4, "4.0"]), ["temperatures", "given twice"]),
    "negative seed": (_arm(seeds=[-1]), ["arms[0].seeds[0]", "-1"]),
    "fractional seed": (_arm(seeds=[0.5]), ["arms[0].seeds[0]", "0.5"]),
    "untrained teacher": (
        _arm(teacher="resnet56-he-short"),
        ["arms[0].teacher", "resnet56-he-short", "resnet8-he-short with seed 0"],
    ),
    "untrained teacher seed": (_arm(teacher_seed=7), ["arms[0].teacher", "seed 7"]),
    "unknown recipe": (_arm(recipe="long"), ["arms[0].recipe", "'long'", "short"]),
    "temperatures without kd": (_arm(losses=["lm"]), ["temperatures", "kd"]),
    "kd without temperatures": (_arm(temperatures=[]), ["temperatures", "kd"]),
    "teacher twice": (
        lambda config: config["teachers"].append(config["teachers"][0]),
        ["given twice"],
    ),
    "missing key": (lambda config: config.pop("theory"), ["theory", "needed"]),
    "image too small": (
        _at("dataset", value={"name": "imagefolder", "root": "x", "image_side": 3}),
        ["dataset.image_side: 3 is too small"],
    ),
    "more training images than there are": (
        _at("dataset", "train_images", value=1438),
        ["dataset", "train_images", "digits has 1437 training images"],
    ),
    "one training image": (_at("dataset", "train_images", value=1), ["dataset.train_images"]),
    "the first images of a folder": (
        _at(
            "dataset",
            value={"name": "imagefolder", "root": "x", "image_side": 8, "train_images": 100},
        ),
        ["dataset.train_images: it is not for imagefolder", "sorted by class"],
    ),
    "one image of the part in the last batch": (
        _at("dataset", "train_images", value=257),
        ["recipes.short.batch_size", "257 training images"],
    ),
    "more images for the means than are kept": (
        _at("init_means", "dataset", value={"name": "photographs", "train_images": 2}),
        ["init_means", "images", "there are 2 training images"],
    ),
    "root for scikit-image's": (
        _at("dataset", value={"name": "scikit-image", "root": "x"}),
        ["dataset.root: it is not for scikit-image, which ships with scikit-image"],
    ),
    "no root": (_at("dataset", value={"name": "cifar10"}), ["root", "cifar10"]),
    "root for a bundled dataset": (_at("dataset", "root", value="x"), ["root", "digits"]),
    "momentum for adam": (
        _at("recipes", "short", "optimizer", value="adam"),
        ["recipes.short", "momentum"],
    ),
    "milestones without steps": (
        _at("recipes", "short", "schedule", value={"name": "cosine", "milestones": [1]}),
        ["milestones"],
    ),
    "unknown means": (_arm(means=["teacher"]), ["arms[0].means[0]", "'teacher'", "natural"]),
    "means twice": (_arm(means=["natural", "natural"]), ["arms[0].means", "given twice"]),
    "natural means with a gap": (
        _arm(means=["natural"], mean_gaps=[0, 5]),
        ["arms[0]", "mean_gaps", "natural means impose no gap"],
    ),
    "the untrained mean of a teacher trained elsewhere": (
        lambda config: (
            config["teachers"].append(
                {
                    "architecture": "resnet8",
                    "weights": "gone.pt",
                    "known_as": "theirs",
                    "sha256": "0" * 64,
                }
            ),
            config["arms"].append(
                config["arms"][0]
                | {"teacher": "resnet8-brought-theirs", "means": ["untrained-teacher"]}
            ),
        ),
        ["arms[2].means", "untrained-teacher", "trained elsewhere"],
    ),
    "both perturbations": (
        _arm(perturbations=[0, 1], relative_perturbations=[0, 1e-4]),
        ["arms[0]", "relative_perturbations", "two arms"],
    ),
    "a rung below float32": (
        _arm(relative_perturbations=[1e-4, 1e-8]),
        ["arms[0].relative_perturbations", "1e-08", "precision", "'short'", "1.2e-07"],
    ),
    "a rung below float64": (
        lambda config: (
            config["recipes"]["short"].update(precision="float64"),
            config["arms"][0].update(relative_perturbations=[1e-14, 1e-16]),
        ),
        ["arms[0].relative_perturbations", "1e-16", "2.2e-16"],
    ),
    "a rung of bfloat16 below its float32 weights": (
        lambda config: (
            config["recipes"]["short"].update(precision="bfloat16"),
            config["arms"][0].update(relative_perturbations=[1e-8]),
        ),
        ["arms[0].relative_perturbations", "1e-08", "1.2e-07"],
    ),
    "a rung too large": (
        _arm(relative_perturbations=[0.5]),
        ["arms[0].relative_perturbations[0]", "not 0.5"],
    ),
    "a negative rung": (
        _arm(relative_perturbations=[-1e-4]),
        ["arms[0].relative_perturbations[0]", "-0.0001"],
    ),
    "a rung that is no number": (
        _arm(relative_perturbations=[float("nan")]),
        ["relative_perturbations[0]", "nan"],
    ),
    "path in the study's name": (_at("study", value="../x"), ["study"]),
    "a slash in a recipe's name": (
        lambda config: config["recipes"].update({"a/b": config["recipes"]["short"]}),
        ["recipes"],
    ),
    "one dataset, two roots": (
        lambda config: (
            config.update(dataset={"name": "cifar10", "root": "a"}),
            config["init_means"].update(dataset={"name": "cifar10", "root": "b"}),
        ),
        ["cifar10", "init_means"],
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_each_fault_is_one_line_that_names_the_key(config: Config, fault: str) -> None:
    change, expected = BAD[fault]
    change(config)
    with pytest.raises(InputError) as caught:
        parse(config)
    message = str(caught.value)
    assert "\n" not in message
    for part in expected:
        assert part in message


@pytest.mark.parametrize(
    ("precision", "rungs"),
    [("float32", [0, 1.2e-7, 1e-2]), ("bfloat16", [1.2e-7]), ("float64", [0, 2.3e-16, 1e-14])],
)
def test_a_rung_that_the_weights_resolve_is_taken(
    config: Config, precision: str, rungs: list[float]
) -> None:
    config["recipes"]["short"]["precision"] = precision
    config["arms"][0]["relative_perturbations"] = rungs
    study = parse(config)
    found = {job.spec.relative_perturbation for job in student_jobs(study)}
    assert found == {0.0, *map(float, rungs)}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_is_valid_and_fits_the_schema(path: Path) -> None:
    loaded = yaml.safe_load(path.read_text())
    study = parse(loaded)
    assert list(student_jobs(study))
    jsonschema.validate(study.model_dump(mode="json"), yaml.safe_load((ROOT / SCHEMA).read_text()))


SCHEMA = "workflow/schemas/config.schema.yaml"


def test_the_committed_schema_is_the_models() -> None:
    assert yaml.safe_load((ROOT / SCHEMA).read_text()) == json.loads(
        json.dumps(study_config.schema())
    )


def test_the_schema_lists_the_names_that_editors_complete() -> None:
    schema = study_config.schema()
    kinds = schema["$defs"]
    arm, untrained = kinds["Arm"]["properties"], kinds["InitMeans"]["properties"]
    assert arm["losses"]["items"]["enum"] == [*names.LOSSES]
    assert arm["means"]["items"]["enum"] == [*names.MEANS]
    assert arm["architecture"]["enum"] == [*names.ARCHITECTURES]
    assert arm["initialisation"]["enum"] == [*names.INITIALISATIONS]
    assert untrained["architectures"]["items"]["enum"] == [*names.ARCHITECTURES]
    assert kinds["DatasetConfig"]["properties"]["name"]["enum"] == [*names.DATASETS]
    assert kinds["Recipe"]["properties"]["optimizer"]["enum"] == ["sgd", "adam", "adamw"]
    assert schema["properties"]["tolerances"]["propertyNames"]["enum"] == [*TOLERANCES]


@pytest.mark.parametrize("change", [_arm(losses=["kl"]), _arm(architecture="resnet9")])
def test_the_schema_refuses_a_name_that_is_not_known(
    config: Config, change: Callable[[Config], None]
) -> None:
    schema = study_config.schema()
    jsonschema.validate(json.loads(parse(config).canonical_json()), schema)
    change(config)
    with pytest.raises(jsonschema.ValidationError, match="is not one of"):
        jsonschema.validate(json.loads(json.dumps(config)), schema)


def test_every_key_is_described() -> None:
    schema = study_config.schema()
    for name, model in (schema["$defs"] | {"Study": schema}).items():
        for key, entry in model.get("properties", {}).items():
            assert entry.get("description"), f"{name}.{key}"


def test_presets_run_what_the_paper_reports() -> None:
    study = parse(yaml.safe_load((ROOT / "workflow/presets/cifar100.yaml").read_text()))
    pairs = {(arm.teacher.removesuffix("-he-standard"), arm.architecture) for arm in study.arms}
    assert {
        ("resnet56", "resnet20"),
        ("resnet110", "resnet20"),
        ("resnet110", "resnet32"),
        ("resnet32x4", "resnet8x4"),
        ("wrn-40-2", "wrn-16-2"),
        ("vgg13", "vgg8"),
    } <= pairs
    assert study.init_means.seeds == 6000
    assert study.recipes["published"].ce_weight == 0.1
    # the question for float64 alone has few epochs
    assert {
        recipe.epochs for recipe in study.recipes.values() if recipe.precision == "float32"
    } == {240}


@pytest.mark.parametrize(("seeds", "expected"), [(3, 3), (100, 100), (101, 100)])
def test_layers_are_recorded_for_a_hundred_seeds_unless_a_config_says_otherwise(
    config: Config, seeds: int, expected: int
) -> None:
    config["init_means"]["seeds"] = seeds
    study = parse(config)
    assert study.init_means.layer_seeds == expected
    # the resolved config says it, so that another default would not change a finished study
    assert json.loads(study.canonical_json())["init_means"]["layer_seeds"] == expected
    config["init_means"]["layer_seeds"] = seeds
    assert parse(config).init_means.layer_seeds == seeds


def test_a_resolved_config_is_the_same_study(config: Config) -> None:
    study = parse(config)
    assert parse(json.loads(study.canonical_json())) == study


@given(st.floats(min_value=0, exclude_min=True, allow_nan=False))
def test_temperatures_survive_paths_and_json(temperature: float) -> None:
    assert float(format_number(temperature)) == temperature


def test_reading_a_config_imports_neither_arrow_nor_torch() -> None:
    code = "import sys, kdlm.study.jobs, kdlm.figures; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "pyarrow", "numpy", "pandas", "matplotlib", "scipy"}
    assert not heavy & set(run.stdout.split())


@pytest.mark.parametrize(
    ("content", "expected"),
    [(None, "not the folder of a study"), ("{", "not JSON"), ("{}", "this key is needed")],
)
def test_a_folder_without_a_study_is_refused(
    tmp_path: Path, content: str | None, expected: str
) -> None:
    if content is not None:
        (tmp_path / "study.json").write_text(content)
    with pytest.raises(InputError, match=expected):
        read_study(tmp_path)


def test_a_pipe_is_no_config(tmp_path: Path) -> None:
    """Nobody writes into it, so to read it would take for ever."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="no config"):
        read_config(tmp_path / "pipe")
