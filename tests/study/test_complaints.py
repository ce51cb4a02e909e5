"""What a config with problems is told: all of them at once, in a user's words."""

import datetime
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kdlm.errors import InputError
from kdlm.study.config import parse, read_config

Config = dict[str, Any]
PYTHON = re.compile(
    r"tuple|None\b|NoneType|dict|\bstr\b|\bint\b|\bbool|instance|[Ii]nput should|valid "
)
"""Words that a user of a config need not know."""


def told(config: Any) -> list[str]:
    """The problems of a config."""
    with pytest.raises(InputError) as caught:
        parse(config, "my.yaml")
    problems = [*caught.value.problems]
    for line in problems:
        assert line.startswith("my.yaml: ")
        assert "\n" not in line
        assert not PYTHON.search(line), line
    return [line.removeprefix("my.yaml: ") for line in problems]


def test_a_misspelt_key_is_one_problem(config: Config) -> None:
    config["recipies"] = config.pop("recipes")
    assert told(config) == ["recipies: unknown key; did you mean 'recipes'?"]


def test_an_unknown_key_comes_before_a_missing_one(config: Config) -> None:
    del config["study"], config["theory"]
    config["colour"] = "red"
    unknown, *missing = told(config)
    assert unknown.startswith("colour: unknown key; known keys: study, dataset, device")
    assert missing == ["study: this key is needed", "theory: this key is needed"]


def test_all_problems_are_told_at_once(config: Config) -> None:
    config["theads"] = config.pop("threads")
    config["recipes"]["short"]["learning_rate"] = "fast"
    config["teachers"][0]["sead"] = 1
    config["arms"][0] |= {"losses": ["kl", "lm"], "seeds": []}
    config["arms"][1] |= {"recipe": "shorter", "mean_gaps": 0}
    config["arms"].append(config["arms"][0] | {"losses": ["lm"], "temperatures": [], "seeds": [0],
                                               "recipe": "shorter"})  # fmt: skip
    config["init_means"]["images"] = 10**5
    config["dataset"]["root"] = "pictures"
    assert told(config) == [
        "theads: unknown key; did you mean 'threads'?",
        "teachers[0].sead: unknown key; did you mean 'seed'?",
        "dataset.root: it is not for digits, which ships with scikit-learn; leave it out",
        "recipes.short.learning_rate: a number is needed, not 'fast'",
        "arms[0].losses[0]: unknown loss 'kl'; known: ce, kd, reverse-kd, standardised-kd, lm, "
        "centred-lm, regularised-lm-corrected, regularised-lm-printed, l1-lm",
        "arms[0].seeds: the list is empty",
        "arms[1].mean_gaps: a list is needed, not 0",
        "init_means.images: photographs has 416 training images, not 100000",
        # between two parts, whatever is wrong with others
        "arms[2].recipe: unknown recipe 'shorter'; did you mean 'short'? known: short",
    ]


def test_of_very_many_problems_the_first_are_told(config: Config) -> None:
    config["arms"][0]["seeds"] = [-1] * 500
    lines = told(config)
    assert len(lines) == 21
    assert lines[-1] == "and 480 more problems"


WRONG: dict[str, tuple[Any, list[str]]] = {
    "study": (
        [5, None, [], {}, "../x", "x" * 200, True, datetime.date(2024, 1, 2)],
        [
            "text is needed, not 5", "text is needed; nothing is given",
            "text is needed, not a list", "text is needed, not a mapping",
            "a name of letters, digits, _, . and -, a letter or digit first, is needed, "
            "not '../x'",
            "at most 100 characters, not 200",
            "true does not belong here (YAML reads yes, no, on and off as such)",
            "text is needed, not a date; put the text in quotes",
        ],
    ),
    "threads": (
        ["many", 1.5, 0, None, [1], False, 10**30],
        [
            "a whole number is needed, not 'many'", "a whole number is needed, not 1.5",
            "a number of at least 1 is needed, not 0", "a whole number is needed; nothing is given",
            "a whole number is needed, not a list",
            "false does not belong here (YAML reads yes, no, on and off as such)",
            "a number of at most 1024 is needed, not so large a number",
        ],
    ),
    "device": (
        ["GPU", "CPU", None, 3],
        [
            "one of auto, cpu, cuda is needed, not 'GPU'",
            "did you mean 'cpu'? one of auto, cpu, cuda is needed, not 'CPU'",
            "one of auto, cpu, cuda is needed; nothing is given",
            "one of auto, cpu, cuda is needed, not 3",
        ],
    ),
    "recipes": (
        [None, [], {}, "short"],
        [
            "a mapping (key: value) is needed; nothing is given",
            "a mapping (key: value) is needed, not a list", "at least one is needed",
            "a mapping (key: value) is needed, not 'short'",
        ],
    ),
    "arms": (
        [None, {}, [], "kd"],
        [
            "a list is needed; nothing is given", "a list is needed, not a mapping",
            "the list is empty", "a list is needed, not 'kd'",
        ],
    ),
    "margins": ([[], 0.1], ["a mapping (key: value) is needed, not a list",
                            "a mapping (key: value) is needed, not 0.1"]),
}  # fmt: skip
CASES = [
    pytest.param(key, value, text, id=f"{key}-{number}")
    for key, (values, texts) in WRONG.items()
    for number, (value, text) in enumerate(zip(values, texts, strict=True))
]


@pytest.mark.parametrize(("key", "value", "text"), CASES)
def test_a_wrong_type_is_told_in_the_words_of_yaml(
    config: Config, key: str, value: Any, text: str
) -> None:
    config[key] = value
    assert told(config) == [f"{key}: {text}"]


def test_every_key_of_every_part_says_what_it_needs(config: Config) -> None:
    """No wrong value, wherever it stands, is answered by a word of Python's."""
    seen = 0
    values: list[Any] = [None, True, [], {}, "text", -1, 1e400, [[]], [None], {"a": 1}, 10**400]
    for value in values:
        for place in (config, config["dataset"], config["recipes"]["short"],
                      config["recipes"]["short"]["schedule"], config["teachers"][0],
                      config["arms"][0], config["init_means"], config["theory"],
                      config["margins"]):  # fmt: skip
            for key in list(place):
                before = place[key]
                place[key] = value
                try:
                    parse(config)
                except InputError:
                    told(config)
                    seen += 1
                place[key] = before
    assert seen > 500


@pytest.mark.parametrize("value", [None, [], 5, "study: x", [{"study": "x"}]])
def test_a_config_that_is_no_mapping_is_told_so(value: Any) -> None:
    assert told(value) == ["a config is a mapping, with lines such as `study: name`"]


def test_a_name_that_resembles_a_known_one_is_suggested(config: Config) -> None:
    config["arms"][0] |= {"losses": ["centered-lm"], "architecture": "ResNet8"}
    config["teachers"][0]["initialisation"] = "he_centred"
    config["recipes"]["short"]["optimizer"] = "adamW"
    lines = told(config)
    hints = [re.findall(r"did you mean '(\S+)'", line) for line in lines]
    assert hints == [["adamw"], ["he-centred"], ["resnet8"], ["centred-lm"]]


FILES: dict[str, tuple[bytes, str]] = {
    "a tab": (b"study: x\n\tdevice: cpu\n", "line 2: not YAML: a tab stands where only spaces can"),
    "an open bracket": (b"study: [1,\nx: 2\n", "not YAML: "),
    "nothing": (b"", "the file is empty"),
    "a comment": (b"# later\n", "the file is empty"),
    "not UTF-8": ("study: ü\n".encode("latin-1"), "not UTF-8 text"),
    "UTF-16": ("study: x\n".encode("utf-16"), "not UTF-8 text"),
    "a key twice": (b"study: x\nstudy: y\n", "line 2: the key 'study' is given twice"),
    "a list": (b"- study\n", "a config is a mapping"),
    "text": (b"hello\n", "a config is a mapping"),
    "a NUL": (b"study: a\0b\n", "not YAML"),
    "a date that is none": (b"study: 2024-13-41\n", "not YAML"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_config_is_named_with_the_reason(name: str, tmp_path: Path) -> None:
    content, reason = FILES[name]
    path = tmp_path / "my.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_config(path)
    (line,) = caught.value.problems
    assert line.startswith(str(path))
    assert reason in line


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: "\ufeff" + text, id="a byte order mark"),
        pytest.param(lambda text: text.replace("\n", "\r\n"), id="lines of Windows"),
        pytest.param(lambda text: text.removesuffix("\n"), id="no last line break"),
    ],
)
def test_what_an_editor_adds_does_no_harm(
    config: Config, tmp_path: Path, change: Callable[[str], str]
) -> None:
    path = tmp_path / "my.yaml"
    path.write_bytes(change(yaml.safe_dump(config)).encode())
    assert read_config(path) == parse(config)


def test_a_pipe_is_no_config(tmp_path: Path) -> None:
    """Reading it, or a device such as /dev/zero, might never end."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe: no config"):
        read_config(tmp_path / "pipe")
