"""A fuzzer of archives that lie: every checksum is right, and what they say is not.

Each is checked at L0, and its config is asked for as a deeper level would. Whatever it says, there
is an outcome or a refusal of one line, nothing is written elsewhere, and nothing takes for ever.
"""

import io
import json
import os
import random
import re
import resource
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from kdlm.archive.names import CRATE, FACTS
from kdlm.cli import main
from kdlm.errors import InputError
from kdlm.reproduce.unpacked import open_archive
from tests.forged import CLAIMS, RECORDS, STUDY, made_up, repacked

Observed = Callable[[str], None]
Entries = list[tuple[str, bytes]]

TOLD = (FACTS, RECORDS, CRATE, STUDY)
LONGEST = 30
"""Seconds that one archive may take on a machine that others use too; most take milliseconds."""

MEMORY = 2 << 30
"""Bytes more than the process had."""

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**63, 10**9, 10**300, -(10**300), 0.5, 1e308, float("inf"),
    float("nan"), "", "x", "\0", "\x1b[2K\rL0 holds", "\nL0 holds\nL1 holds", "\x9b1A", "\u202eL0",
    "\ud800", "../../etc/passwd", "/etc/passwd", "results", "results/tiny", "results/tiny/", ".",
    "tiny/../tiny", "C:\\x", "sha256:", f"sha256:{'0' * 64}", "0" * 64, "a" * 100_000, [], {}, [[]],
    [{}], {"": {}}, {"sha256": "0" * 64}, {"@graph": []}, list(range(1000)), "--upload-pack=x",
    "-h", "$(touch x)", "é", "e\u0301", 1e-320, "inf", [None], {"x": None},
    {"name": [], "sha256": {}},
)  # fmt: skip

TEXTS = (
    b"", b"null", b"[]", b"{", b"\xff\xfe{\0}\0", b"\xef\xbb\xbf{}", b"{}{}", b'{"a":1,"a":2}',
    b"[" * 100_000, b'{"a":' * 50_000, b"1" * 10_000, b'{"x":' + b"1" * 5000 + b"}", b"NaN",
    b'"\\ud800"', b'{"\\ud800\\u001b[2J": {}}', b"\0", b"{}" + b" " * 1_000_000,
    b"[" + b"1," * 100_000 + b"1]", b"[" + b"{}," * 50_000 + b"{}]",
)  # fmt: skip

HOSTILE = (
    "source/.git/config", "source/.GIT/hooks/x.sh", "source/.envrc", "source/.vscode/tasks.json",
    "source/src/kdlm/__pycache__/cli.cpython-311.pyc", "source/src/kdlm/cli.so", "source/HEAD",
    "source/src/sitecustomize.py", "source/src/torch/__init__.py", "source/aux.py", "source/x .py",
    "source/GIT~1/config.json", "source/../x.py", "/x.json", "../x.json", "results/tiny/con.json",
    "results/tiny/.git/config.json", "results/tiny/x.json.", "results/tiny/x?.json", "x.pkl",
    "results/tiny/\x1b[2K.json", "results/tiny/\u202ex.json", "RESULTS/tiny/x.json", "results",
    "results/tiny/study.json/x.json", "results/TINY/study.json", "results/" + "a/" * 40 + "x.json",
    "results/tiny/" + "x" * 300 + ".json", "results/tiny/e\u0301.json", "C:/x.json", "a\\b.json",
    "",
)  # fmt: skip

NAMES = (*HOSTILE, "manifest-sha256.txt", FACTS, "results/tiny/x.png", "source/docs/x.md")


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every path in a JSON document."""
    yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    if isinstance(value, dict | list):
        for key, part in list(inner):
            yield from _places(part, (*place, key))


def _with_a_huge_number(content: bytes, draw: random.Random) -> bytes:
    """A JSON document in which one number is very large, small, or none."""
    numbers = re.findall(rb"(?<=[:\[ ])[0-9]+(?=[,}\]])", content)
    huge = draw.choice((b"1000000000", b"9223372036854775808", b"1e308", b"-1", b"0", b"NaN"))
    return content.replace(draw.choice(numbers), huge, draw.randint(1, 3))


def _with_other_value(content: bytes, draw: random.Random) -> bytes:
    """A JSON document in which one value is another, gone, moved, or under another key."""
    told = json.loads(content)
    *above, last = draw.choice([place for place in _places(told) if place])
    holder = told
    for key in above:
        holder = holder[key]
    value = draw.choice(VALUES)
    match draw.randrange(4):
        case 0 if isinstance(holder, dict):
            holder[str(value)] = holder[last]
        case 1:
            del holder[last]
        case 2 if isinstance(holder, list):
            holder.append(value)
        case _:
            holder[last] = value
    return json.dumps(told).encode()


def _lie(contents: dict[str, bytes], draw: random.Random) -> Entries:
    """The entries of an archive that has been lied about once to four times."""
    entries = list(contents.items())
    for _ in range(draw.randint(1, 4)):
        number = draw.randrange(len(entries))
        content = entries[number][1]
        match draw.randrange(8):
            case 0:
                entries.append((draw.choice(NAMES), draw.choice((b"{}", content))))
            case 1:
                entries[number] = (draw.choice(NAMES), content)
            case 2:
                del entries[number]
            case 3:
                told = draw.choice([n for n, (one, _) in enumerate(entries) if one in TOLD] or [0])
                entries[told] = (entries[told][0], draw.choice(TEXTS))
            case _:
                documents = [n for n, (one, text) in enumerate(entries) if one in TOLD and text]
                told = draw.choice(documents or [0])
                change = draw.choice((_with_a_huge_number, _with_other_value, _with_other_value))
                try:
                    other = change(entries[told][1], draw)
                except (ValueError, LookupError, TypeError, RecursionError):
                    # an earlier lie has left no document to change
                    other = draw.choice(TEXTS)
                entries[told] = (entries[told][0], other)
        if not entries:
            return [("README.md", b"")]
    return entries


def _is_true(archive: Path) -> bool:
    """Whether what such an archive says of its files is so, by a plain reading of it."""
    with zipfile.ZipFile(archive) as opened:
        lines = opened.read("manifest-sha256.txt").decode().splitlines()
        manifest = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
        facts, records, crate = (json.loads(opened.read(name)) for name in (FACTS, RECORDS, CRATE))
    known = {name: one["sha256"] for name, one in facts["left_out"].items()} | manifest
    said = [(one["name"], one["sha256"]) for one in crate["@graph"] if "sha256" in one]
    said += [
        (name, checksum.removeprefix("sha256:"))
        for record in records.values()
        for name, checksum in (record.get("input_checksums") or {}).items()
        if checksum.startswith("sha256:")
    ]
    spoken_of = {*records} | {n for one in records.values() for n in one.get("input") or ()}
    return spoken_of <= {*known} and all(known.get(name, sum_) == sum_ for name, sum_ in said)


@contextmanager
def _little_memory() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def _check(archive: Path, folder: Path) -> tuple[int, str]:
    """Status and all that ``kdlm reproduce ARCHIVE --level L0`` prints; its report is JSON."""
    out, err = io.StringIO(), io.StringIO()
    report = folder.with_suffix(".report")
    with redirect_stdout(out), redirect_stderr(err):
        status = main(
            ["reproduce", str(archive), "--level", "L0", "--folder", str(folder),
             "--json", str(report)]
        )  # fmt: skip
    told = json.loads(report.read_text("utf-8"))
    assert ("refused" in told) == (not out.getvalue())
    assert len(err.getvalue().splitlines()) == (1 if status else 0)
    return status, out.getvalue() + err.getvalue()


def _config_is_bounded(archive: Path, folder: Path) -> None:
    try:
        study = open_archive(archive, folder).study
    except InputError:
        return
    assert study.study == "tiny"


@pytest.mark.fault(
    "archives that lie although all their checksums are right",
    area="hostile input",
    provoked="a fuzzer: names, JSON, sizes and config of a small archive changed at random, its "
    "manifest made anew; for seconds in `make test`, for minutes in `make slow`",
)
@pytest.mark.parametrize("seconds", [8, pytest.param(150, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_that_lie(
    seconds: int, tiny: dict[str, Any], tmp_path: Path, observed: Observed
) -> None:
    contents = made_up(tiny)
    first = seconds * 1_000_000 + int(os.environ.get("KDLM_FUZZ_SEED", "0"))
    end, number, held = time.monotonic() + seconds, first, 0
    while time.monotonic() < end:
        number += 1
        place = tmp_path / "one"
        place.mkdir()
        entries = _lie(contents, random.Random(number))  # noqa: S311
        archive = repacked(place / "a.zip", entries)
        before = time.monotonic()
        with _little_memory():
            status, said = _check(archive, place / "out")
            _config_is_bounded(archive, place / "again")
        context = f"archive {number}: {said[-500:]!r}"
        assert time.monotonic() - before < LONGEST, context
        assert all(line.isprintable() for line in said.split("\n")), context
        assert ("L0 holds" in said.split("\n")) == (status == 0), context
        assert status or _is_true(archive), context
        assert status or not {name for name, _ in entries} & set(HOSTILE), context
        assert {path.name for path in place.iterdir()} <= {"a.zip", "out", "out.report", "again"}
        held += status == 0
        _remove(place)
    # a busy machine may come to a few only, of which none may hold
    assert held < number - first
    observed("an outcome or a refusal of one line, within the time and memory allowed; L0 holds "
             "of none whose records contradict its files")  # fmt: skip


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    folder.rmdir()


def test_the_archive_that_is_lied_about_is_true(tiny: dict[str, Any], tmp_path: Path) -> None:
    contents = made_up(tiny)
    archive = repacked(tmp_path / "a.zip", contents.items())
    status, said = _check(archive, tmp_path / "out")
    assert status == 0, said
    assert _is_true(archive)
    _config_is_bounded(archive, tmp_path / "again")
    for name in (CLAIMS, STUDY):
        lie = repacked(tmp_path / "b.zip", (contents | {name: b"{}"}).items())
        assert not _is_true(lie)
