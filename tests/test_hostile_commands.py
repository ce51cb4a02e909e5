"""Every command against hostile arguments and files: one line each, and never a traceback.

The generator reads the commands and their arguments off the parser, so that a new command is tried
without a word said here.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import random
import signal
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from kdlm.arguments import to_path
from kdlm.cli import main, parser
from kdlm.data.dataset import Dataset
from kdlm.data.prepared import prepare
from kdlm.study.config import Study, parse
from kdlm.study.jobs import answers_jobs, init_means_jobs, student_jobs, teacher_jobs
from kdlm.study.specs import BroughtTeacherSpec, Spec

Observed = Callable[[str], None]

SEED = int(os.environ.get("KDLM_FUZZ_SEED", "0"))
"""Where the draws begin. A test that passed passes again; another seed looks for new faults."""

PATIENCE = 60
"""Seconds for any one command: one that waits for a pipe would wait for ever."""

DEEP = "[" * 100_000
HALF = "\ud800"

TEXTS = ["", " ", "{", "null", "[]", "[1]", "1e999", "NaN", '"x"', "{}", DEEP, '{"a": 1, "a": 2}',
         '{"\\ud800": 1}', '{"study": "\\ud800"}', "ü", "\udcff", HALF, "a\nb", "\x1b[31m",
         "../x", "-1", "nan", "inf", "9" * 5000, "1e400"]  # fmt: skip

CONTENTS = [b"", b"{", b"null", b"[]", b"\xff\xfe{", DEEP.encode(), b'{"study": "\\ud800"}',
            b"\0" * 4096, b"PK\3\4" + b"\0" * 100, b"PK\5\6" + b"\0" * 18, b"PAR1" + b"\xff" * 64 +
            b"PAR1", b"\xff" * 8 + b"{}", b"kdlm-sha256:" + b"0" * 64]  # fmt: skip


def mutated(value: Any, draw: random.Random) -> Any:
    """A config or spec with one of its values replaced by what does not belong there."""
    if isinstance(value, dict) and value and draw.random() < 0.9:
        key = draw.choice(sorted(value))
        changed = mutated(value[key], draw)
        return {**value, key: changed} if draw.random() < 0.95 else {**value, f"{key}_": changed}
    if isinstance(value, list) and value and draw.random() < 0.7:
        position = draw.randrange(len(value))
        return [*value[:position], mutated(value[position], draw), *value[position + 1 :]]
    return draw.choice(
        [None, True, -1, 0, 1.5, 2**63, 10**30, float("nan"), float("inf"), "", "x" * 300, HALF,
         "a\0b", "../x", [], {}, [None], [[1]], {"": 1}, "inf", "1e400", 1e308]
    )  # fmt: skip


class World:
    """A folder with whole files and broken ones, and arguments for every kind of action."""

    def __init__(self, folder: Path, config: dict[str, Any], seed: int) -> None:
        self.folder = folder
        self.draw = random.Random(seed)  # noqa: S311 - nothing here is a secret
        study = parse(config)
        self.config = json.loads(study.canonical_json())
        images = torch.randint(256, (20, 1, 8, 8), dtype=torch.uint8)
        labels = torch.arange(20) % 10
        classes = tuple(string.ascii_lowercase[:10])
        prepare(Dataset("x", images, labels, images, labels, classes), folder / "whole.data")
        save_file({"conv1.weight": torch.zeros(16, 1, 3, 3)}, folder / "whole.weights")
        for number, content in enumerate(CONTENTS):
            (folder / f"{number}.bin").write_bytes(content)
            self.study(f"study {number}", content)
        self.study("whole", study.canonical_json().encode())
        (folder / "study folder/study.json").mkdir(parents=True)
        os.mkfifo(folder / "pipe")
        (folder / "loop").symlink_to("loop")
        for number, content in enumerate(CONTENTS):
            self.study(f"tables {number}", study.canonical_json().encode())
            tables = folder / f"tables {number}/tables"
            tables.mkdir()
            for name in ("runs", "histories", "comparisons", "layer_means", "init_means"):
                (tables / f"{name}.parquet").write_bytes(content)
            (tables.parent / "claims.parquet").write_bytes(content)
        specs: dict[str, Spec] = {
            "train-teacher": teacher_jobs(study)[0].spec,
            "answers": next(iter(answers_jobs(study).values())).spec,
            "distill": next(student_jobs(study)).spec,
            "init-means": next(init_means_jobs(study)).spec,
        }
        weights = (folder / "whole.weights").read_bytes()
        specs["bring-teacher"] = BroughtTeacherSpec(
            architecture="resnet8", sha256=hashlib.sha256(weights).hexdigest(), device="cpu",
            threads=1,
        )  # fmt: skip
        self.specs = {name: json.loads(spec.canonical_json()) for name, spec in specs.items()}
        self.trained(study)
        self.paths = [os.fspath(path) for path in sorted(folder.iterdir())]

    def trained(self, study: Study) -> None:
        """Whole files of a teacher, in their places and in each other's."""
        (job,) = teacher_jobs(study)
        place = self.folder / "trained" / job.folder
        spec = job.spec.canonical_json()
        data = os.fspath(self.folder / "whole.data")
        assert not main(["train-teacher", "--spec", spec, "--data", data, "--output", str(place)])
        answers = self.folder / "answers.parquet"
        spec = next(iter(answers_jobs(study).values())).spec.canonical_json()
        known = ["--spec", spec, "--data", data, "--teacher", str(place)]
        assert not main(["answers", *known, "--output", str(answers)])
        files = sorted(place.iterdir())
        for turn in range(1, len(files)):
            swapped = self.folder / f"swapped {turn}"
            (swapped / "tables").mkdir(parents=True)
            (swapped / "study.json").write_text(study.canonical_json())
            for file, other in zip(files, [*files[turn:], *files[:turn]], strict=True):
                (swapped / file.name).write_bytes(other.read_bytes())
            for name in ("tables/runs", "tables/comparisons", "tables/init_means", "claims"):
                (swapped / f"{name}.parquet").write_bytes(files[turn].read_bytes())
        (self.folder / "trained/study.json").write_text(study.canonical_json())
        self.whole = {
            "data": self.folder / "whole.data",
            "teacher": place,
            "answers": answers,
            "folder": self.folder / "trained",
            "output": self.folder / "made",
            "weights": self.folder / "whole.weights",
        }

    def study(self, name: str, content: bytes) -> None:
        (self.folder / name).mkdir()
        (self.folder / name / "study.json").write_bytes(content)

    def path(self, *, written: bool) -> str:
        if written:
            return self.draw.choice(
                [*self.paths, f"{self.folder}/new", f"{self.folder}/0.bin/x", "x" * 300,
                 f"{self.folder}/{'y' * 5000}", "a\0b", HALF, "\udcff", "", "a\nb"]
            )  # fmt: skip
        return self.draw.choice(
            [*self.paths, f"{self.folder}/nothing", "/dev/zero", "/dev/null", "/proc/self/mem", "/",
             "x" * 300, "y" * 5000, "a\0b", HALF, "\udcff", "", "a\nb", "-"]
        )  # fmt: skip

    def value(self, command: str, action: argparse.Action) -> str:
        name = action.dest
        if self.draw.random() < 0.05:
            return self.draw.choice(TEXTS)
        if name in self.whole and self.draw.random() < 0.5:
            return os.fspath(self.whole[name])
        if action.type is to_path:
            return self.path(written=name in ("output", "checkpoint", "json", "into"))
        if name in ("config", "spec"):
            whole = self.config if name == "config" else self.specs[command]
            for _ in range(self.draw.choice([0, 0, 1, 1, 2])):
                whole = mutated(whole, self.draw)
            return json.dumps(whole)
        if action.choices:
            return self.draw.choice([*map(str, action.choices), *TEXTS])
        names = ["imagefolder", "digits", "cifar10", "fashion-mnist", "routes", "accuracy",
                 "runs", "claims", "loss", "loss,seed", "loss=kd", "seed=x", "eq1"]  # fmt: skip
        return self.draw.choice([*TEXTS, *names, "0", "1", "8", "10" * 20])

    def arguments(self, name: str, command: argparse.ArgumentParser) -> Iterator[str]:
        yield name
        for action in command._actions:
            if isinstance(action, argparse._HelpAction):
                continue
            needed = action.required or not action.option_strings
            if self.draw.random() < (0.02 if needed else 0.5):
                continue
            option = self.draw.choice(action.option_strings) if action.option_strings else None
            takes = action.nargs != 0 and not isinstance(action, argparse.BooleanOptionalAction)
            yield from [option] if option else []
            # a value may look like an option, and is one then
            yield from [self.value(name, action)] if takes else []


def commands() -> dict[str, argparse.ArgumentParser]:
    (found,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(found.choices)


def outcome(arguments: list[str]) -> tuple[int, str]:
    """Status and standard error of a command."""
    said = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(out):
        try:
            status = main(arguments)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else -1
    said.seek(0)
    return status, said.read()


def attack(world: World, number: int) -> int:
    """Run a number of commands; the number of those that were refused in one line."""
    known, refused = commands(), 0
    for _ in range(number):
        name = world.draw.choice(sorted(known))
        arguments = list(world.arguments(name, known[name]))
        signal.alarm(PATIENCE)
        try:
            status, said = outcome(arguments)
        except (Exception, pytest.fail.Exception) as error:
            # the arguments tell how to provoke it again
            raise AssertionError([argument[:200] for argument in arguments]) from error
        shown = [argument[:200] for argument in arguments]
        assert status in (0, 1, 2), (shown, status)
        if status:
            # a line for each problem, and none besides
            assert all(line.startswith("kdlm") for line in said.split("\n")[:-1]), (shown, said)
            assert said.endswith("\n"), (shown, said)
            assert said.count("\n") <= 25, (shown, said)
            assert len(said) < 20_000, (shown, said)
            assert "\x1b" not in said, (shown, said)
            refused += 1
    return refused


@pytest.fixture
def world(
    tmp_path: Path, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[int], World]]:
    monkeypatch.chdir(tmp_path)
    # a guess at a terminal, or a download, has no place here
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr("urllib.request.urlopen", _offline)
    handled = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT, signal.SIGALRM)
    before = [signal.getsignal(number) for number in handled]
    signal.signal(signal.SIGALRM, _too_long)
    yield lambda seed: World(tmp_path, config, seed)
    signal.alarm(0)
    for number, handler in zip(handled, before, strict=True):
        signal.signal(number, handler)


def _too_long(*_: object) -> None:
    pytest.fail(f"a command took more than {PATIENCE} s")


def _offline(*_: object, **__: object) -> None:
    raise OSError("no route to host")


@pytest.mark.fault(
    "hostile arguments and files for every command",
    area="hostile input",
    provoked="commands drawn from the parser, with mutated specs and configs, broken files, pipes, "
    "devices, folders, names of 5,000 letters, half characters, deep JSON",
)
def test_hostile_commands(world: Callable[[int], World], observed: Observed) -> None:
    assert attack(world(SEED), 150) > 75
    observed("status 1 or 2 and one line each, never a traceback")


@pytest.mark.slow
def test_more_hostile_commands(world: Callable[[int], World]) -> None:
    assert attack(world(SEED + 1), 3000) > 1500
