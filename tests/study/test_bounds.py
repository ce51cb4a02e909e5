"""Numbers and keys that no study can mean: each is refused before any job, in one line."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kdlm.data.loaders import load
from kdlm.errors import InputError
from kdlm.study import names
from kdlm.study.config import parse
from kdlm.study.repeated import load_json, refuse_repeated_keys
from kdlm.study.specs import BroughtTeacherSpec, InitMeansSpec, Spec, StudentSpec, TeacherSpec

Observed = Callable[[str], None]
Config = dict[str, Any]

INF, NAN = float("inf"), float("nan")


def put(config: Config, path: str, value: Any) -> None:
    *above, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
    place: Any = config
    for key in above:
        place = place[key]
    place[last] = value


def complaint(config: Config) -> str:
    with pytest.raises(InputError) as caught:
        parse(config)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


BEYOND = [
    ("study", "s" * 101, "study"),
    ("threads", 10**30, "threads"),
    ("threads", 1e30, "threads"),
    ("dataset", {"name": "imagefolder", "root": "r", "image_side": 10**9}, "dataset.image_side"),
    ("dataset", {"name": "imagefolder", "root": "r" * 5000, "image_side": 8}, "dataset.root"),
    ("dataset", {"name": "imagefolder", "root": "a\0b", "image_side": 8}, "dataset.root"),
    ("dataset", {"name": "imagefolder", "root": "\ud800", "image_side": 8}, "dataset.root"),
    ("dataset", {"name": "imagefolder", "root": "", "image_side": 8}, "dataset.root"),
    ("recipes.short.epochs", 10**20, "recipes.short.epochs"),
    ("recipes.short.batch_size", 10**20, "recipes.short.batch_size"),
    ("recipes.short.learning_rate", INF, "recipes.short.learning_rate"),
    ("recipes.short.learning_rate", 1e300, "recipes.short.learning_rate"),
    ("recipes.short.weight_decay", INF, "recipes.short.weight_decay"),
    ("recipes.short.weight_decay", NAN, "recipes.short.weight_decay"),
    ("recipes.short.momentum", NAN, "recipes.short.momentum"),
    ("recipes.short.epochs", True, "recipes.short.epochs"),
    ("recipes.short.schedule", {"name": "step", "milestones": [10**20]}, "milestones[0]"),
    ("recipes.short.schedule", {"name": "step", "milestones": [True]}, "milestones"),
    ("teachers.0.seed", 2**63, "teachers[0].seed"),
    ("arms.0.teacher_seed", 2**63, "arms[0].teacher_seed"),
    ("arms.0.seeds", [0, 2**63], "arms[0].seeds[1]"),
    ("arms.0.seeds", [0, True], "arms[0].seeds"),
    ("arms.0.temperatures", [1e300], "arms[0].temperatures[0]"),
    ("arms.0.temperatures", [1e-300], "arms[0].temperatures[0]"),
    ("arms.0.temperatures", [4, True], "arms[0].temperatures"),
    ("arms.0.mean_gaps", [1e300], "arms[0].mean_gaps[0]"),
    ("arms.0.mean_gaps", [NAN], "arms[0].mean_gaps[0]"),
    ("arms.0.perturbations", [10**9], "arms[0].perturbations[0]"),
    ("arms.0.seeds", list(range(100_000)), "arms: they ask for"),
    ("teachers.0", {"architecture": "resnet8", "weights": "/dev/zero"}, "teachers[0].weights"),
    ("teachers.0", {"architecture": "resnet8", "weights": "a\0b"}, "teachers[0]"),
    ("theory.seed", 2**63, "theory.seed"),
    ("theory.samples", 10**30, "theory.samples"),
    ("init_means.images", 10**30, "init_means.images"),
    ("init_means.images", 417, "init_means.images: photographs has 416"),
    ("init_means.num_classes", 10**30, "init_means.num_classes"),
    ("init_means.seeds", 10**30, "init_means.seeds"),
    ("init_means.shard_size", 10**30, "init_means.shard_size"),
    ("init_means.layer_seeds", 10**30, "init_means.layer_seeds"),
    ("init_means.layer_seeds", -1, "init_means.layer_seeds"),
    ("init_means.layer_seeds", 4, "init_means.layer_seeds: layers can be recorded for at most"),
    ("init_means.seeds", 10**6, "init_means.shard_size: 2 seeds a job"),
    ("tolerances", {"logits": {"absolute": INF}}, "tolerances.logits.absolute"),
    ("tolerances", {"logits": {"absolute": True}}, "tolerances.logits.absolute"),
]


@pytest.mark.fault(
    "numbers beyond all bounds in a config",
    area="hostile input",
    provoked="seeds of 2⁶³, 1e30 threads, a name of 101 letters, 10²⁰ epochs, NaN, infinity, true "
    "as a number, and the like, for every number",
)
@pytest.mark.parametrize(("path", "value", "named"), BEYOND)
def test_a_number_beyond_its_bounds(
    config: Config, path: str, value: Any, named: str, observed: Observed
) -> None:
    put(config, path, value)
    assert complaint(config).startswith(f"config: {named}") or named in complaint(config)
    observed("refused before any job, in one line that names the key")


MARGINS = [
    *((key, value) for key in ("identity", "scale", "accuracy") for value in (INF, NAN, True)),
    *(("slope", value) for value in ([-0.9, -1.1], [-1, -1], [NAN, -0.9], [-1.1, INF])),
    ("slope", [True, 2]),
    ("slope", [-1.1, -0.9, 0]),
]


@pytest.mark.fault(
    "margins that would decide silently",
    area="hostile input",
    provoked="a slope's ends swapped, equal or NaN; infinity, NaN or true as a margin",
)
@pytest.mark.parametrize(("key", "value"), MARGINS)
def test_a_margin(config: Config, key: str, value: Any, observed: Observed) -> None:
    config["margins"][key] = value
    assert f"margins.{key}" in complaint(config)
    observed("refused before any job, in one line that names the margin")


@pytest.mark.parametrize("bound", [("theory.seed", 2**63 - 1), ("threads", 1024)])
def test_the_bounds_themselves_are_taken(config: Config, bound: tuple[str, int]) -> None:
    put(config, *bound)
    parse(config)


@pytest.mark.fault(
    "a last batch of one image, known from the config",
    area="hostile input",
    provoked="a batch_size that leaves one of a data set's training images for the last batch",
)
@pytest.mark.parametrize(("dataset", "batch_size"), [("digits", 4), ("photographs", 5)])
def test_a_last_batch_of_one(
    config: Config, dataset: str, batch_size: int, observed: Observed
) -> None:
    config["dataset"] = {"name": dataset}
    config["recipes"]["short"]["batch_size"] = batch_size
    message = complaint(config)
    assert message.startswith("config: recipes.short.batch_size: ")
    assert "choose another batch_size" in message
    observed("refused before any job, in one line that names key and remedy")


@pytest.mark.parametrize("name", ["digits", "photographs"])
def test_the_numbers_of_images_and_classes_are_the_loaders(name: str) -> None:
    dataset = load(name)
    assert len(dataset.train_labels) == names.DATASETS[name].train_images
    assert len(dataset.classes) == names.DATASETS[name].classes


@pytest.mark.fault(
    "ten thousand temperatures, thirty thousand seeds",
    area="hostile input",
    provoked="lists of that length in an arm",
)
@pytest.mark.parametrize(
    ("key", "values"),
    [("temperatures", [1 + i / 1000 for i in range(10_000)]), ("seeds", list(range(30_000)))],
)
def test_long_lists(config: Config, key: str, values: list[float], observed: Observed) -> None:
    config["arms"][0] |= {"losses": ["kd"], "temperatures": [4], "seeds": [0]} | {key: values}
    start = time.process_time()
    study = parse(config)
    assert time.process_time() - start < 1
    assert study.arms[0].students == len(values)
    observed("checked in a tenth of a second")


TWICE = {
    "margins.yaml": ("margins:\n  trained: 0.1\n  trained: 9\n", "line 3: the key 'trained'"),
    "top.yaml": ("study: a\nthreads: 1\nstudy: b\n", "line 3: the key 'study'"),
    "flow.yaml": ("arms:\n- {seeds: [0], seeds: [1]}\n", "line 2: the key 'seeds'"),
    "merge.yaml": ("a: &a {x: 1}\nb:\n  <<: *a\n  <<: *a\n", "line 4: the key '<<'"),
    "text.json": ('{"study": "a",\n "study": "b"}', "line 2: the key 'study'"),
    "tabs.json": ('{\t"study": "a",\n\t"study": "b"}', "the key 'study'"),
}


@pytest.mark.fault(
    "a key given twice in a config",
    area="hostile input",
    provoked="at the top, in margins, in a list, `<<` twice; YAML and JSON",
)
@pytest.mark.parametrize("name", TWICE)
def test_a_key_given_twice(name: str, tmp_path: Path, observed: Observed) -> None:
    text, expected = TWICE[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=expected) as caught:
        refuse_repeated_keys(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    observed("refused before any job, in one line that names file and key, and the line")


def test_snakemake_refuses_it_before_any_job(
    snakemake: Callable[..., Any], tmp_path: Path, tiny: Config
) -> None:
    text = yaml.safe_dump(tiny)
    (tmp_path / "twice.yaml").write_text(text + "threads: 1\n")
    run = snakemake(tmp_path, "-n", "--configfile", "twice.yaml")
    assert run.returncode == 1
    assert "twice.yaml, line" in run.stdout
    assert "the key 'threads' is given twice" in run.stdout
    assert "Traceback" not in run.stdout
    assert not (tmp_path / "results").exists()


def test_what_yaml_means_by_merging_is_no_repetition(tmp_path: Path) -> None:
    path = tmp_path / "merge.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\nc: [*a, *a]\n")
    refuse_repeated_keys(path)
    path.write_text("{[")
    refuse_repeated_keys(path)


def test_json_says_what_it_says() -> None:
    assert load_json(json.dumps({"a": [1, {"b": None}]})) == {"a": [1, {"b": None}]}
    for text in ("", "{", '{"a": 1, "a": 2}', "[" * 100_000):
        with pytest.raises(InputError):
            load_json(text)


def _integers(schema: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield every integer of a JSON schema, with its place in it."""
    if isinstance(schema, dict):
        if schema.get("type") == "integer":
            yield place, schema
        schema = list(schema.items())
    elif isinstance(schema, list):
        schema = list(enumerate(schema))
    else:
        return
    for key, value in schema:
        yield from _integers(value, f"{place}.{key}")


@pytest.mark.parametrize("kind", [TeacherSpec, StudentSpec, BroughtTeacherSpec, InitMeansSpec])
def test_every_integer_of_a_spec_has_both_bounds(kind: type[Spec]) -> None:
    found = dict(_integers(kind.model_json_schema(), kind.__name__))
    assert found
    for place, schema in found.items():
        assert schema.keys() & {"minimum", "exclusiveMinimum"}, place
        assert schema.keys() & {"maximum", "exclusiveMaximum"}, place
