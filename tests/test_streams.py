"""Where nobody reads standard output any more, every command ends quietly."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kdlm.streams import BROKEN_PIPE

Observed = Callable[[str], None]

COMMANDS = [
    ["claims"],
    ["claims", "--format", "csv"],
    ["claims", "--id", "eq1"],
    ["findings"],
    ["table", "runs"],
    ["table", "runs", "--format", "json"],
]

ROOT = Path(__file__).parents[1]

# without a buffer argparse passes over what it could not print
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def command(words: list[str], folder: Path) -> list[str]:
    return [sys.executable, "-m", "kdlm", *words, str(folder)]


@pytest.mark.fault(
    "a reader that closes the pipe",
    area="files",
    provoked="the reader of standard output ends before a command prints anything, as `head` may",
)
def test_a_reader_that_has_gone(record: Path, observed: Observed) -> None:
    for words in [*COMMANDS, ["--help"], ["power", "config.yaml"], ["plan", "config.yaml"]]:
        reading, writing = os.pipe()
        os.close(reading)
        own = [*command(words, record)]
        if words[0] in ("--help", "plan", "power"):
            own.pop()
        run = subprocess.run(
            own, stdout=writing, stderr=subprocess.PIPE, cwd=ROOT, env=BUFFERED, check=False
        )
        os.close(writing)
        assert run.stderr == b"", words
        assert run.returncode == BROKEN_PIPE, words
    observed("status 141, no traceback and no message")


def test_a_reader_that_goes_after_the_first_line(record: Path) -> None:
    with subprocess.Popen(
        command(["table", "histories", "--format", "csv"], record),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline().startswith(b"role,")
        process.stdout.close()
        assert process.stderr.read() == b""
        # a system may say that all was written where a part was
        assert process.wait() in (0, BROKEN_PIPE)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_closed_standard_output(record: Path, words: list[str]) -> None:
    run = subprocess.run(
        ["/bin/sh", "-c", '"$@" >&-', "sh", *command(words, record)],
        stderr=subprocess.PIPE,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, b"")


@pytest.mark.fault(
    "standard output on a full disk",
    area="files",
    provoked="`kdlm claims` and others with /dev/full as standard output",
)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_a_full_disk(record: Path, observed: Observed) -> None:
    for words in COMMANDS:
        with Path("/dev/full").open("wb") as full:
            run = subprocess.run(
                command(words, record), stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )
        assert run.returncode == 1
        assert run.stderr.startswith("kdlm: ")
        assert "No space left" in run.stderr
        assert run.stderr.count("\n") == 1
    observed("status 1 and one line that says so")


def test_errors_have_their_status_all_the_same(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    run = subprocess.run(
        command(["claims"], tmp_path), stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert b"claims.parquet is missing" in run.stderr
    assert run.returncode == 1
