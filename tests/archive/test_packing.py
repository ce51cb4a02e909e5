"""One deterministic zip, and what is refused of a stranger's."""

import hashlib
import os
import pickle
import zipfile
from pathlib import Path, PurePosixPath

import pytest
import yaml

from kdlm.archive import names
from kdlm.archive.contents import expected
from kdlm.archive.manifest import format_manifest, parse_manifest
from kdlm.archive.names import MANIFEST, complaint
from kdlm.archive.packing import Stored, entry, pack
from kdlm.archive.unpacking import unpack
from kdlm.errors import InputError
from kdlm.study.config import parse

ROOT = Path(__file__).parents[2]

CONTENTS = {
    "README.md": b"what this is\n",
    "results/s/study.json": b'{"study": "s"}\n',
    "results/s/logs/a=ü/empty.log": b"",
    "source/src/kdlm/losses.py": b"LOSSES = {}\n" * 50,
}

Entry = tuple[zipfile.ZipInfo, bytes]


def forged(path: Path, *entries: Entry, manifest: bytes | None = None) -> Path:
    """A zip that holds `CONTENTS`, the ``entries``, and a manifest that is right about all."""
    every = [(entry(name), data) for name, data in CONTENTS.items()] + list(entries)
    if manifest is None:
        digests = {info.filename: hashlib.sha256(data).hexdigest() for info, data in every}
        manifest = format_manifest(digests)
    with zipfile.ZipFile(path, "w") as archive:
        for info, data in [*every, (entry(MANIFEST), manifest)]:
            archive.writestr(info, data)
    return path


def refusal(archive: Path) -> str:
    """The message of a refusal, after which there is no file that was not there before."""
    around = archive.parent
    before = sorted(around.rglob("*"))
    with pytest.raises(InputError) as refused:
        unpack(archive, around / "inside/unpacked")
    assert sorted(around.rglob("*")) == before
    return str(refused.value)


def test_equal_contents_are_equal_bytes(tmp_path: Path) -> None:
    pack(CONTENTS, tmp_path / "a.zip")
    files = {}
    for number, (name, data) in enumerate(reversed(CONTENTS.items())):
        path = tmp_path / str(number)
        path.write_bytes(data)
        path.chmod(0o600)
        os.utime(path, (number, number))
        files[name] = Stored.of(path)
    pack(files, tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_a_file_that_changes_while_it_is_archived(tmp_path: Path) -> None:
    """Or the manifest would lie about it."""
    log = tmp_path / "a.log"
    log.write_bytes(b"one line\n")
    stored = Stored.of(log)
    assert (stored.size, stored.sha256) == (9, hashlib.sha256(b"one line\n").hexdigest())
    log.write_bytes(b"another\n")
    with pytest.raises(InputError, match=r"a\.log changed while it was archived"):
        pack({"results/s/logs/a.log": stored}, tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()


def test_what_is_packed_comes_back(tmp_path: Path) -> None:
    pack(CONTENTS, tmp_path / "a.zip")
    digests = unpack(tmp_path / "a.zip", tmp_path / "out")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in digests} == CONTENTS
    assert digests == {name: hashlib.sha256(data).hexdigest() for name, data in CONTENTS.items()}


def test_the_forger_forges_nothing_by_itself(tmp_path: Path) -> None:
    assert set(unpack(forged(tmp_path / "a.zip"), tmp_path / "out")) == set(CONTENTS)


def test_the_manifest_reads_back() -> None:
    digests = {"b c": "0" * 64, "a=ü": "f" * 64}
    assert parse_manifest(format_manifest(digests), "here") == digests


@pytest.mark.parametrize(
    "text", ["", "0\n", f"{'0' * 64} *a\n", f"{'0' * 64}  a\n" * 2, f"{'0' * 64}  a\n\n"]
)
def test_a_manifest_that_is_none(text: str) -> None:
    with pytest.raises(InputError, match="here: "):
        parse_manifest(text.encode(), "here")


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd", "../outside.log", "results/../../outside.log", "results/s/./x.json",
        "results//x.json", "C:/x.json", "results/s/C:x.json", "results\\s\\x.json", "results/s/",
        "results/s/new\nline.json", "results/s/u\u0308.json", "results/s/\u202ename.json",
        "x" * 2000, "é" * 513, "x.json", f"results/s/{'x' * 251}.json",
        f"results/s/{'é' * 126}.json", f"results/{'s/' * 31}x.json", ".bashrc", "home/x.json",
        "results/s/run.sh", "results/s/x", "results/s/model.pt", "results/s/x.PKL",
        "source/weights.pth", "source/a.npy", "environment/x.py",
    ],
)  # fmt: skip
def test_names_that_no_archive_has(name: str, tmp_path: Path) -> None:
    assert complaint(name)
    info = entry("x")
    info.filename = name
    message = refusal(forged(tmp_path / "a.zip", (info, b"content")))
    assert "refused" in message
    assert repr(name)[1:20] in message
    with pytest.raises(InputError, match="cannot be archived"):
        pack({name: b"content"}, tmp_path / "b.zip")


def test_an_ambiguous_name(tmp_path: Path) -> None:
    archive = forged(tmp_path / "a.zip", (entry("results/s/x.json#.exe"), b"content"))
    archive.write_bytes(archive.read_bytes().replace(b"x.json#.exe", b"x.json\0.exe"))
    assert "x.json" in refusal(archive)


@pytest.mark.parametrize("mode", [0o120777, 0o040755, 0o020666, 0o100755, 0])
def test_what_is_no_regular_file(mode: int, tmp_path: Path) -> None:
    link = entry("results/s/link.json")
    link.external_attr = mode << 16
    message = refusal(forged(tmp_path / "a.zip", (link, b"/etc/passwd")))
    assert "'results/s/link.json' refused: no regular file" in message


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("results/s/study.json", "the same file as results/s/study.json"),
        ("results/S/STUDY.json", "the same file as results/s/study.json"),
        ("results/s/study.json/x.json", "a file and a folder at once"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_that_are_one(name: str, why: str, tmp_path: Path) -> None:
    assert why in refusal(forged(tmp_path / "a.zip", (entry(name), b"again")))


def test_a_bomb(tmp_path: Path) -> None:
    bomb = (entry("results/s/logs/bomb.log"), b"\0" * (64 << 20))
    message = refusal(forged(tmp_path / "a.zip", bomb))
    assert "'results/s/logs/bomb.log' refused" in message
    assert "a zip bomb" in message


def test_a_bomb_of_many_small_entries(tmp_path: Path) -> None:
    """None of them large enough for its own ratio to be looked at."""
    bombs = [(entry(f"results/s/logs/{number}.log"), b"\0" * (1 << 20)) for number in range(65)]
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for info, data in bombs:
            archive.writestr(info, data)
    size = path.stat().st_size
    assert f"{size} bytes would become {65 << 20} (a zip bomb)" in refusal(path)


def test_a_bomb_of_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "MOST", 100)
    deep = [(entry(f"results/{n}{'/s' * 25}/x.log"), b"") for n in range(4)]
    message = refusal(forged(tmp_path / "a.zip", *deep))
    assert "refused: one more than 100 files and folders" in message


def test_the_largest_study_is_far_from_the_limits() -> None:
    """At the paper's scale, with all files of its jobs, logs and benchmarks too."""
    config = yaml.safe_load((ROOT / "workflow/presets/cifar100.yaml").read_text())
    study = parse(config)
    outputs = [f"results/{study.study}/{name}" for name in expected(study)]
    jobs = [PurePosixPath(name).parent for name in outputs]
    traces = [
        str(PurePosixPath("results", study.study, kind, *job.parts[2:])) + end
        for job in set(jobs) for kind, end in (("logs", ".log"), ("benchmarks", ".tsv"))
    ]  # fmt: skip
    every = [*outputs, *traces]
    assert len(every) > 1000
    assert names.complaints(every) is None
    folders = {parent for name in every for parent in PurePosixPath(name).parents}
    assert len(every) + len(folders) < names.MOST / 10
    assert max(len(PurePosixPath(name).parts) for name in every) <= 16


def test_a_bomb_of_overlapping_entries(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(entry("results/s/a.log"), os.urandom(1000))
        twin = entry("results/s/b.log")
        first = opened.infolist()[0]
        twin.header_offset, twin.CRC = first.header_offset, first.CRC
        twin.compress_size, twin.file_size = first.compress_size, first.file_size
        opened.filelist.append(twin)
    assert "'results/s/b.log' refused: its headers are not in order" in refusal(archive)


def test_a_size_that_lies(tmp_path: Path) -> None:
    archive = forged(tmp_path / "a.zip", (entry("results/s/a.log"), b"\0" * 100_000))
    data = archive.read_bytes()
    sizes = (100_000).to_bytes(4, "little")
    archive.write_bytes(data.replace(sizes, (10).to_bytes(4, "little")))
    assert "results/s/a.log" in refusal(archive)


def test_bytes_that_belong_to_no_entry(tmp_path: Path) -> None:
    whole = forged(tmp_path / "a.zip").read_bytes()
    for number, data in enumerate([b"#!/bin/sh\n" + whole, whole + b"more"]):
        archive = tmp_path / f"{number}.zip"
        archive.write_bytes(data)
        assert "refused" in refusal(archive) or "not a whole zip" in refusal(archive)


def test_a_missing_file_and_one_too_many(tmp_path: Path) -> None:
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in CONTENTS.items()}
    more = format_manifest(digests | {"results/s/claims.parquet": "0" * 64})
    archive = forged(tmp_path / "a.zip", manifest=more)
    assert "'results/s/claims.parquet' is missing" in refusal(archive)
    fewer = format_manifest({k: v for k, v in digests.items() if k != "README.md"})
    archive = forged(tmp_path / "b.zip", manifest=fewer)
    assert "'README.md' refused: the manifest does not list it" in refusal(archive)


def test_a_manifest_that_lies(tmp_path: Path) -> None:
    digests = dict.fromkeys(CONTENTS, "0" * 64)
    archive = forged(tmp_path / "a.zip", manifest=format_manifest(digests))
    assert "'README.md' is not what was archived" in refusal(archive)


def test_no_manifest(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(entry("README.md"), b"x")
    assert f"{MANIFEST} is missing" in refusal(tmp_path / "a.zip")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_under_another_name(protocol: int, tmp_path: Path) -> None:
    content = pickle.dumps({"weights": [1.0]}, protocol)
    message = refusal(forged(tmp_path / "a.zip", (entry("results/s/x.parquet"), content)))
    assert "'results/s/x.parquet' refused: a pickle" in message


def test_no_zip_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.zip is missing"):
        unpack(tmp_path / "nothing.zip", tmp_path / "out")
    for number, content in enumerate([b"", b"PK", b"no zip" * 100]):
        archive = tmp_path / f"{number}.zip"
        archive.write_bytes(content)
        assert "not a whole zip" in refusal(archive)


def test_a_folder_for_an_archive(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        unpack(tmp_path, tmp_path / "out")


def test_a_folder_that_is_in_use(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").touch()
    with pytest.raises(InputError, match="is there already"):
        unpack(forged(tmp_path / "a.zip"), tmp_path / "out")


def test_every_byte_counts(tmp_path: Path) -> None:
    """A changed byte is refused, wherever it is; but for bits that no content depends on."""
    pack(CONTENTS, tmp_path / "a.zip")
    whole = (tmp_path / "a.zip").read_bytes()
    padding = []
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 0x80
        archive = tmp_path / "b.zip"
        archive.write_bytes(changed)
        try:
            unpack(archive, tmp_path / f"out{position}")
        except InputError:
            continue
        padding.append(position)
    # deflate fills its last byte up with bits that nothing reads
    assert len(padding) <= len(CONTENTS) + 1
