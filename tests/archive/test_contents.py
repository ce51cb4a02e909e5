"""Which files an archive holds and what it is told of each, with a study of empty files."""

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from kdlm.archive.contents import Results, expected, results
from kdlm.archive.environment import build_digest
from kdlm.archive.manifest import format_manifest, parse_manifest
from kdlm.archive.packing import Content, Stored, pack
from kdlm.archive.records import Job, check_sources, input_checksums, jobs
from kdlm.errors import InputError
from kdlm.sources import digest
from kdlm.study.config import Study, parse
from kdlm.study.jobs import init_means_jobs, network_jobs


@pytest.fixture(scope="module")
def study(tiny: dict[str, Any]) -> Study:
    return parse(tiny)


@pytest.fixture
def root(study: Study, tmp_path: Path) -> Path:
    for name in expected(study):
        path = tmp_path / "results/tiny" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def names(paths: tuple[Path, ...]) -> set[str]:
    return {path.as_posix() for path in paths}


def test_every_output_of_every_job_is_expected(study: Study) -> None:
    found = set(expected(study))
    for job in network_jobs(study):
        for name in ("history.parquet", "logits.parquet", "model.safetensors", "run.json"):
            assert f"{job.folder.as_posix()}/{name}" in found
    for shard in init_means_jobs(study):
        assert f"{shard.folder.as_posix()}/means.parquet" in found
    assert {"data/digits.safetensors", "data/photographs.safetensors", "study.json"} <= found
    assert len(found) == len(expected(study))


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("weights", [False, True])
def test_what_is_left_out_is_told_by_its_kind(
    study: Study, root: Path, weights: bool, small: bool
) -> None:
    found = results(study, root, weights=weights, small=small)
    assert names(found.outputs) == {f"results/tiny/{name}" for name in expected(study)}
    assert not names(found.archived) & names(found.left_out)
    left_out = names(found.left_out)

    def goes(end: str) -> bool:
        matching = {name for name in names(found.outputs) if name.endswith(end)}
        assert matching
        inside = matching & left_out
        assert inside in (set(), matching), end
        return bool(inside)

    # no data are ever archived
    assert goes("digits.safetensors")
    assert goes("photographs.safetensors")
    assert goes("model.safetensors") == (not weights)
    assert goes("logits.parquet") == small
    assert goes("/means.parquet") == small
    assert goes(".png") == small
    for end in (".svg", "history.parquet", "claims.parquet", "run.json", "study.json"):
        assert not goes(end)


@pytest.mark.parametrize("which", [0, 7, -1])
def test_a_study_that_lacks_one_file_is_refused_by_its_name(
    study: Study, root: Path, which: int
) -> None:
    name = sorted(expected(study))[which]
    (root / "results/tiny" / name).unlink()
    with pytest.raises(InputError, match="is not finished") as caught:
        results(study, root, weights=True, small=False)
    assert name in str(caught.value)


def test_outputs_are_the_archived_and_the_left_out() -> None:
    found = Results((Path("a"),), (Path("b"),))
    assert found.outputs == (Path("a"), Path("b"))


# what Snakemake recorded


def record(rule: str, command: str, start: float, end: float, **others: Any) -> dict[str, Any]:
    return {
        "rule": rule, "shellcmd": command, "starttime": start, "endtime": end, "params": [],
        "input": ["in"], "log": ["results/x/logs/a.log"], **others,
    }  # fmt: skip


def test_a_job_is_all_outputs_of_one_command_from_its_start_to_its_end() -> None:
    found = jobs(
        {
            "b": record("one", "make both", 10, 30),
            "a": record("one", "make both", 12, 28),
            "c": record("one", "make another", 5, 20),
        }
    )
    assert [job.outputs for job in found] == [("c",), ("a", "b")]
    assert [(job.started, job.ended) for job in found] == [(5, 20), (10, 30)]
    assert found[0].benchmark == "results/x/benchmarks/a.tsv"


def test_every_checksum_that_any_job_saw_is_kept() -> None:
    seen = input_checksums(
        {
            "x": record("one", "c", 0, 1, input_checksums={"f": "sha256:1", "g": "sha256:5"}),
            "y": record("one", "d", 0, 1, input_checksums={"f": "sha256:2", "h": "size:3"}),
        }
    )
    assert seen == {"f": {"1", "2"}, "g": {"5"}}


def job(*parameters: str) -> Job:
    return Job("rule", "command", parameters, (), ("output",), ("l/logs/a.log",), 0.0, 1.0)


def test_jobs_of_other_sources_are_refused() -> None:
    known = digest("kdlm.claims")
    check_sources([job(known, "'--weights'"), job("some text")])
    other = "0123456789abcdef"
    with pytest.raises(InputError, match="other sources"):
        check_sources([job(known), job(other)])
    with pytest.raises(InputError, match="other sources"):
        check_sources([job(known + other)])


# digests


def test_a_stored_file_that_changes_is_refused_even_at_its_size(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one two")
    stored = Stored.of(path)
    assert (stored.read(), stored.size) == (b"one two", 7)
    assert stored.sha256 == hashlib.sha256(b"one two").hexdigest()
    path.write_bytes(b"one six")
    with pytest.raises(InputError, match="changed while it was archived"):
        stored.read()


@pytest.mark.parametrize("head", [b"\x80\x02", b"\x80\x05", b"PK\x03\x04"])
def test_what_may_run_when_it_is_read_is_not_packed(tmp_path: Path, head: bytes) -> None:
    contents: dict[str, Content] = {"README.md": b"text", "results/s/study.json": head + b"more"}
    with pytest.raises(InputError, match=r"study\.json cannot be archived: it is a pickle"):
        pack(contents, tmp_path / "a.zip")
    assert not [*tmp_path.iterdir()]


def test_an_archive_does_not_depend_on_the_order_of_its_contents(tmp_path: Path) -> None:
    contents: dict[str, Content] = {"README.md": b"text", "archive.json": b"{}"}
    pack(contents, tmp_path / "a.zip")
    pack(dict(reversed(contents.items())), tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as opened:
        assert opened.namelist() == sorted([*contents, "manifest-sha256.txt"])


def test_a_manifest_is_sorted_and_survives_being_read() -> None:
    digests = {"b c": "1" * 64, "a": "2" * 64}
    text = format_manifest(digests)
    assert text.decode().splitlines() == [f"{'2' * 64}  a", f"{'1' * 64}  b c"]
    assert parse_manifest(text, "here") == digests


def test_a_manifest_that_lists_a_file_twice_is_refused() -> None:
    text = format_manifest({"a": "1" * 64}) * 2
    with pytest.raises(InputError, match="'a' is listed twice"):
        parse_manifest(text, "here")


class _Hash:
    def __init__(self, value: str) -> None:
        self.value = value


class _File:
    """A file of a made-up distribution."""

    def __init__(self, name: str, value: str | None) -> None:
        self.name = name
        self.hash = None if value is None else _Hash(value)
        self.parts = tuple(name.split("/"))
        self.suffix = Path(name).suffix

    def as_posix(self) -> str:
        return self.name


class _Distribution:
    def __init__(self, *files: tuple[str, str | None]) -> None:
        self.files = [_File(*file) for file in files]


def build(*files: tuple[str, str | None]) -> str | None:
    made: Any = _Distribution(*files)
    return build_digest(made)


def test_a_build_is_its_own_files_and_not_what_installing_adds() -> None:
    own = ("p/a.py", "1"), ("p/b.so", "2")
    known = build(*own)
    assert known
    assert build(*reversed(own)) == known
    for added in (("p/__pycache__/a.pyc", "9"), ("p-1.dist-info/RECORD", "9"), ("p/c", None),
                  ("../../bin/p", "9")):  # fmt: skip
        assert build(*own, added) == known, added
    assert build(("p/a.py", "1"), ("p/b.so", "3")) != known
    assert build(*own, ("p/c.py", "3")) != known
    assert build(("p-1.dist-info/RECORD", "9")) is None
