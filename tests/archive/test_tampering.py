"""A changed byte is found in every class of files, and the file is named."""

import shutil
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from kdlm.archive.names import MANIFEST
from kdlm.archive.packing import entry
from kdlm.archive.unpacking import unpack
from kdlm.errors import InputError

CLASSES = {
    "manifest": MANIFEST,
    "crate": "ro-crate-metadata.json",
    "facts": "archive.json",
    "readme": "README.md",
    "specs": "specs.json",
    "datasets": "datasets.json",
    "environment": "environment/installed.json",
    "records": "snakemake/records.json",
    "config": "results/tiny/study.json",
    "report": "results/tiny/report.html",
    "answer": "results/tiny/answer.txt",
    "snakemake's report": "results/tiny/snakemake-report.html",
    "claims": "results/tiny/claims.parquet",
    "table": "results/tiny/tables/comparisons.parquet",
    "figure": "results/tiny/figures/routes.svg",
    "history": "results/tiny/students/**/history.parquet",
    "logits": "results/tiny/teachers/**/logits.parquet",
    "means": "results/tiny/init_means/**/means.parquet",
    "run": "results/tiny/students/**/run.json",
    "log": "results/tiny/logs/theory.log",
    "benchmark": "results/tiny/benchmarks/judge.tsv",
    "source": "source/src/kdlm/losses.py",
    "lock": "source/requirements.lock",
    "workflow": "source/workflow/Snakefile",
}


def _name(kind: str, unpacked: Path) -> str:
    found = sorted(unpacked.glob(CLASSES[kind]))
    assert found, f"no {CLASSES[kind]} in the archive"
    return found[0].relative_to(unpacked).as_posix()


def _refused(archive: Path, folder: Path) -> str:
    with pytest.raises(InputError) as refused:
        unpack(archive, folder)
    assert not folder.exists()
    return str(refused.value)


@pytest.mark.parametrize("kind", CLASSES)
def test_a_flipped_bit_on_disk(kind: str, archived: Path, unpacked: Path, tmp_path: Path) -> None:
    name = _name(kind, unpacked)
    archive = tmp_path / "a.zip"
    shutil.copy(archived, archive)
    with zipfile.ZipFile(archived) as opened:
        info = opened.getinfo(name)
    start = info.header_offset + 30 + len(name.encode())
    with archive.open("r+b") as file:
        file.seek(start + info.compress_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
    assert PurePosixPath(name).name in _refused(archive, tmp_path / "out") or kind == "manifest"


@pytest.mark.parametrize("kind", CLASSES)
def test_a_changed_byte_in_a_zip_that_was_made_anew(
    kind: str, archived: Path, unpacked: Path, tmp_path: Path
) -> None:
    """The CRC is right; the manifest is what tells."""
    name = _name(kind, unpacked)
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archived) as opened, zipfile.ZipFile(archive, "w") as forged:
        for info in opened.infolist():
            data = bytearray(opened.read(info))
            if info.filename == name:
                data[len(data) // 2] ^= 1
            forged.writestr(entry(info.filename), bytes(data), compresslevel=9)
    message = _refused(archive, tmp_path / "out")
    assert kind == "manifest" or f"{name!r} is not what was archived" in message


@pytest.mark.parametrize("kind", CLASSES)
def test_a_missing_file(kind: str, archived: Path, unpacked: Path, tmp_path: Path) -> None:
    name = _name(kind, unpacked)
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archived) as opened, zipfile.ZipFile(archive, "w") as forged:
        for info in opened.infolist():
            if info.filename != name:
                forged.writestr(entry(info.filename), opened.read(info), compresslevel=9)
    assert f"{name} is missing" in _refused(archive, tmp_path / "out").replace("'", "")
