"""Files are whole or absent, and a damaged one is never taken for a result."""

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
import torch

from kdlm.errors import InputError
from kdlm.files import OPEN_SEAL, read_sealed, replacing, sealed, verify
from kdlm.networks import build, load_network, save_network
from kdlm.tables import read_table, write_table

ROWS = [{"epoch": epoch, "split": "test", "objective": 1 / 3 + epoch} for epoch in range(3)]


def table(path: Path) -> Callable[[], object]:
    write_table("history", ROWS, path, {"seed": 3})
    return lambda: read_table(path, "history")


def network(path: Path) -> Callable[[], object]:
    model = build("resnet8", 10, 1, torch.float32)
    save_network(model, path, architecture="resnet8", in_channels=1, spec={"seed": 3})
    return lambda: load_network(path)


@pytest.mark.parametrize(
    ("make", "name"), [(table, "history.parquet"), (network, "model.safetensors")]
)
def test_a_bit_flipped_anywhere_and_a_truncation_are_named(
    make: Callable[[Path], Callable[[], object]], name: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    read = make(path)
    read()
    good = path.read_bytes()
    # every byte of head and foot, where each format keeps what it says of itself, and a sample
    ends = {*range(min(len(good), 600)), *range(max(len(good) - 600, 0), len(good))}
    for position in sorted(ends | set(range(0, len(good), max(len(good) // 400, 1)))):
        bad = bytearray(good)
        bad[position] ^= 1 << (position % 8)
        path.write_bytes(bad)
        with pytest.raises(InputError, match=rf"{name}.*delete it and run snakemake again"):
            read()
    for length in (0, 4, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:length])
        with pytest.raises(InputError, match=rf"{name}.*delete it and run snakemake again"):
            read()
    path.write_bytes(good)
    read()


def test_other_readers_read_a_sealed_table(tmp_path: Path) -> None:
    table(tmp_path / "history.parquet")
    rows = duckdb.execute(f"select * from '{tmp_path}/history.parquet'").fetchall()
    assert [row[0] for row in rows] == [0, 1, 2]


def test_a_seal_is_a_function_of_all_other_bytes() -> None:
    contents = [sealed(f"{text} {OPEN_SEAL}".encode()) for text in ("a", "a", "b")]
    assert contents[0] == contents[1]
    assert contents[0][1:] != contents[2][1:]


def test_a_seal_is_the_sha256_of_the_file_with_zeros_in_it(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(sealed(f"x {OPEN_SEAL}\n".encode()))
    digest = verify(path)
    zeros = path.read_text().replace(digest, "0" * 64)
    run = subprocess.run(["sha256sum"], input=zeros, capture_output=True, text=True, check=True)
    assert run.stdout.split()[0] == digest


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x is missing; run snakemake again"):
        read_sealed(tmp_path / "x")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS])
def test_what_the_file_system_refuses_is_one_line(code: int, tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("old")
    refused = pytest.raises(InputError, match=r"x\.txt cannot be written \(.*run snakemake again")
    with refused, replacing(path) as temporary:
        temporary.write_text("half of the n")
        raise OSError(code, os.strerror(code))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_no_space_for_the_second_half_leaves_the_old_file(tmp_path: Path) -> None:
    """A limit on the size of files, which everybody may set, stops a write in its middle."""
    path = tmp_path / "history.parquet"
    table(path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"history\.parquet cannot .*\(File too large"):
            write_table("history", ROWS * 1000, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(
    os.geteuid() != 0 or not sys.platform.startswith("linux"),
    reason="only root may mount a small disk to fill, and the size limit is tested instead",
)
def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], check=False
    )
    if mount.returncode:
        pytest.skip("this root may not mount, as in a container; the size limit is tested instead")
    try:
        table(tmp_path / "history.parquet")
        before = (tmp_path / "history.parquet").read_bytes()
        with pytest.raises(InputError, match=r"cannot be written \(No space left.*free space"):
            network(tmp_path / "model.safetensors")
        assert (tmp_path / "history.parquet").read_bytes() == before
        assert len(list(tmp_path.iterdir())) == 1
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    refused = pytest.raises(InputError, match=r"x\.txt cannot be written .*move the file away")
    with refused, replacing(tmp_path / "results/x.txt") as temporary:
        temporary.write_text("")


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    code = (
        "import os, pathlib, signal, sys; from kdlm.files import replacing\n"
        "with replacing(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    run = subprocess.run([sys.executable, "-c", code, path], check=False)
    assert run.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    with replacing(path) as temporary:
        assert [file for file in tmp_path.iterdir() if file != temporary] == []
        # one that is being written by a process that lives
        other = path.with_name(temporary.name.replace(str(os.getpid()), str(os.getppid())))
        other.write_text("")
        temporary.write_text("whole")
    with replacing(path) as temporary:
        temporary.write_text("again")
    assert sorted(tmp_path.iterdir()) == [other, path]
