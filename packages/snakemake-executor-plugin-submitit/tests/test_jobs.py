"""Snakemake's jobs as the plugin sees them."""

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_plugin_submitit.jobs import Planned, arrays, plan

TOP = Path("logs")


def _plan(
    name: str = "train",
    wildcards: dict[str, str] | None = None,
    output: tuple[str, ...] = ("out/b", "out/a"),
    resources: dict[str, Any] | None = None,
    command: str = "make it",
    sources: tuple[Path, ...] = (Path("in"),),
    **described: Any,
) -> Planned:
    job = _job(name, wildcards, output, command, sources, **described)
    job.resources = resources or {}
    return plan(job, TOP, "true")


def _job(
    name: str,
    wildcards: dict[str, str] | None,
    output: tuple[str, ...],
    command: str,
    sources: tuple[Path, ...] = (),
    **described: Any,
) -> Any:
    return SimpleNamespace(
        name=name,
        threads=1,
        resources={},
        input=list(sources),
        output=list(output),
        shellcmd=command,
        is_group=lambda: False,
        properties=lambda: json.dumps({"rule": name, "wildcards": wildcards, **described}),
    )


def _group(*commands: str) -> Planned:
    jobs = [
        _job("train", {"seed": str(seed)}, (f"out/{seed}",), command)
        for seed, command in enumerate(commands)
    ]
    group: Any = SimpleNamespace(
        name="together",
        threads=1,
        resources={},
        input=["in"],
        output=["out/0", "out/1"],
        jobs=jobs,
        is_group=lambda: True,
        properties=lambda: json.dumps({"groupid": "together"}),
    )
    return plan(group, TOP, "true")


def test_names() -> None:
    one = _plan(wildcards={"seed": "3", "loss": "kd"})
    assert one.title == "train seed=3 loss=kd"
    assert one.logs == TOP / "train" / "seed=3" / "loss=kd"
    assert one.key == "out/a"


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("a/b", "x=a_b"),
        ('it\'s "so"', "x=it_s__so_"),
        ("é漢", "x=__"),
        ("..", "x=.."),
        ("$(rm)\n", "x=__rm__"),
    ],
)
def test_wildcards_in_paths(value: str, part: str) -> None:
    assert _plan(wildcards={"x": value}).logs == TOP / "train" / part


@given(st.text(), st.text())
def test_any_wildcard_makes_one_short_part(name: str, value: str) -> None:
    logs = _plan(name=name or "x", wildcards={"x": value}).logs
    assert len(logs.parts) == 3
    assert not {"", ".", ".."} & set(logs.parts)
    assert all(len(part.encode()) <= 255 for part in logs.parts)


def test_long_wildcards_that_differ_at_the_end_differ() -> None:
    one, two = (_plan(wildcards={"x": "y" * 1000 + end}).logs for end in "ab")
    assert one != two


@pytest.mark.parametrize(
    "other",
    [
        {"wildcards": {"seed": "4"}},
        {"params": {"rate": 0.2}},
        {"output": ("out/a",)},
        {"name": "other"},
        {"command": "make it otherwise"},
        {"sources": (Path("other"),)},
    ],
)
def test_fingerprint_tells_how_a_job_makes_it(other: dict[str, Any]) -> None:
    base: dict[str, Any] = {"wildcards": {"seed": "3"}, "params": {"rate": 0.1}}
    assert _plan(**base).fingerprint == _plan(**base).fingerprint
    assert _plan(**base).fingerprint != _plan(**(base | other)).fingerprint


def test_fingerprint_of_a_group_tells_how_each_of_its_jobs_makes_it() -> None:
    assert _group("a", "b").fingerprint == _group("a", "b").fingerprint
    assert _group("a", "b").fingerprint != _group("a", "c").fingerprint
    assert _group("a", "b").key == "out/0"


def test_fingerprint_tells_whether_an_input_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.touch()
    before = _plan(sources=(path,)).fingerprint
    assert _plan(sources=(path,)).fingerprint == before
    os.utime(path, (1, 1))
    assert _plan(sources=(path,)).fingerprint != before


def test_fingerprint_is_the_same_on_a_retry() -> None:
    assert (
        _plan(resources={"mem_mb": 500}).fingerprint == _plan(resources={"mem_mb": 999}).fingerprint
    )


def test_a_job_without_output_has_a_key() -> None:
    assert _plan(output=(), wildcards={"x": "1"}).key != _plan(output=(), wildcards={"x": "2"}).key


@given(st.lists(st.integers(1, 3), max_size=30), st.integers(1, 5))
def test_arrays(runtimes: list[int], largest: int) -> None:
    planned = [_plan(resources={"runtime": runtime}) for runtime in runtimes]
    found = arrays(planned, largest)
    assert sorted(map(id, (one for array in found for one in array))) == sorted(map(id, planned))
    requests = []
    for array in found:
        assert 1 <= len(array) <= largest
        assert len({one.request for one in array}) == 1
        requests.append(array[0].request)
    for wanted in set(requests):
        count = sum(one.request == wanted for one in planned)
        assert requests.count(wanted) == -(-count // largest)
